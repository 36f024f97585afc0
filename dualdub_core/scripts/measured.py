"""When lines are heard in a speech stem, measured by its energy.

A line is heard from the first to the last moment that is less than 30 dB below its loudest 10 ms, in its slot and
up to 0.1 s around it. Words within a line are not told apart by energy, so there are times of lines only.

Letters: N samples.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..audio import to_mono
from ..errors import InputError
from ..types import Audio, check_finite
from .plan import Plan, PlannedLine
from .script import Script, ScriptLine

_WIDTH = 0.010  # seconds of energy taken together
_BELOW = 1e-3  # of the loudest: 30 dB
_SILENT = 1e-6  # mean square, -60 dBFS: nothing is said at all
_AROUND = 0.1  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredLine:
    """One line as it is heard.

    Attributes:
        planned: the line and its slot.
        start: seconds at which it is first heard; None where its slot is silent.
        end: seconds at which it is last heard.
    """

    planned: PlannedLine
    start: float | None
    end: float | None

    @property
    def start_error(self) -> float | None:
        """Seconds by which it starts after its cue; None without a cue, or where it is not heard."""
        if self.start is None or not self.planned.is_cued:
            return None
        return self.start - self.planned.start


@dataclass(frozen=True, slots=True)
class Measured:
    """All lines of a stem."""

    lines: tuple[MeasuredLine, ...]
    duration: float

    @property
    def is_heard(self) -> bool:
        """Whether any line is."""
        return any(line.start is not None for line in self.lines)

    def script(self) -> Script:
        """The lines that are heard, with their measured times.

        Raises:
            InputError: the stem is silent in every slot.
        """
        heard = []
        for line in self.lines:
            if line.start is not None and line.end is not None:
                p = line.planned
                heard.append(ScriptLine(p.text, round(line.start, 3), round(line.end, 3), p.speaker))
        if not heard:
            raise InputError("captions: no line is heard, the speech is silent where the script is spoken")
        return Script(tuple(heard))

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which `captions.parse_json` reads as a script."""
        return {
            "duration": self.duration,
            "measured_by": "energy, 30 dB below the loudest 10 ms of the line; no word times",
            "lines": [
                {
                    "number": line.planned.number,
                    "text": line.planned.text,
                    "speaker": line.planned.speaker,
                    "start": _rounded(line.start),
                    "end": _rounded(line.end),
                    "slot": [_rounded(line.planned.start), _rounded(line.planned.end)],
                    "is_cued": line.planned.is_cued,
                    "start_error": _rounded(line.start_error),
                }
                for line in self.lines
            ],
        }


def measure_lines(speech: Audio, plan: Plan) -> Measured:
    """Find the plan's lines in one speech stem.

    Args:
        speech: (1, C, N), as long as the clip.
        plan: what should be heard when.

    Raises:
        InputError: a batch, or samples that are not finite.
    """
    check_finite(speech, "captions")
    if speech.waveform.shape[0] != 1:
        raise InputError(f"captions: got a batch of {speech.waveform.shape[0]} stems, expected one at a time")
    mono = to_mono(speech).waveform[0, 0]
    lines = []
    for index, line in enumerate(plan.lines):
        before = plan.lines[index - 1].end if index else 0.0
        after = plan.lines[index + 1].start if index + 1 < len(plan.lines) else speech.duration
        # Never more than halfway to a neighbour, so that no moment belongs to two lines.
        begin = max(line.start - _AROUND, (before + line.start) / 2)
        end = min(line.end + _AROUND, (line.end + after) / 2)
        first, last = round(begin * speech.sample_rate), round(end * speech.sample_rate)
        span = heard_span(mono[first:last], speech.sample_rate)
        offset = first / speech.sample_rate
        empty = MeasuredLine(planned=line, start=None, end=None)
        lines.append(empty if span is None else replace(empty, start=offset + span[0], end=offset + span[1]))
    return Measured(tuple(lines), speech.duration)


def heard_span(waveform: Tensor, sample_rate: int, *, floor: float = 0.0) -> tuple[float, float] | None:
    """Seconds from which to which something is heard in (N,); None in silence.

    Args:
        waveform: mono.
        sample_rate: Hz.
        floor: mean square up to which it counts as silence, where that is known to hum.
    """
    power = power_of(waveform, sample_rate)
    loudest = float(power.max()) if power.numel() else 0.0
    if loudest <= max(floor, _SILENT):
        return None
    heard = (power > max(floor, _BELOW * loudest)).nonzero()
    middle = max(1, round(_WIDTH * sample_rate)) / 2
    return (float(heard[0]) + middle) / sample_rate, (float(heard[-1]) + middle) / sample_rate


def power_of(waveform: Tensor, sample_rate: int) -> Tensor:
    """Mean square of each 10 ms of (N,), float64, one from every sample on that has so many after it."""
    width = max(1, round(_WIDTH * sample_rate))
    if waveform.numel() < width:
        return torch.zeros(0, dtype=torch.float64)
    squares = torch.nn.functional.pad(waveform.double().square().cumsum(0), (1, 0))
    return (squares[width:] - squares[:-width]) / width


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
