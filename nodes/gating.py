"""The node that samples takes until one passes a quality gate."""

import json
from dataclasses import replace
from typing import Any

from comfy_api.latest import io, ui

from ..dualdub_core.dualbench.pictures import to_tensor
from ..dualdub_core.gate.picture import draw_gate
from ..dualdub_core.sampling import Seeds
from ..dualdub_core.types import Stream
from . import adapters as a
from . import sampling, scoring, scripts
from .gated_run import GatedRun, watched

_NOT_ASKED = {
    "sync": 0.0,
    "sync_margin": -1.0,
    "quietest": -70.0,
    "loudest": 0.0,
    "clipped": 1.0,
    "speech_level": -120.0,
    "background_level": -120.0,
    "leak": 1.0,
    "wrong_words": 1.0,
    "similarity": -1.0,
}
"""Where a widget stands when its figure is not asked for."""


def _limit(name: str, low: float, high: float, tooltip: str, *, default: float | None = None) -> io.Float.Input:
    off = _NOT_ASKED[name]
    step = 0.5 if high - low > 2 else 0.001 if name == "clipped" else 0.01
    return io.Float.Input(
        name,
        default=off if default is None else default,
        min=low,
        max=high,
        step=step,
        tooltip=f"{tooltip} {off:g}: not asked.",
    )


class GatedSampler(io.ComfyNode):
    """Conditions and thresholds to the codes of a take that passes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_GatedSampler",
            display_name="Gated Sampler (DualDub)",
            category=sampling.CATEGORY,
            description="Samples takes until one meets your thresholds, and keeps the best if none does. Only the "
            "stream that failed is sampled again; the other keeps its codes. Sync, loudness, clipping and leaks need "
            "no model; words and voice are judged if you choose a network for them.",
            search_aliases=[
                "quality gate",
                "auto reroll",
                "retry until good",
                "best of n",
                "threshold",
                "qc",
                "reject",
            ],
            inputs=[
                a.Model.Input("model", tooltip="From Load DualDub."),
                a.Codec.Input("codec", tooltip="Of this model: takes are heard through its draft decoder."),
                io.Combo.Input("task", options=list(sampling.TASKS), tooltip="What is written, as in the sampler."),
                *(
                    sampling.seed_input(
                        stream, f"Of the {stream} in the first take; one more each time it is sampled again."
                    )
                    for stream in ("speech", "background")
                ),
                io.Int.Input("takes", default=4, min=1, max=64, tooltip="So many at most; it stops when one passes."),
                *_limits(),
                io.Float.Input(
                    "duration",
                    default=0.0,
                    min=0.0,
                    max=3600.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Seconds, for speech without a video. 0 lets the speech end on its own.",
                ),
                *_conditions(),
                *_judging(),
            ],
            outputs=[
                a.CodesSocket.Output("codes", tooltip="Of the take that passed, else of the best; for the decoders."),
                io.String.Output("scores", tooltip="Its figures as JSON, and under gate those of every take."),
                io.String.Output("report", tooltip="Which take it is, and what each of the others failed."),
                io.Image.Output("picture", tooltip="Every take's figures beside what was asked."),
                io.Boolean.Output("passed", tooltip="Whether it meets everything that was asked."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls,
        model: a.Managed,
        task: str,
        speech_seed: int,
        background_seed: int,
        takes: int,
        video: object = None,
        recording: dict | None = None,
        word_judge: str = scoring.NO_JUDGE,
        voice_judge: str = scoring.NO_JUDGE,
        **values: Any,  # noqa: ANN401
    ) -> io.NodeOutput:
        """Sample, listen, and again."""
        limits = {name: values.pop(name) for name in _NOT_ASKED}
        asked = {name: limit for name, limit in limits.items() if limit != _NOT_ASKED[name]}
        judges = scoring.load_judges(word_judge, voice_judge)
        values["sampling"] = values.get("sampling") or model.preferred_sampling
        heard = None if recording is None else a.to_audio(recording, "recording")
        run = GatedRun(node=cls, model=model, task=sampling.TASKS[task], judges=judges, recording=heard, **values)
        thresholds = run.applicable(asked, has_video=video is not None)
        run = run if video is None else replace(run, watched=watched(video))
        outcome = run.outcome(thresholds, Seeds(speech=speech_seed, background=background_seed), takes)
        text, number = outcome.text(), outcome.best.roll.number
        a.said(cls, text + model.warning_about(run.words if Stream.SPEECH in run.task.streams else ""))
        title = text.partition("\n")[0]
        picture = to_tensor(draw_gate(outcome.attempts, thresholds, best=number, title=title))
        told = json.dumps(outcome.as_dict(thresholds), indent=1, ensure_ascii=False)
        shown = ui.PreviewImage(picture, cls=cls)
        return io.NodeOutput(run.signed(outcome), told, text, picture, outcome.passed, ui=shown)


def _limits() -> list[io.Input]:
    return [
        _limit("sync", 0.0, 1.0, "AV-Align of the background, at least. Try Score Soundtrack on your clip first."),
        _limit("sync_margin", -1.0, 1.0, "AV-Align above that of the same sound moved round the clip. 0 is chance."),
        _limit("quietest", -70.0, 0.0, "LUFS of both stems together, at least."),
        _limit("loudest", -70.0, 0.0, "LUFS of both stems together, at most."),
        _limit("clipped", 0.0, 1.0, "Share of the samples at full scale, at most.", default=0.001),
        _limit("speech_level", -120.0, 0.0, "dBFS of the speech on average, at least.", default=-40.0),
        _limit("background_level", -120.0, 0.0, "dBFS of the background on average, at least.", default=-40.0),
        _limit("leak", 0.0, 1.0, "Share of the background's energy that follows the speech, at most."),
        _limit("wrong_words", 0.0, 1.0, "Share of wrong words (WER), at most; needs word_judge."),
        _limit("similarity", -1.0, 1.0, "To the recording's voice (SIM), at least; needs voice_judge."),
    ]


def _conditions() -> list[io.Input]:
    return [
        a.Features.Input("features", optional=True, tooltip="From Encode Video; they set the duration."),
        io.Video.Input("video", optional=True, tooltip="The same clip, for sync."),
        io.String.Input("script", optional=True, force_input=True, tooltip="What is said, as in the sampler."),
        scripts.ScriptSocket.Input(
            "lines", optional=True, tooltip="From Script with Cues, instead of script: each line in its own slot."
        ),
        a.VoiceSocket.Input("voice", optional=True, tooltip="Who speaks; without it the model chooses."),
        scripts.VoicesSocket.Input("voices", optional=True, tooltip="From Voice by Name, for lines."),
        a.SamplingSocket.Input("sampling", optional=True, tooltip="From Sampling Settings."),
        a.LockSocket.Input("locks", optional=True, tooltip="From Lock Stream or Retake Range."),
    ]


def _judging() -> list[io.Input]:
    names = [scoring.NO_JUDGE, *scoring.judge_names()]
    return [
        a.Decoder.Input("decoder", optional=True, tooltip="To judge takes in final quality: slower. Needs the vae."),
        a.AudioVae.Input("vae", optional=True, tooltip="The VAE that the decoder was trained for."),
        io.Int.Input("steps", default=10, min=1, max=200, optional=True, advanced=True, tooltip="Of the decoder."),
        io.Audio.Input("recording", optional=True, tooltip="A recording of the speaker, for similarity."),
        io.Combo.Input(
            "word_judge", options=names, optional=True, advanced=True, tooltip="A Whisper folder in models/dualdub."
        ),
        io.Combo.Input(
            "voice_judge",
            options=names,
            optional=True,
            advanced=True,
            tooltip="A WavLM speaker-verification folder in models/dualdub.",
        ),
    ]
