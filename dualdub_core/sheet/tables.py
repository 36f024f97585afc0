"""The tables of a take sheet: facts, lines with their times, and scores in columns."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..scripts.measured import MeasuredLine
from ..scripts.script import stamp
from .theme import Pen, width_of

_ROW, _PAD, _HEADING, _SIZE = 23, 10, 28, 15
_MOST_LINES, _MOST_SCORES = 16, 96
_COLUMNS, _BETWEEN = 4, 36
_NUMBER, _SPEAKER, _SLOT, _HEARD, _OFF = 0, 36, 190, 400, 620  # where columns of the lines begin
_TEXT = 730


@dataclass(frozen=True, slots=True)
class Table:
    """Something of a known height that is drawn at a place."""

    height: int
    draw: Callable[[Pen, int, int], None]


def facts_rows(facts: Mapping[str, str], width: int) -> list[list[tuple[str, str]]]:
    """Names and values in as many rows as they need."""
    rows: list[list[tuple[str, str]]] = []
    free = 0.0
    for name, value in facts.items():
        wide = width_of(name, 16) + width_of(value, 16) + 33
        if wide > free:
            rows.append([])
            free = float(width)
        rows[-1].append((name, value))
        free -= wide
    return rows


def line_table(lines: Sequence[MeasuredLine], width: int) -> Table:
    """Numbers, speakers, slots, when each line is heard and how far from its cue, and all of its words."""
    shown, more = lines[:_MOST_LINES], len(lines) - _MOST_LINES

    def draw(pen: Pen, left: int, top: int) -> None:
        top += _PAD
        heads = {_NUMBER: "no", _SPEAKER: "speaker", _SLOT: "slot", _HEARD: "heard", _OFF: "off its cue", _TEXT: "line"}
        for x, head in heads.items():
            pen.text((left + x, top), head, size=_SIZE, colour=pen.palette.muted)
        pen.draw.line((left, top + 20, left + width, top + 20), fill=pen.palette.line)
        for index, line in enumerate(shown):
            y, slot, off = top + _HEADING + index * _ROW, line.planned, line.start_error
            pen.text((left + _NUMBER, y), str(slot.number), size=_SIZE)
            pen.text((left + _SPEAKER, y), slot.speaker or "-", size=_SIZE, width=_SLOT - _SPEAKER - 12)
            pen.text((left + _SLOT, y), _span(slot.start, slot.end), size=_SIZE)
            is_heard = line.start is not None and line.end is not None
            heard = _span(line.start, line.end) if line.start is not None and line.end is not None else "not heard"
            pen.text((left + _HEARD, y), heard, size=_SIZE, colour=None if is_heard else pen.palette.onset)
            if off is not None:
                pen.text((left + _OFF, y), f"{1000 * off:+.0f} ms", size=_SIZE)
            pen.text((left + _TEXT, y), slot.text, size=_SIZE, width=width - _TEXT)
        if more > 0:
            y = top + _HEADING + len(shown) * _ROW
            pen.text((left + _TEXT, y), f"and {more} more", size=_SIZE, colour=pen.palette.muted)

    return Table(_PAD + _HEADING + _ROW * (len(shown) + (more > 0)) if lines else 0, draw)


def score_table(scores: Mapping[str, Any], width: int) -> Table:
    """Figures under the names of their groups, down four columns; notes across the whole width."""
    entries, notes = _flat(scores)
    left_out = max(0, len(entries) - _MOST_SCORES)
    entries = entries[:_MOST_SCORES]
    rows = -(-len(entries) // _COLUMNS)
    column = (width - _BETWEEN * (_COLUMNS - 1)) / _COLUMNS

    def draw(pen: Pen, left: int, top: int) -> None:
        top += _PAD
        heading = "scores" + (f" (and {left_out} more)" if left_out else "")
        pen.text((left, top), heading, size=_SIZE, colour=pen.palette.muted)
        pen.draw.line((left, top + 20, left + width, top + 20), fill=pen.palette.line)
        for index, (name, value) in enumerate(entries):
            x, y = left + index // rows * (column + _BETWEEN), top + _HEADING + index % rows * _ROW
            pen.draw.line((x, y + _ROW - 4, x + column, y + _ROW - 4), fill=pen.palette.panel)
            taken = pen.text((x + column, y), value, size=_SIZE, anchor="ra", width=column * 0.6)
            pen.text((x, y), name, size=_SIZE, colour=pen.palette.muted, width=column - taken - 12)
        for index, note in enumerate(notes):
            y = top + _HEADING + (rows + index) * _ROW + 4
            pen.draw.rectangle((left, y + 2, left + 4, y + 16), fill=pen.palette.cue)
            pen.text((left + 14, y), note, size=_SIZE, width=width - 14)

    return Table(_PAD + _HEADING + _ROW * (rows + len(notes)) + 4 if entries or notes else 0, draw)


def _flat(scores: Mapping[str, Any], group: str = "") -> tuple[list[tuple[str, str]], list[str]]:
    """Names with values as they are printed, and notes."""
    entries: list[tuple[str, str]] = []
    notes: list[str] = []
    for key, value in scores.items():
        name = f"{group} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            inner, more = _flat(value, name)
            entries += inner
            notes += more
        elif isinstance(value, (list, tuple)):
            notes += [f"{name}: {item}" for item in value if isinstance(item, str)]
        else:
            entries.append((name, _shown(value)))
    return entries, notes


def _shown(value: Any) -> str:  # noqa: ANN401
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _span(start: float, end: float) -> str:
    return f"{stamp(start, hours=False)} - {stamp(end, hours=False)}"
