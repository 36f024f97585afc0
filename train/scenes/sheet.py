"""A contact sheet: pictures of clips over their waveforms, with events and words marked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dualdub_core.files import replacing

from .shards import Row, frames_of, stem_of

_WIDTH, _WAVE, _GAP, _PICTURES = 1240, 46, 18, 16
_SPEECH, _BACKGROUND = (60, 110, 220), (40, 150, 90)
_EVENT, _ONSET, _INK, _PAPER = (220, 40, 40), (190, 0, 190), (20, 20, 20), (255, 255, 255)


def paint_sheet(path: Path, rows: Sequence[Row]) -> None:
    """Paint rows one under another.

    Red: an event; violet: a mouth onset; black ticks: where a word starts.
    """
    strips = [_strip(row) for row in rows]
    sheet = Image.new("RGB", (_WIDTH, sum(strip.height for strip in strips)), _PAPER)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    with replacing(path) as temporary:
        sheet.save(temporary)


def _strip(row: Row) -> Image.Image:
    frames = frames_of(row)
    shown = 0 if frames is None else _WIDTH // _PICTURES
    colours = {"speech": _SPEECH, "background": _BACKGROUND}
    stems = [(name, stem, c) for name, c in colours.items() if (stem := stem_of(row, name)) is not None]
    image = Image.new("RGB", (_WIDTH, _GAP + shown + len(stems) * _WAVE + 10), _PAPER)
    draw = ImageDraw.Draw(image)
    names = (row["id"], f"{row['duration']:.2f} s", row["source"], row["room"], row["speaker"], row["text"])
    title = "   ".join(name for name in names if name)
    draw.text((4, 3), title, fill=_INK)
    if frames is not None:
        # Each picture stands where its time is on the axis of the waveforms below.
        for column in range(_PICTURES):
            picture = frames[min(round((column + 0.5) / _PICTURES * len(frames) - 0.5), len(frames) - 1)]
            image.paste(Image.fromarray(picture).resize((shown - 2, shown - 2)), (column * shown, _GAP))
    top = _GAP + shown
    loudest = max(float(np.abs(stem).max()) for _, stem, _ in stems)
    for name, stem, colour in stems:
        _wave(draw, stem / loudest, top, colour)
        draw.text((4, top), name, fill=_INK)
        top += _WAVE
    _marks(draw, row, _GAP + shown, top)
    return image


def _wave(draw: ImageDraw.ImageDraw, stem: NDArray[np.float32], top: int, colour: tuple[int, int, int]) -> None:
    for x, part in enumerate(np.array_split(stem, _WIDTH)):
        high, low = (top + _WAVE / 2 * (1 - float(v)) for v in (part.max(), part.min()))
        draw.line((x, high, x, max(low, high + 1)), fill=colour)


def _marks(draw: ImageDraw.ImageDraw, row: Row, top: int, bottom: int) -> None:
    for times, height, colour in (
        (row["event_times"], bottom - top, _EVENT),
        (row["mouth_onsets"], bottom - top, _ONSET),
        (row["word_starts"], 7, _INK),
    ):
        for time in times:
            x = time / row["duration"] * _WIDTH
            draw.line((x, top, x, top + height), fill=colour)
