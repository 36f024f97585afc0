"""One picture of a take: frames, script, both stems and what is heard in them on one time axis, seeds and scores.

Everything is handed in; nothing is measured here but what is drawn. Letters: N samples.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..errors import InputError
from ..media.film import FilmPicture
from ..scripts.measured import MeasuredLine
from ..scripts.script import stamp
from ..scripts.words import WordTime
from ..types import Audio, Soundtrack, Stream
from .sounds import draw_wave, mel_height, peak_of, spectrogram
from .tables import Table, facts_rows, line_table, score_table
from .theme import PALETTES, Colour, Palette, Pen, Theme, shortened, wrapped

WIDTH = 1600
"""Pixels."""

_MARGIN, _LEFT = 28, 132
_RIGHT = WIDTH - _MARGIN
_AXIS, _FILM, _LINE, _WORD, _WAVE, _SPECTROGRAM, _EVENTS, _GAP = 30, 108, 50, 22, 92, 112, 24, 10
_STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_MOST_TICKS = 14
_MOST_ARROWS = 90
_HERTZ = (500, 2_000, 8_000)
_QUIETEST = 1e-3  # amplitude that fills a wave's row at least, so silence is a line


@dataclass(frozen=True, kw_only=True, slots=True)
class TakeSheet:
    """What is drawn of one take; what is empty is left out.

    Attributes:
        title: in one line.
        soundtrack: one item; its length is the axis.
        film: pictures of the clip, from `film.read_film`.
        lines: the script's lines with slots and heard times, from `measure_lines`.
        words: where something knows them.
        onsets: seconds at which the background begins to sound, such as from `onsets.detect_onsets`.
        moves: seconds at which the picture moves most.
        facts: model, seeds and the like, by name.
        scores: figures by name, in groups where a value is a dict; lists of texts are printed as notes.
        theme: light or dark paper.
    """

    title: str
    soundtrack: Soundtrack
    film: Sequence[FilmPicture] = ()
    lines: Sequence[MeasuredLine] = ()
    words: Sequence[WordTime] = ()
    onsets: Sequence[float] = ()
    moves: Sequence[float] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    theme: Theme = "light"

    def __post_init__(self) -> None:
        if self.soundtrack.speech.waveform.shape[0] != 1 or self.soundtrack.num_samples == 0:
            raise InputError(
                f"take sheet: got stems of shape {tuple(self.soundtrack.speech.waveform.shape)}, expected one take "
                "with sound; draw one sheet each"
            )
        if self.theme not in PALETTES:
            raise InputError(f"take sheet: got the theme '{self.theme}', expected {' or '.join(PALETTES)}")

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.soundtrack.speech.duration

    def x(self, seconds: float) -> float:
        """The column of a moment."""
        return _LEFT + min(max(seconds / self.duration, 0.0), 1.0) * (_RIGHT - _LEFT)


@dataclass(frozen=True, slots=True)
class _Row:
    """A strip of the sheet: its height, and what draws it from a pixel down."""

    height: int
    draw: Callable[[Pen, int], None]
    is_timed: bool = True


def draw_sheet(sheet: TakeSheet) -> Image.Image:
    """The picture, `WIDTH` across and as high as it needs to be."""
    palette = PALETTES[sheet.theme]
    rows = [row for row in _rows(sheet, palette) if row.height]
    height = 2 * _MARGIN + sum(row.height + _GAP for row in rows) - _GAP
    pen = Pen(Image.new("RGB", (WIDTH, height), palette.paper), palette)
    tops = [_MARGIN + sum(row.height + _GAP for row in rows[:index]) for index in range(len(rows))]
    timed = [(top, top + row.height) for top, row in zip(tops, rows, strict=True) if row.is_timed]
    for seconds in _ticks(sheet.duration):
        pen.draw.line((sheet.x(seconds), timed[0][0] + _AXIS - 8, sheet.x(seconds), timed[-1][1]), fill=palette.line)
    for top, row in zip(tops, rows, strict=True):
        row.draw(pen, top)
    return pen.image


def _rows(sheet: TakeSheet, palette: Palette) -> list[_Row]:
    full = max(_QUIETEST, peak_of(sheet.soundtrack.speech), peak_of(sheet.soundtrack.background))
    stems = ((Stream.SPEECH, sheet.soundtrack.speech), (Stream.BACKGROUND, sheet.soundtrack.background))
    sounds = []
    for stream, audio in stems:
        sounds += [
            _Row(_WAVE, _wave(sheet, stream, audio, full)),
            _Row(_SPECTROGRAM, _spectrogram(stream, audio)),
        ]
    script = len(sheet.lines)
    return [
        _title(sheet),
        _Row(_AXIS, lambda pen, top: _axis(sheet, pen, top)),
        _Row(_FILM if sheet.film else 0, lambda pen, top: _film(sheet, pen, top)),
        _Row(_LINE if script else 0, lambda pen, top: _script(sheet, pen, top)),
        _Row(_WORD if sheet.words else 0, lambda pen, top: _words(sheet, pen, top)),
        *sounds,
        _Row(_EVENTS if sheet.onsets else 0, _events(sheet, sheet.onsets, "onsets", palette.onset)),
        _Row(_EVENTS if sheet.moves else 0, _events(sheet, sheet.moves, "movement", palette.move)),
        *(_Row(table.height, _table(table), is_timed=False) for table in _tables(sheet)),
        _Row(18, lambda pen, top: _legend(sheet, pen, top), is_timed=False),
    ]


def _tables(sheet: TakeSheet) -> list[Table]:
    width = _RIGHT - _MARGIN
    return [line_table(sheet.lines, width), score_table(sheet.scores, width)]


def _table(table: Table) -> Callable[[Pen, int], None]:
    return lambda pen, top: table.draw(pen, _MARGIN, top)


def _title(sheet: TakeSheet) -> _Row:
    rows = facts_rows(sheet.facts, _RIGHT - _MARGIN)

    def draw(pen: Pen, top: int) -> None:
        clock = f"{sheet.duration:.3f} s"
        taken = pen.text((_RIGHT, top + 4), clock, size=20, colour=pen.palette.muted, anchor="ra")
        pen.text((_MARGIN, top), sheet.title, size=28, width=_RIGHT - _MARGIN - taken - 30)
        for index, row in enumerate(rows):
            x = float(_MARGIN)
            for name, value in row:
                x += pen.text((x, top + 44 + 24 * index), name, size=16, colour=pen.palette.muted) + 7
                x += pen.text((x, top + 44 + 24 * index), value, size=16, width=_RIGHT - x) + 26

    return _Row(40 + 24 * len(rows), draw, is_timed=False)


def _ticks(duration: float) -> list[float]:
    step = next((step for step in _STEPS if duration / step <= _MOST_TICKS), _STEPS[-1])
    return [index * step for index in range(int(duration / step + 1e-9) + 1)]


def _axis(sheet: TakeSheet, pen: Pen, top: int) -> None:
    ticks = _ticks(sheet.duration)
    for seconds in ticks:
        label = f"{seconds:g} s" if sheet.duration < 60 else stamp(seconds, hours=False)[:-4]
        pen.text((sheet.x(seconds), top), label, size=14, colour=pen.palette.muted, anchor="ma")


def _film(sheet: TakeSheet, pen: Pen, top: int) -> None:
    """Each picture stands where its time is; of many, as many as have room."""
    pen.text((_MARGIN, top), "video", size=17)
    shape = sheet.film[0].pixels.shape
    width = max(1, round(shape[1] * _FILM / shape[0]))
    room = max(1, min(len(sheet.film), (_RIGHT - _LEFT) // (width + 4)))
    slot = (_RIGHT - _LEFT) / room
    for place in range(room):
        middle = (place + 0.5) / room * sheet.duration
        nearest = min(sheet.film, key=lambda picture: abs(picture.time - middle))
        picture = Image.fromarray(nearest.pixels).resize((width, _FILM), Image.Resampling.LANCZOS)
        pen.image.paste(picture, (round(_LEFT + (place + 0.5) * slot - width / 2), top))


def _script(sheet: TakeSheet, pen: Pen, top: int) -> None:
    """Slots as boxes, a triangle at each cue, a bar over what is heard, words where they have room."""
    palette = pen.palette
    pen.text((_MARGIN, top + 8), "script", size=17)
    for line in sheet.lines:
        slot = line.planned
        left, right = sheet.x(slot.start), max(sheet.x(slot.end), sheet.x(slot.start) + 2)
        pen.draw.rectangle((left, top + 8, right, top + _LINE), fill=palette.panel, outline=palette.line)
        if line.start is not None and line.end is not None:
            pen.draw.rectangle((sheet.x(line.start), top + 8, sheet.x(line.end), top + 11), fill=palette.speech)
        name = f"{slot.speaker}: " if slot.speaker else ""
        rows = wrapped(f"{slot.number} {name}{slot.text}", 14, right - left - 10, 2)
        colour = palette.ink if line.start is not None else palette.onset
        for index, row in enumerate(rows):
            pen.text((left + 6, top + 15 + 17 * index), row, size=14, colour=colour)
        if not rows:
            pen.text(((left + right) / 2, top + 22), str(slot.number), size=12, colour=colour, anchor="ma")
        if slot.is_cued:
            pen.triangle(left, top + 8, 9, palette.cue, down=True)


def _words(sheet: TakeSheet, pen: Pen, top: int) -> None:
    pen.text((_MARGIN, top), "words", size=17)
    free = 0.0
    for word in sheet.words:
        x = sheet.x(word.start)
        pen.draw.line((x, top, sheet.x(word.end), top), fill=pen.palette.speech, width=2)
        if x >= free:
            free = x + pen.text((x, top + 4), shortened(word.text, 14, _RIGHT - x), size=14) + 6


def _wave(sheet: TakeSheet, stream: Stream, audio: Audio, full: float) -> Callable[[Pen, int], None]:
    def draw(pen: Pen, top: int) -> None:
        soft, strong = _colours(pen.palette, stream)
        pen.text((_MARGIN, top + 4), stream.value, size=17, colour=strong)
        peak = float(audio.waveform.abs().max())
        level = f"peak {20 * math.log10(peak):.1f} dB" if peak else "silent"
        pen.text((_MARGIN, top + 28), level, size=13, colour=pen.palette.muted)
        for line in sheet.lines:
            if line.start is not None and line.end is not None:
                band = (sheet.x(line.start), top, sheet.x(line.end), top + _WAVE)
                pen.draw.rectangle(band, fill=pen.palette.panel)
        middle = top + _WAVE / 2
        pen.draw.line((_LEFT, middle, _RIGHT, middle), fill=pen.palette.line)
        draw_wave(pen.image, (_LEFT, top, _RIGHT, top + _WAVE), audio, full=full, soft=soft, strong=strong)

    return draw


def _spectrogram(stream: Stream, audio: Audio) -> Callable[[Pen, int], None]:
    def draw(pen: Pen, top: int) -> None:
        palette = pen.palette
        colours = (palette.panel, *_colours(palette, stream), palette.bright)
        pen.image.paste(spectrogram(audio, (_RIGHT - _LEFT, _SPECTROGRAM), colours), (_LEFT, top))
        for hertz in _HERTZ:
            y = top + _SPECTROGRAM * (1 - mel_height(hertz))
            pen.draw.line((_LEFT - 6, y, _LEFT - 2, y), fill=palette.muted)
            label = f"{hertz / 1000:g} kHz"
            pen.text((_LEFT - 10, y), label, size=13, colour=palette.muted, anchor="rm")

    return draw


def _events(sheet: TakeSheet, times: Sequence[float], name: str, colour: Colour) -> Callable[[Pen, int], None]:
    def draw(pen: Pen, top: int) -> None:
        pen.text((_MARGIN, top + 2), name, size=17, colour=colour)
        for time in times:
            x = sheet.x(time)
            pen.draw.line((x, top, x, top + _EVENTS), fill=colour, width=2)
            if len(times) <= _MOST_ARROWS:
                pen.triangle(x, top, 10, colour, down=False)

    return draw


def _legend(sheet: TakeSheet, pen: Pen, top: int) -> None:
    parts = ["waves: samples pale, mean power strong, both stems to one scale", "spectrograms: 65 dB, mel, to 12 kHz"]
    if sheet.lines:
        parts.append("script: box slot, triangle cue, bar heard")
    if sheet.onsets:
        parts.append("onsets: the background begins to sound")
    if sheet.moves:
        parts.append("movement: the picture moves most")
    pen.text((_MARGIN, top), "      ".join(parts), size=13, colour=pen.palette.muted, width=_RIGHT - _MARGIN)


def _colours(palette: Palette, stream: Stream) -> tuple[Colour, Colour]:
    if stream is Stream.SPEECH:
        return palette.speech_soft, palette.speech
    return palette.background_soft, palette.background
