"""When lines are heard in a speech stem, measured by its energy.

A line is heard from the first to the last moment that is less than 30 dB below its loudest 10 ms, in its slot and
up to 0.1 s around it. Energy does not tell the words within a line apart: where their times are asked for they are
estimated (`words`), and said to be.

Letters: N samples.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..audio import to_mono
from ..errors import InputError
from ..types import Audio, check_finite
from .captions import to_srt, to_vtt
from .plan import Plan, PlannedLine
from .script import Script, ScriptLine
from .words import WordTime, place_words

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
        words: when each is said, estimated; empty where that was not asked for.
    """

    planned: PlannedLine
    start: float | None
    end: float | None
    words: tuple[WordTime, ...] = ()

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

    @property
    def has_words(self) -> bool:
        """Whether the times of words are estimated."""
        return any(line.words for line in self.lines)

    def script(self) -> Script:
        """The lines that are heard, with their measured times.

        Raises:
            InputError: the stem is silent in every slot.
        """
        return _script([_line(one) for one in self._heard()])

    def word_script(self) -> Script:
        """Each word that is heard as a line of its own; a line without times of its words stays whole.

        Raises:
            InputError: the stem is silent in every slot.
        """
        lines = []
        for one in self._heard():
            who = one.planned.speaker
            lines += [ScriptLine(w.text, round(w.start, 3), round(w.end, 3), who) for w in one.words] or [_line(one)]
        return _script(lines)

    def captions(self) -> dict[str, str]:
        """What is written, by kind: srt and vtt where a line is heard, and json.

        With times of words there is one cue for each in srt, which knows no others, and a time tag before each in vtt.
        """
        texts = {}
        if self.is_heard:
            words = [one.words for one in self._heard()]
            srt = to_srt(self.word_script() if self.has_words else self.script())
            texts = {"srt": srt, "vtt": to_vtt(self.script(), words if self.has_words else ())}
        return texts | {"json": json.dumps(self.as_dict(), indent=2, ensure_ascii=False)}

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which `captions.parse_json` reads as a script."""
        by = "energy, 30 dB below the loudest 10 ms of the line"
        facts = {"duration": self.duration, "measured_by": f"{by}; no word times"}
        if self.has_words:
            estimate = "estimated, not measured: from syllables, letters and the quiet moments of the line"
            facts |= {"measured_by": by, "words_by": estimate}
        return facts | {"lines": [_told(line, with_words=self.has_words) for line in self.lines]}

    def _heard(self) -> list[MeasuredLine]:
        return [line for line in self.lines if line.start is not None]


def measure_lines(speech: Audio, plan: Plan, *, words: bool = False) -> Measured:
    """Find the plan's lines in one speech stem.

    Args:
        speech: (1, C, N), as long as the clip.
        plan: what should be heard when.
        words: whether the times of words are estimated too.

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
        heard = MeasuredLine(planned=line, start=None, end=None)
        if span is not None:
            heard = replace(heard, start=offset + span[0], end=offset + span[1])
            if words:
                sound = mono[first + round(span[0] * speech.sample_rate) : first + round(span[1] * speech.sample_rate)]
                placed = place_words(line.text, sound, speech.sample_rate, begin=offset + span[0])
                heard = replace(heard, words=placed)
        lines.append(heard)
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


def _script(lines: list[ScriptLine]) -> Script:
    if not lines:
        raise InputError("captions: no line is heard, the speech is silent where the script is spoken")
    return Script(tuple(lines))


def _line(heard: MeasuredLine) -> ScriptLine:
    assert heard.start is not None
    assert heard.end is not None
    return ScriptLine(heard.planned.text, round(heard.start, 3), round(heard.end, 3), heard.planned.speaker)


def _told(line: MeasuredLine, *, with_words: bool) -> dict[str, Any]:
    facts = {
        "number": line.planned.number,
        "text": line.planned.text,
        "speaker": line.planned.speaker,
        "start": _rounded(line.start),
        "end": _rounded(line.end),
        "slot": [_rounded(line.planned.start), _rounded(line.planned.end)],
        "is_cued": line.planned.is_cued,
        "start_error": _rounded(line.start_error),
    }
    words = [asdict(replace(w, start=round(w.start, 3), end=round(w.end, 3))) for w in line.words]
    return facts | ({"words": words} if with_words else {})


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
