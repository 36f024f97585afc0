"""The plan of a long clip as a picture: windows, what each hears of the one before, cuts and lines on one time axis."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..scripts.script import stamp
from .plan import LongPlan

_WIDTH, _MARGIN, _LANE, _HEAD = 960, 12, 22, 26
_BAND = _HEAD + 3 * _LANE
_PAPER, _INK, _FAINT = (24, 26, 30), (226, 228, 232), (70, 74, 82)
_WINDOWS = ((58, 92, 132), (44, 72, 106))  # in turn
_CONTEXT, _CUT, _LINE = (150, 122, 62), (196, 80, 74), (74, 148, 98)
_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0, 600.0)
_SECONDS_A_BAND, _MOST_BANDS = 60.0, 40
_MOMENT = 1e-6


def draw_long_plan(plan: LongPlan) -> Image.Image:
    """A band of windows for each minute; amber below is what the next hears, red is a cut, green is said.

    Returns:
        An RGB picture, 960 pixels wide; clips beyond forty minutes have more to a band.
    """
    seconds = min(plan.duration, max(_SECONDS_A_BAND, plan.duration / _MOST_BANDS))
    bands = max(1, -int(-plan.duration // seconds))
    picture = Image.new("RGB", (_WIDTH, bands * _BAND + _MARGIN), _PAPER)
    sheet = _Sheet(ImageDraw.Draw(picture), plan.duration, seconds, bands)
    sheet.ticks()
    for window in plan.windows:
        start, end = plan.clock.duration(window.start), plan.clock.duration(window.end)
        sheet.block(start, end, 0, str(window.index + 1), fill=_WINDOWS[window.index % 2])
        sheet.block(plan.clock.duration(window.first), start, 1, "", fill=_CONTEXT)
    for line in plan.lines.lines if plan.lines is not None else ():
        sheet.block(line.start, line.end, 2, str(line.number), outline=_LINE)
    for cut in plan.cuts:
        sheet.mark(cut)
    return picture


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A time axis that goes on from band to band; each band has three lanes."""

    draw: Any
    duration: float
    seconds: float
    bands: int

    def block(self, start: float, end: float, lane: int, text: str, **colours: tuple[int, int, int]) -> None:
        """A span, with a text at its beginning."""
        for index, (left, top, right) in enumerate(self._parts(start, end, lane)):
            self.draw.rectangle((left, top, right, top + _LANE - 3), **colours)
            if text and not index:
                self.draw.text((left + 3, top + 4), text, fill=_INK, font=ImageFont.load_default())

    def mark(self, time: float) -> None:
        """A line across windows and what they hear."""
        for left, top, _ in self._parts(time, time + _MOMENT, 0):
            self.draw.line([(left, top - 4), (left, top + 2 * _LANE - 3)], fill=_CUT, width=2)

    def ticks(self) -> None:
        """Times."""
        step = next((step for step in _STEPS if self.seconds / step <= 12), _STEPS[-1])
        for tick in range(int(self.duration / step) + 1):
            for left, top, _ in self._parts(tick * step, tick * step + _MOMENT, 0):
                self.draw.line([(left, top - 6), (left, top + 3 * _LANE)], fill=_FAINT)
                words = stamp(tick * step, hours=False)[:-2]
                self.draw.text((left + 2, top - 18), words, fill=_INK, font=ImageFont.load_default())

    def _parts(self, start: float, end: float, lane: int) -> Iterator[tuple[float, float, float]]:
        """Left, top and right of a span in each band that it touches."""
        scale = (_WIDTH - 2 * _MARGIN) / self.seconds
        for band in range(self.bands):
            origin = band * self.seconds
            left, right = max(start, origin), min(end, origin + self.seconds, self.duration)
            if left < right:
                x = [_MARGIN + (time - origin) * scale for time in (left, right)]
                yield x[0], band * _BAND + _HEAD + lane * _LANE, max(x[0] + 1, x[1] - 1)
