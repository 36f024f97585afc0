"""What is said, when and by whom: the lines of a script, and times as captions write them."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..errors import InputError
from ..limits import within
from ..text import normalise

MAX_CHARACTERS = 2_000
"""Of one line; about two minutes of speech."""

_TIME = re.compile(r"(?:(?:(\d{1,3}):)?(\d{1,3}):)?(\d{1,6})(?:[.,](\d{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """One thing that one person says.

    Attributes:
        text: the words, tidied by `text.normalise`.
        start: seconds in the clip at which it starts; None leaves that open.
        end: seconds at which it is over; None leaves that open.
        speaker: whose voice; empty for the only or usual one.
    """

    text: str
    start: float | None = None
    end: float | None = None
    speaker: str = ""

    def __post_init__(self) -> None:
        normalise(self.text)
        if len(self.text) > MAX_CHARACTERS:
            raise InputError(
                f"script: '{self.shown}' is a line of {len(self.text)} characters, expected at most "
                f"{MAX_CHARACTERS}; divide it by cues such as [00:12.0]"
            )
        for name, seconds in (("start", self.start), ("end", self.end)):
            if seconds is not None and not within(seconds, 0):
                raise InputError(f"script: '{self.shown}' has its {name} at {seconds} s, expected 0 or more")
        if self.end is not None and (self.start is None or self.end <= self.start):
            begins = "no start" if self.start is None else f"its start at {self.start:.3f} s"
            raise InputError(
                f"script: '{self.shown}' has {begins} and its end at {self.end:.3f} s, expected a start before the end"
            )

    @property
    def shown(self) -> str:
        """The beginning of the text, for messages."""
        return self.text if len(self.text) <= 30 else f"{self.text[:29]}…"


@dataclass(frozen=True, slots=True)
class Script:
    """Lines in the order of time; no two are spoken at once, since there is one speech stream."""

    lines: tuple[ScriptLine, ...]

    def __post_init__(self) -> None:
        if not self.lines:
            raise InputError("script: got no lines, expected at least one word that is said")
        latest: tuple[int, ScriptLine] | None = None
        for number, line in enumerate(self.lines, start=1):
            if line.start is None:
                continue
            if latest is not None:
                _check_after(*latest, number, line)
            latest = number, line

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but words: one line of nobody in particular at no particular time."""
        return len(self.lines) == 1 and self.lines[0].start is None and not self.lines[0].speaker

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(line.text for line in self.lines)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names in the order of appearance, without the empty one."""
        return tuple(dict.fromkeys(line.speaker for line in self.lines if line.speaker))

    def part(self, start: float, duration: float | None = None) -> "Script":
        """The lines that start within a part of the clip, on the part's own clock; lines without times stay.

        Raises:
            InputError: none is left.
        """
        stop = math.inf if duration is None else start + duration
        lines = tuple(
            line if line.start is None else _moved(line, start, stop)
            for line in self.lines
            if line.start is None or start <= line.start < stop
        )
        if not lines:
            raise InputError(
                f"script: none of its {len(self.lines)} lines starts between {start} s and "
                f"{'the end' if duration is None else f'{stop} s'}; choose another part or another script"
            )
        return Script(lines)


def seconds_of(text: str) -> float | None:
    """The time that `1:02:03.5`, `02:03,500` or `3.5` is, in seconds; None for anything else."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    hours, minutes, seconds, fraction = (group or "0" for group in found.groups())
    # A unit counts to 59 where a larger one stands before it.
    if (found[2] and int(seconds) > 59) or (found[1] and int(minutes) > 59):
        return None
    # As one decimal number: a sum with its fraction would be another float than the one that was written.
    return float(f"{int(hours) * 3600 + int(minutes) * 60 + int(seconds)}.{fraction}")


def stamp(seconds: float, *, decimal: str = ".", hours: bool = True) -> str:
    """`00:01:02.345`; without `hours` they are left out where there are none."""
    total = round(seconds * 1000)
    whole, thousandths = divmod(total, 1000)
    minutes, rest = divmod(whole, 60)
    short = f"{minutes % 60:02}:{rest:02}{decimal}{thousandths:03}"
    return f"{minutes // 60:02}:{short}" if hours or minutes >= 60 else short


def line_of(text: str, start: float | None, end: float | None, speaker: str) -> ScriptLine:
    """A line whose words and name come from a file."""
    return ScriptLine(normalise(_whole(text)), start, end, " ".join(_whole(speaker).split()))


def numbered(lines: Iterable[ScriptLine]) -> Iterable[tuple[int, ScriptLine]]:
    """Lines with the numbers that people see, from 1."""
    return enumerate(lines, start=1)


def _whole(text: str) -> str:
    """Half characters, which JSON can hold and no file can, joined or replaced by a mark."""
    return text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")


def _check_after(before: int, earlier: ScriptLine, number: int, line: ScriptLine) -> None:
    assert earlier.start is not None
    assert line.start is not None
    free = earlier.start if earlier.end is None else earlier.end
    if line.start < free or line.start == earlier.start:
        verb = "starts" if earlier.end is None else "ends"
        raise InputError(
            f"script: line {number} starts at {line.start:.3f} s, but line {before} {verb} at {free:.3f} s; "
            "lines must follow each other, so move or shorten one of them"
        )


def _moved(line: ScriptLine, origin: float, stop: float) -> ScriptLine:
    assert line.start is not None
    end = None if line.end is None else min(line.end, stop) - origin
    return replace(line, start=line.start - origin, end=end)
