"""What a long clip is made in: its windows and what is said in each, known before any weights are loaded."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import InputError
from ..scripts.plan import Plan, PlannedLine, plan_script
from ..scripts.script import Script, ScriptLine, stamp
from ..text import normalise
from ..timing import FrameClock
from .windows import Window, WindowConfig, plan_windows

_SENTENCES = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*")  # noqa: RUF001


@dataclass(frozen=True, kw_only=True, slots=True)
class LongPlan:
    """A clip's windows.

    Attributes:
        windows: cover every frame once, in order.
        clock: of the codec.
        duration: seconds of the clip.
        cuts: seconds at which shots begin.
        lines: what is said when; None where nothing is.
        config: how the clip was divided.
    """

    windows: tuple[Window, ...]
    clock: FrameClock
    duration: float
    cuts: tuple[float, ...]
    lines: Plan | None
    config: WindowConfig

    @property
    def joints(self) -> tuple[float, ...]:
        """Seconds at which one window follows another."""
        return tuple(self.clock.duration(window.start) for window in self.windows[1:])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        windows = []
        for window in self.windows:
            start, end = self._span(window)
            numbers = [cue + 1 for cue in window.cues]
            windows.append({**asdict(window), "start_seconds": start, "end_seconds": end, "lines": numbers})
        return {
            "duration": self.duration,
            "config": asdict(self.config),
            "cuts": list(self.cuts),
            "windows": windows,
            "lines": None if self.lines is None else self.lines.as_dict()["lines"],
        }

    def table(self) -> str:
        """For people, a row a window; `|` marks those that start at a cut."""
        rows = [f"{'no':>3}  {'start':>9}  {'end':>9}  {'lasts':>6}  {'hears':>6}  lines"]
        for window in self.windows:
            start, end = self._span(window)
            heard = self.clock.duration(window.context)
            rows.append(
                f"{window.index + 1:>3}{'|' if window.is_cut else ' '} {stamp(start, hours=False):>9}  "
                f"{stamp(end, hours=False):>9}  {end - start:>6.2f}  {heard:>6.2f}  "
                f"{', '.join(str(cue + 1) for cue in window.cues) or '-'}"
            )
        count = len(self.windows)
        rows.append(
            f"{count} window{'s' if count > 1 else ''} in {self.duration:.3f} s, {len(self.cuts)} cuts; "
            f"the longest run takes {max(self.clock.duration(w.end - w.first) for w in self.windows):.2f} s"
        )
        return "\n".join(rows)

    def said(self, first: int, last: int) -> tuple["Piece", ...]:
        """What is said from one frame to another, with times from the first.

        A line that reaches beyond is there with the words whose time it is, spread evenly over what they need; so
        every word is in one window, and that of a line without gaps between words is where it starts.
        """
        if self.lines is None:
            return ()
        pieces = []
        origin, length = self.clock.duration(first), self.clock.duration(last - first)
        for line in self.lines.lines:
            text = self._words(line, first, last)
            start, end = max(0.0, line.start - origin), min(length, line.end - origin)
            if text and end > start:
                pieces.append(Piece(line, ScriptLine(text, start, end, line.speaker)))
        return tuple(pieces)

    def _words(self, line: PlannedLine, first: int, last: int) -> str:
        start, end = self.clock.frame_at(line.start), self.clock.frame_at(line.end)
        if first <= start and end <= last:
            return line.text
        words = line.text.split()
        each = min(end - start, math.ceil(line.needs * self.clock.frame_rate)) / len(words)
        return " ".join(word for index, word in enumerate(words) if first <= start + index * each < last)

    def _span(self, window: Window) -> tuple[float, float]:
        return self.clock.duration(window.start), min(self.duration, self.clock.duration(window.end))


@dataclass(frozen=True, slots=True)
class Piece:
    """What of a planned line is said in a window; the line has the clip's times, `said` the window's."""

    planned: PlannedLine
    said: ScriptLine


def plan_long(
    clock: FrameClock,
    duration: float,
    *,
    script: str | Script = "",
    cuts: Sequence[float] = (),
    config: WindowConfig | None = None,
) -> LongPlan:
    """Divide a clip.

    Args:
        clock: the codec's.
        duration: seconds.
        script: what is said. Words alone are divided into sentences, each with the time that it needs, one after
            the other; empty for a clip without speech.
        cuts: seconds at which shots begin.
        config: how to divide; the default when None.

    Raises:
        InputError: the clip is empty, or the script does not fit it.
    """
    config = config or WindowConfig()
    num_frames, lines = clock.num_frames(duration), None
    if isinstance(script, Script) or script.strip():
        lines = _planned(script, duration, is_long=num_frames > clock.frame_at(config.longest))
    windows = plan_windows(
        num_frames,
        clock,
        cuts=cuts,
        cues=() if lines is None else [(line.start, line.end) for line in lines.lines],
        config=config,
    )
    return LongPlan(
        windows=windows, clock=clock, duration=duration, cuts=tuple(sorted(cuts)), lines=lines, config=config
    )


def _planned(script: str | Script, duration: float, *, is_long: bool) -> Plan:
    if isinstance(script, Script) and not (script.is_plain and is_long):
        return plan_script(script, duration)
    text = script.text if isinstance(script, Script) else normalise(script)
    sentences = [part for part in _SENTENCES.split(text) if part] if is_long else [text]
    try:
        divided = Script(tuple(ScriptLine(sentence) for sentence in sentences))
    except InputError as error:
        raise InputError(f"{error}, or end its sentences with full stops") from error
    if not (is_long and divided.is_plain):
        return plan_script(divided, duration)
    # One sentence has the whole of a short clip, but of a long one only the time that it needs.
    (line,) = plan_script(divided).lines
    return Plan((replace(line, end=min(line.end, duration)),), duration)
