"""A picture of how takes fared at the gate: a row a take, a column a threshold, with each figure beside its limit."""

from collections.abc import Sequence

from PIL import Image

from ..sheet.theme import PALETTES, Pen, Theme
from .gate import FIGURES, Thresholds, reading
from .rolling import Attempt

_MARGIN, _TITLE, _HEAD, _ROW = 28, 44, 62, 58
_TAKE, _COLUMN, _FEWEST = 250, 128, 4  # pixels, pixels, columns that a title needs
_BAR = 12


def draw_gate(
    attempts: Sequence[Attempt], thresholds: Thresholds, *, best: int, title: str = "", theme: Theme = "light"
) -> Image.Image:
    """The picture.

    A bar reaches from the column's lowest figure to its highest, the upright line is the limit. Green meets it, red
    does not, and a triangle marks the take that was kept.

    Args:
        attempts: the takes in order.
        thresholds: what they were held to; each that is asked is a column.
        best: number of the take that was kept.
        title: in one line.
        theme: light or dark paper.
    """
    palette, asked = PALETTES[theme], thresholds.asked
    width = 2 * _MARGIN + _TAKE + _COLUMN * max(_FEWEST, len(asked) + 1)
    height = 2 * _MARGIN + _TITLE + _HEAD + _ROW * len(attempts)
    pen = Pen(Image.new("RGB", (width, height), palette.paper), palette)
    pen.text((_MARGIN, _MARGIN), title, size=22, width=width - 2 * _MARGIN)
    top = _MARGIN + _TITLE
    pen.text((_MARGIN + 16, top), "take", colour=palette.muted)
    for column, (name, limit) in enumerate([("rank", 0.0), *asked.items()]):
        left = _MARGIN + _TAKE + column * _COLUMN
        pen.text((left, top), name.replace("_", " "), width=_COLUMN - 12)
        under = "0 passes" if name == "rank" else f"{FIGURES[name].bound} {limit:.3g} {FIGURES[name].unit}"
        pen.text((left, top + 22), under, size=13, colour=palette.muted, width=_COLUMN - 8)
        values = [_value(attempt, name) for attempt in attempts]
        for row, value in enumerate(values):
            _cell(pen, (left, top + _HEAD + row * _ROW), name, value, limit, [v for v in values if v is not None])
    for row, attempt in enumerate(attempts):
        y = top + _HEAD + row * _ROW
        pen.draw.line((_MARGIN, y - 8, width - _MARGIN, y - 8), fill=palette.line)
        if attempt.roll.number == best:
            pen.draw.polygon([(_MARGIN, y + 2), (_MARGIN, y + 16), (_MARGIN + 10, y + 9)], fill=palette.cue)
        seeds, sampled = attempt.roll.seeds, " + ".join(stream.value for stream in attempt.roll.streams)
        made = f"{attempt.roll.number}: {sampled} sampled" if sampled else f"{attempt.roll.number}"
        pen.text((_MARGIN + 16, y), made, width=_TAKE - 24)
        told = f"seeds {seeds.speech}, {seeds.background}"
        pen.text((_MARGIN + 16, y + 22), told, size=13, colour=palette.muted, width=_TAKE - 24)
    return pen.image


def _value(attempt: Attempt, name: str) -> float | None:
    return attempt.verdict.rank if name == "rank" else reading(attempt.verdict.scores, name)


def _cell(
    pen: Pen, place: tuple[int, int], name: str, value: float | None, limit: float, values: Sequence[float]
) -> None:
    x, y = place
    at_least = name == "rank" or FIGURES[name].at_least
    meets = value is not None and (value >= limit if at_least else value <= limit)
    colour = pen.palette.background if meets else pen.palette.onset
    pen.text((x, y), "not measured" if value is None else f"{value:.3g}", colour=colour, width=_COLUMN - 12)
    low, high = min([*values, limit]), max([*values, limit])
    wide, scale = _COLUMN - 24, (high - low) or 1.0
    top, bottom = y + 24, y + 24 + _BAR
    pen.draw.rectangle((x, top, x + wide, bottom), fill=pen.palette.panel)
    if value is not None:
        pen.draw.rectangle((x, top, x + max(1.0, (value - low) / scale * wide), bottom), fill=colour)
    mark = x + (limit - low) / scale * wide
    pen.draw.line((mark, top - 3, mark, bottom + 3), fill=pen.palette.ink, width=2)
