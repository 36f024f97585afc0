"""When each line of a script is spoken, and whether its words fit there: known before any weights are loaded."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import InputError
from .script import Script, ScriptLine, numbered, stamp
from .speaking import HURRIED, speaking_seconds

Verdict = Literal["fits", "tight", "too long"]

_PAUSE = 0.25  # seconds between lines that have no times of their own
_EASE = 1.0  # seconds that such a line may last longer than twice its estimate
_ROUNDING = 0.05  # seconds by which captions may end after the clip


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedLine:
    """One line in its slot.

    Attributes:
        number: of the line in its script, from 1.
        text: the words.
        speaker: whose voice; may be empty.
        start: seconds at which the slot begins.
        end: seconds at which it ends; outside of slots nobody speaks.
        is_cued: whether the script says when it starts; if not, the slot is our proposal.
        needs: seconds that the words take at a pace comfortable in any language.
        at_least: seconds that they take in a hurry.
    """

    number: int
    text: str
    speaker: str
    start: float
    end: float
    is_cued: bool
    needs: float
    at_least: float

    @property
    def verdict(self) -> Verdict:
        """Whether the words fit the slot."""
        slot = self.end - self.start
        if self.needs <= slot:
            return "fits"
        return "tight" if self.at_least <= slot else "too long"


@dataclass(frozen=True, slots=True)
class Plan:
    """All lines of a clip of `duration` seconds; slots follow each other and lie within it."""

    lines: tuple[PlannedLine, ...]
    duration: float

    @property
    def fits(self) -> bool:
        """Whether no line is too long for its slot."""
        return all(line.verdict != "too long" for line in self.lines)

    def script(self) -> Script:
        """The script with the planned times."""
        return Script(tuple(ScriptLine(e.text, round(e.start, 3), round(e.end, 3), e.speaker) for e in self.lines))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        lines = [{**asdict(line), "verdict": line.verdict} for line in self.lines]
        return {"duration": self.duration, "fits": self.fits, "lines": lines}

    def table(self) -> str:
        """For people, a row a line; `*` marks times that the script leaves open."""
        rows = [f"{'no':>3}  {'start':>9}  {'end':>9}  {'slot':>6}  {'needs':>6}  {'':8}  line"]
        for line in self.lines:
            name = f"[{line.speaker}] " if line.speaker else ""
            rows.append(
                f"{line.number:>3}{' ' if line.is_cued else '*'} {stamp(line.start, hours=False):>9}  "
                f"{stamp(line.end, hours=False):>9}  {line.end - line.start:>6.2f}  {line.needs:>6.2f}  "
                f"{line.verdict:8}  {name}{line.text}"
            )
        count = sum(line.verdict == "too long" for line in self.lines)
        rows.append(
            f"{len(self.lines)} line{'s' if len(self.lines) > 1 else ''} in {self.duration:.3f} s, "
            + (f"{count} too long for the slot" if count else "every line has room")
        )
        return "\n".join(rows)


def plan_script(script: Script, duration: float | None = None) -> Plan:
    """Give every line its slot.

    A cue with an end is its own slot. Lines without an end, or without any time, share what lies before the next
    cue in proportion to their words, each at most twice what it needs and a second. Words alone, without any cue or
    name, have the whole clip.

    Args:
        script: the lines.
        duration: seconds of the clip; where the last slot ends when None.

    Raises:
        InputError: a cue lies beyond the clip, or a line has no time left to it.
    """
    _check_within(script, duration)
    if script.is_plain and duration is not None:
        return Plan((_planned(1, script.lines[0], 0.0, duration),), duration)
    slots: list[tuple[float, float]] = []
    lines = script.lines
    index, free = 0, 0.0
    while index < len(lines):
        line = lines[index]
        if line.start is not None and line.end is not None:
            slots.append((line.start, line.end if duration is None else min(line.end, duration)))
            index, free = index + 1, line.end
            continue
        # This line and those after it without times, up to the next time that is known.
        count = 1
        while index + count < len(lines) and lines[index + count].start is None:
            count += 1
        begin = free if line.start is None else line.start
        limit = lines[index + count].start if index + count < len(lines) else duration
        slots += _shared([e.text for e in lines[index : index + count]], begin, limit, number=index + 1)
        index, free = index + count, slots[-1][1]
    total = slots[-1][1] if duration is None else duration
    return Plan(tuple(_planned(n, e, *slot) for (n, e), slot in zip(numbered(lines), slots, strict=True)), total)


def _check_within(script: Script, duration: float | None) -> None:
    if duration is None:
        return
    for number, line in numbered(script.lines):
        if line.start is not None and line.start >= duration:
            raise InputError(
                f"script: line {number} starts at {line.start:.3f} s, but the clip lasts {duration:.3f} s; correct the "
                "time, or use a longer part of the video"
            )
        if line.end is not None and line.end > duration + _ROUNDING:
            raise InputError(
                f"script: line {number} ends at {line.end:.3f} s, but the clip lasts {duration:.3f} s; correct the "
                "time, or use a longer part of the video"
            )


def _shared(texts: list[str], begin: float, limit: float | None, *, number: int) -> list[tuple[float, float]]:
    """Slots of texts that follow each other from `begin` to at most `limit`."""
    needs = [speaking_seconds(text) for text in texts]
    total, pauses = sum(needs), _PAUSE * (len(texts) - 1)
    room = total + pauses + total + _EASE if limit is None else limit - begin
    if room <= 0:
        raise InputError(
            f"script: no time is left for line {number} between {begin:.3f} s and "
            f"{begin + room:.3f} s; give it a time of its own or end the line before it earlier"
        )
    pause = _PAUSE if room >= total + pauses else 0.0
    share = min(room - pause * (len(texts) - 1), 2 * total + _EASE) / total
    slots = []
    for need in needs:
        slots.append((begin, begin + need * share))
        begin = slots[-1][1] + pause
    return slots


def _planned(number: int, line: ScriptLine, start: float, end: float) -> PlannedLine:
    return PlannedLine(
        number=number,
        text=line.text,
        speaker=line.speaker,
        start=start,
        end=end,
        is_cued=line.start is not None,
        needs=round(speaking_seconds(line.text), 3),
        at_least=round(speaking_seconds(line.text, HURRIED), 3),
    )
