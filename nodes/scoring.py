"""The node that judges a soundtrack by itself, and the judges' networks in ComfyUI's model folders."""

import json
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..dualdub_core.dualbench.pictures import paint, to_tensor
from ..dualdub_core.dualbench.scoring import Judges, score_soundtrack, watch_clip
from ..dualdub_core.dualbench.speakers import load_speaker_judge
from ..dualdub_core.dualbench.transcripts import load_recogniser
from ..dualdub_core.errors import CheckpointError
from ..dualdub_core.types import Soundtrack
from . import adapters as a
from . import folders

CATEGORY = "audio/dualdub"
NO_JUDGE = "none"


class ScoreSoundtrack(io.ComfyNode):
    """Two stems under a video to figures and a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_ScoreSoundtrack",
            display_name="Score Soundtrack (DualDub)",
            category=CATEGORY,
            description="Says how well a soundtrack fits its video: sync beside what sound at other times would get, "
            "loudness, clipping, silence, speech that leaks into the background. Needs no model; words and voice are "
            "judged too if you choose a network for them.",
            search_aliases=["benchmark", "dualbench", "sync score", "av-align", "loudness check", "wer", "quality"],
            inputs=[
                io.Audio.Input("speech", tooltip="The speech stem, from a decoder or Mix Stems."),
                io.Audio.Input("background", tooltip="The background stem, from a decoder or Mix Stems."),
                io.Video.Input("video", tooltip="The clip that the sound was made for; trims are honoured."),
                io.String.Input(
                    "script", default="", multiline=True, optional=True, tooltip="What should be said, for word_judge."
                ),
                io.Audio.Input("voice", optional=True, tooltip="A recording of the speaker, for voice_judge."),
                io.Combo.Input(
                    "word_judge",
                    options=[NO_JUDGE, *judge_names()],
                    optional=True,
                    advanced=True,
                    tooltip="A Whisper folder in models/dualdub that counts wrong words (WER). None: not counted.",
                ),
                io.Combo.Input(
                    "voice_judge",
                    options=[NO_JUDGE, *judge_names()],
                    optional=True,
                    advanced=True,
                    tooltip="A WavLM speaker-verification folder in models/dualdub that compares voices (SIM). None: "
                    "not compared.",
                ),
            ],
            outputs=[
                io.String.Output("scores", tooltip="All figures as JSON; several takes give a list."),
                io.Image.Output("picture", tooltip="Frames, waves, spectrogram and peaks, one picture a take."),
                io.String.Output("report", tooltip="What stands out, in words."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        speech: dict,
        background: dict,
        video: object,
        script: str = "",
        voice: dict | None = None,
        word_judge: str = NO_JUDGE,
        voice_judge: str = NO_JUDGE,
    ) -> io.NodeOutput:
        """Score each take."""
        clip, stems = a.to_clip(video), a.to_soundtrack(speech, background)
        judges = load_judges(word_judge, voice_judge)
        reference = None if voice is None else a.to_audio(voice, "voice")
        watched = watch_clip(clip.source, start=clip.start, duration=clip.duration, progress=a.comfy_progress())
        scores = [
            score_soundtrack(Soundtrack(*pair), watched, script=script, voice=reference, judges=judges)
            for pair in zip(a.takes(stems.speech), a.takes(stems.background), strict=True)
        ]
        values = [score.values for score in scores]
        text = "\n".join("; ".join(score.warnings) or "nothing stands out" for score in scores)
        a.said(cls, text)
        pictures = torch.cat([to_tensor(paint(score.drawing)) for score in scores])
        shown = json.dumps(values[0] if len(values) == 1 else values, indent=1, ensure_ascii=False)
        return io.NodeOutput(shown, pictures, text, ui=ui.PreviewImage(pictures, cls=cls))


def judge_names() -> list[str]:
    """Folders in models/dualdub that hold a network as Hugging Face publishes it."""
    homes = [Path(home) for home in folder_paths.get_folder_paths(folders.FOLDER)]
    return sorted({path.parent.name for home in homes if home.is_dir() for path in home.glob("*/config.json")})


def judge_folder(name: str) -> Path:
    """The folder of a listed name; nothing else is opened.

    Raises:
        CheckpointError: it is not there.
    """
    homes = [Path(home) for home in folder_paths.get_folder_paths(folders.FOLDER)]
    found = next((home / name for home in homes if name in judge_names() and (home / name).is_dir()), None)
    if found is None:
        raise CheckpointError(f"{name}: no such folder in {homes[0]}; put the network there and press R")
    return found


def load_judges(word_judge: str, voice_judge: str) -> Judges:
    """The networks that were chosen, from their folders."""
    heard = None if word_judge == NO_JUDGE else load_recogniser(judge_folder(word_judge))
    speakers = None if voice_judge == NO_JUDGE else load_speaker_judge(judge_folder(voice_judge))
    names = {"words": word_judge, "voice": voice_judge}
    return Judges(transcriber=heard, speakers=speakers, names=names)
