"""The node that draws one picture of a take, and what a graph knows of the take's making."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image, ImageOps

from ..dualdub_core.errors import InputError
from ..dualdub_core.media.film import FilmPicture, read_film
from ..dualdub_core.mixing.ducking import heard_spans
from ..dualdub_core.onsets import detect_onsets
from ..dualdub_core.scripts.measured import Measured, measure_lines
from ..dualdub_core.scripts.plan import plan_script
from ..dualdub_core.scripts.script import Script
from ..dualdub_core.sheet.scores import simple_scores
from ..dualdub_core.sheet.sheet import TakeSheet, draw_sheet
from ..dualdub_core.sheet.theme import PALETTES
from ..dualdub_core.types import Audio, Soundtrack
from . import adapters as a
from . import scripts

_TOLD = ("checkpoint", "speech_seed", "background_seed", "takes", "rerolls", "steps", "solver", "delivery")


class TakeSheetNode(io.ComfyNode):
    """Stems and what is known of them to a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_TakeSheet",
            display_name="Take Sheet (DualDub)",
            category="audio/dualdub",
            description="One picture of a take: frames, script, both stems' waves and spectrograms and the onsets "
            "heard in them on one time axis, with model, seeds and scores. A batch gives a picture a take.",
            search_aliases=["contact sheet", "report picture", "waveform", "spectrogram", "compare takes", "overview"],
            inputs=[
                io.Audio.Input("speech", tooltip="The speech stem, from a decoder, Mix Stems or Master Stems."),
                io.Audio.Input("background", tooltip="The background stem, from the same place."),
                io.String.Input("title", default="", tooltip="Printed on top. Empty: take and duration."),
                io.Combo.Input("theme", options=list(PALETTES), tooltip="Light or dark paper."),
                io.Video.Input("video", optional=True, tooltip="The clip, for a strip of frames."),
                scripts.ScriptSocket.Input(
                    "script", optional=True, tooltip="What is spoken: slots, cues and when each line is heard."
                ),
                io.String.Input(
                    "scores",
                    optional=True,
                    force_input=True,
                    tooltip="Figures as JSON, such as from Score Soundtrack or Master Stems; a list for several takes. "
                    "Without: levels and leaks are measured.",
                ),
                io.String.Input(
                    "notes",
                    optional=True,
                    multiline=True,
                    default="",
                    tooltip="More facts to print, a line each, such as client: ACME.",
                ),
            ],
            outputs=[
                io.Image.Output("picture", tooltip="1600 pixels wide, one picture a take."),
                io.String.Output("facts", tooltip="Model, seeds and settings as the graph says them, a line each."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        speech: dict,
        background: dict,
        title: str,
        theme: str,
        video: object = None,
        script: Script | None = None,
        scores: str = "",
        notes: str = "",
    ) -> io.NodeOutput:
        """Measure what is missing and draw."""
        stems = a.to_soundtrack(speech, background)
        takes = [Soundtrack(*pair) for pair in zip(a.takes(stems.speech), a.takes(stems.background), strict=True)]
        film = [] if video is None else _film(video)
        facts = {**facts_of(cls.hidden.prompt or {}, str(cls.hidden.unique_id)), **_pairs(notes)}
        given = _scores(scores, len(takes))
        sheets = []
        for index, take in enumerate(takes):
            lines = None if script is None else measure_lines(take.speech, plan_script(script, take.speech.duration))
            name = f"take {index + 1} of {len(takes)}" if len(takes) > 1 else "take"
            sheets.append(
                TakeSheet(
                    title=f"{title}, {name}" if title and len(takes) > 1 else title or name,
                    soundtrack=take,
                    film=film,
                    lines=() if lines is None else lines.lines,
                    onsets=detect_onsets(take.background),
                    facts=facts,
                    scores=given[index] if given else simple_scores(take, _spans(take.speech, lines)),
                    theme=theme,
                )
            )
        pictures = _stacked([draw_sheet(sheet) for sheet in sheets], PALETTES[theme].paper)
        text = "\n".join(f"{name}: {value}" for name, value in facts.items())
        return io.NodeOutput(pictures, text, ui=ui.PreviewImage(pictures, cls=cls))


def facts_of(prompt: Mapping[str, Any], node: str) -> dict[str, str]:
    """Models, seeds and settings of all nodes of ours that lead to a node; those nearest to it count.

    Args:
        prompt: ComfyUI's, node by id.
        node: its id.
    """
    facts: dict[str, str] = {}
    nodes, seen = [node], {node}
    while nodes:
        entry = prompt.get(nodes.pop(0), {})
        for name, value in entry.get("inputs", {}).items():
            if isinstance(value, list):
                if len(value) == 2 and str(value[0]) not in seen:
                    seen.add(str(value[0]))
                    nodes.append(str(value[0]))
            elif name in _TOLD and entry.get("class_type", "").startswith("DualDub_") and str(value):
                facts.setdefault(name.replace("_", " "), str(value))
    return facts


def _film(video: object) -> list[FilmPicture]:
    clip = a.to_clip(video)
    return read_film(clip.source, start=clip.start, duration=clip.duration, progress=a.comfy_progress())


def _pairs(notes: str) -> dict[str, str]:
    rows = [row.partition(":") for row in notes.splitlines() if row.strip()]
    return {name.strip(): value.strip() for name, _, value in rows}


def _scores(text: str, count: int) -> list[dict[str, Any]]:
    """A dict for each take; none where nothing is given."""
    if not text.strip():
        return []
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"take sheet: the scores are not JSON ({error}); connect Score Soundtrack's scores") from error
    scores = given if isinstance(given, list) else [given]
    if len(scores) != count or not all(isinstance(score, dict) for score in scores):
        raise InputError(f"take sheet: got scores for {len(scores)} takes, expected an object for each of {count}")
    return scores


def _spans(speech: Audio, measured: Measured | None) -> list[tuple[float, float]]:
    """When somebody is heard: the lines, or what energy tells."""
    if measured is None:
        return heard_spans(speech.waveform[0], speech.sample_rate)
    return [(line.start, line.end) for line in measured.lines if line.start is not None and line.end is not None]


def _stacked(pictures: list[Image.Image], paper: tuple[int, int, int]) -> torch.Tensor:
    """Pictures as one batch (B, H, W, 3), the lower ones with more paper below."""
    height = max(picture.height for picture in pictures)
    padded = [ImageOps.expand(p, (0, 0, 0, height - p.height), fill=paper) for p in pictures]
    return torch.from_numpy(np.stack([np.asarray(p, dtype=np.float32) / 255 for p in padded]))
