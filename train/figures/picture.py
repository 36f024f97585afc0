"""Takes as pictures: what was seen, what was made, where things happened and where an onset was heard."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dualdub_core.files import replacing
from dualdub_core.types import Stream

from .clips import EvalClip, FloatArray
from .compose import Made
from .onsets import heard_in

_WIDTH, _WAVE, _TITLE, _PICTURES = 1240, 60, 16, 16
_COLOURS = {Stream.SPEECH: (60, 110, 220), Stream.BACKGROUND: (40, 150, 90)}
_EVENT, _HEARD, _MOUTH, _INK, _PAPER = (220, 40, 40), (20, 20, 20), (190, 0, 190), (20, 20, 20), (255, 255, 255)


def paint_takes(path: Path, clips: Sequence[EvalClip], made: Sequence[Made]) -> None:
    """Paint takes one under another into a PNG.

    Red: an event; black triangle: an onset heard in the made background; violet: the mouth opens.
    """
    strips = [_strip(clip, one) for clip, one in zip(clips, made, strict=True)]
    sheet = Image.new("RGB", (_WIDTH, sum(strip.height for strip in strips)), _PAPER)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _strip(clip: EvalClip, made: Made) -> Image.Image:
    side = 0 if clip.pixels is None else _WIDTH // _PICTURES
    image = Image.new("RGB", (_WIDTH, _TITLE + side + len(made.stems) * _WAVE + 10), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((4, 2), "   ".join(filter(None, (clip.id, f"{clip.duration:.2f} s", clip.speaker, clip.text))), fill=_INK)
    if clip.pixels is not None:
        # Each picture stands where its time is on the axis of the sounds below.
        for column in range(_PICTURES):
            pixels = clip.pixels[(2 * column + 1) * len(clip.pixels) // (2 * _PICTURES)]
            picture = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((side - 2, side - 2))
            image.paste(picture, (column * side, _TITLE))
    top = _TITLE + side
    for stream, stem in made.stems.items():
        _wave(draw, stem, top, _COLOURS[stream])
        draw.text((4, top), stream.value, fill=_INK)
        is_background = stream is Stream.BACKGROUND
        mouth = () if is_background or clip.mouth is None else (clip.mouth,)
        for times, colour in ((clip.events if is_background else (), _EVENT), (mouth, _MOUTH)):
            for x in _columns(times, clip):
                draw.line((x, top, x, top + _WAVE), fill=colour)
        for x in _columns(heard_in(made) if is_background else (), clip):
            draw.polygon((x - 4, top + _WAVE, x + 4, top + _WAVE, x, top + _WAVE - 9), fill=_HEARD)
        top += _WAVE
    return image


def _columns(times: Sequence[float], clip: EvalClip) -> list[float]:
    return [time / clip.duration * _WIDTH for time in times]


def _wave(draw: ImageDraw.ImageDraw, stem: FloatArray, top: int, colour: tuple[int, int, int]) -> None:
    loudest = max(float(np.abs(stem).max()), 1e-6)
    for x, part in enumerate(np.array_split(stem / loudest, _WIDTH)):
        high, low = (top + _WAVE / 2 * (1 - float(v)) for v in (part.max(), part.min()))
        draw.line((x, high, x, max(low, high + 1)), fill=colour)
