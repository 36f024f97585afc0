"""The node that samples takes until one passes a quality gate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from comfy_api.latest import io, ui

from ..dualdub_core.dualbench.pictures import to_tensor
from ..dualdub_core.dualbench.scoring import Judges, Watched, score_soundtrack, watch_clip
from ..dualdub_core.errors import InputError
from ..dualdub_core.gate.gate import Thresholds, Verdict, applicable, judged
from ..dualdub_core.gate.picture import draw_gate
from ..dualdub_core.gate.rolling import Outcome, Roll, first_that_passes, free_streams
from ..dualdub_core.pipeline import Lock, decode_codec, decode_flow, sample_codes
from ..dualdub_core.sampling import SamplingConfig, Seeds
from ..dualdub_core.scripts.script import Script
from ..dualdub_core.scripts.scripted import sample_script
from ..dualdub_core.types import Audio, Codes, Soundtrack, Stream, Task, VideoFeatures, Voice
from . import adapters as a
from . import origin, sampling, scoring, scripts

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
        judges = scoring.load_judges(word_judge, voice_judge)
        values["sampling"] = values.get("sampling") or model.preferred_sampling
        heard = None if recording is None else a.to_audio(recording, "recording")
        run = _Run(node=cls, model=model, task=sampling.TASKS[task], judges=judges, recording=heard, **values)
        thresholds = run.applicable(limits, has_video=video is not None)
        run = run if video is None else replace(run, watched=_watched(video))
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


@dataclass(frozen=True, slots=True)
class _Take:
    number: int
    codes: Codes
    soundtrack: Soundtrack


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What all takes of one run share: the node's inputs."""

    node: type[io.ComfyNode]
    model: a.Managed
    codec: a.Managed
    task: Task
    judges: Judges
    duration: float
    recording: Audio | None = None
    watched: Watched | None = None
    features: VideoFeatures | None = None
    script: str = ""
    lines: Script | None = None
    voice: Voice | None = None
    voices: Mapping[str, Voice] = field(default_factory=dict)
    sampling: SamplingConfig | None = None
    locks: Sequence[Lock] = ()
    decoder: a.Managed | None = None
    vae: a.Managed | None = None
    steps: int = 10

    def __post_init__(self) -> None:
        if (self.decoder is None) != (self.vae is None):
            raise InputError("gated sampler: got one of decoder and vae, expected both, or none to judge drafts")
        if self.lines is None:
            return
        if self.script.strip():
            raise InputError("gated sampler: got a script and lines, expected one of them; disconnect the other")
        if self.task is Task.BACKGROUND:
            raise InputError("gated sampler: got lines for a background only; choose another task or disconnect them")
        if self.task is Task.JOINT and self.features is None:
            raise InputError("gated sampler: both streams need the video's features, got none; connect Encode Video")

    @property
    def words(self) -> str:
        """What is said."""
        return self.script if self.lines is None else self.lines.text

    @property
    def cast(self) -> dict[str, Voice]:
        """Who says it, by name; the empty name is everyone else."""
        return {**({} if self.voice is None else {"": self.voice}), **self.voices}

    def applicable(self, limits: Mapping[str, float], *, has_video: bool) -> Thresholds:
        """What is asked, if it can be told."""
        asked = {name: limit for name, limit in limits.items() if limit != _NOT_ASKED[name]}
        given = {"has_script": bool(self.words.strip()), "has_voice": self.recording is not None}
        return applicable(Thresholds(**asked), self.task, has_video=has_video, judges=self.judges, **given)

    def outcome(self, thresholds: Thresholds, seeds: Seeds, limit: int) -> Outcome[_Take]:
        """The take to go on with."""

        def judge(take: _Take) -> Verdict:
            verdict = judged(self.scores(take), thresholds)
            failed = "; ".join(map(str, verdict.failures))
            a.said(self.node, f"take {take.number} of {limit}: {failed or 'passed'}")
            return verdict

        streams = free_streams(self.task, locks=self.locks, sampling=self.sampling)
        progress = a.comfy_progress()
        return first_that_passes(self.make, judge, seeds=seeds, streams=streams, limit=limit, progress=progress)

    def make(self, roll: Roll) -> _Take:
        """Sample and decode."""
        codes, progress = roll.kept(self.sample(roll)), a.comfy_progress()
        if self.decoder is None:
            (codec,) = a.on_device(codec=self.codec)
            return _Take(roll.number, codes, decode_codec(codec, codes, progress=progress))
        networks = a.on_device(decoder=self.decoder, vae=self.vae)
        return _Take(roll.number, codes, decode_flow(*networks, codes, num_steps=self.steps, progress=progress))

    def sample(self, roll: Roll) -> Codes:
        """Write the codes, line by line where the script has times."""
        shared: dict[str, Any] = {
            "duration": self.duration or None,
            "sampling": self.sampling,
            "seeds": roll.seeds,
            "locks": (*self.locks, *roll.locks),
            "progress": a.comfy_progress(),
        }
        tokenizer, features = self.model.tokenizer, self.features
        if self.lines is None:
            (model,) = a.on_device(model=self.model)
            told = {"script": self.script, "voice": self.voice, "features": features}
            return sample_codes(model, tokenizer, task=self.task, **told, **shared)
        model, codec = a.on_device(model=self.model, codec=self.codec)
        seen = None if self.task is Task.SPEECH else features
        return sample_script(model, tokenizer, codec, script=self.lines, voices=self.cast, features=seen, **shared)

    def scores(self, take: _Take) -> dict[str, Any]:
        """Its figures."""
        watched = self.watched or Watched(duration=take.codes.duration)
        told = {"script": self.words, "voice": self.recording, "judges": self.judges}
        return score_soundtrack(take.soundtrack, watched, **told).values

    def signed(self, outcome: Outcome[_Take]) -> Codes:
        """The codes with what made them."""
        seeds = outcome.best.roll.seeds
        codes = origin.sampled(
            outcome.take.codes,
            self.model,
            task=self.task,
            seeds={"speech": seeds.speech, "background": seeds.background},
            script=self.script if self.lines is None else self.lines,
            voices=list(self.cast.values()),
            locks=self.locks,
            sampling=self.sampling,
        )
        assert codes.made_by is not None
        first = outcome.attempts[0].roll.seeds
        gate = {"take": outcome.best.roll.number, "speech_seed": first.speech, "background_seed": first.background}
        return replace(codes, made_by=codes.made_by.with_settings(gate=gate))


def _watched(video: object) -> Watched:
    clip = a.to_clip(video)
    return watch_clip(clip.source, start=clip.start, duration=clip.duration, progress=a.comfy_progress())
