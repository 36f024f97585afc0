"""Takes made one after another until one passes its gate: each samples anew only the stream that failed.

What is kept is held to its codes, so a stream that was good stays as it was, and costs no sampling by itself.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import torch

from ..errors import DualDubError, InputError
from ..pipeline import Lock
from ..progress import Progress, silent
from ..sampling import SamplingConfig, Seeds
from ..types import Codes, Stream, Task
from .gate import Thresholds, Verdict

# What a later take may come to grief by. Anything else may be a cancel of the caller's own, and passes.
_MISHAPS = (DualDubError, OSError, MemoryError, torch.OutOfMemoryError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Roll:
    """How a take is made.

    Attributes:
        number: of the take, from 1.
        seeds: of both streams.
        streams: those that are sampled anew.
        before: codes of the take that the other streams are kept from; None for the first.
    """

    number: int
    seeds: Seeds
    streams: tuple[Stream, ...]
    before: Codes | None = None

    @property
    def locks(self) -> tuple[Lock, ...]:
        """What holds the other streams; they go after any locks of the artist's."""
        kept = {} if self.before is None else {s: self.before.stream(s) for s in Stream if s not in self.streams}
        return tuple(Lock(stream, codes) for stream, codes in kept.items() if codes is not None)

    def kept(self, codes: Codes) -> Codes:
        """The take's codes: speech that is kept is heard where it was, and not wherever it is locked."""
        if self.before is None or Stream.SPEECH in self.streams:
            return codes
        return replace(codes, spoken=self.before.spoken)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A take that was made and judged."""

    roll: Roll
    verdict: Verdict

    def __str__(self) -> str:
        failed = "; ".join(map(str, self.verdict.failures))
        return f"take {self.roll.number}: {failed or 'passed'}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "take": self.roll.number,
            "speech_seed": self.roll.seeds.speech,
            "background_seed": self.roll.seeds.background,
            "sampled": [stream.value for stream in self.roll.streams],
            "passed": self.verdict.passed,
            "rank": round(self.verdict.rank, 3),
            "failed": [str(failure) for failure in self.verdict.failures],
            "scores": dict(self.verdict.scores),
        }


class Made(Protocol):
    """A take; `system.Take` is one."""

    @property
    def codes(self) -> Codes: ...


T = TypeVar("T", bound=Made)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """The take to go on with.

    Attributes:
        take: the first that passed, else the best.
        best: how it was made, and its verdict.
        attempts: all, in order.
        stopped: why no more were made, where none passed.
    """

    take: T
    best: Attempt
    attempts: tuple[Attempt, ...]
    stopped: str = ""

    @property
    def passed(self) -> bool:
        """Whether a take passed."""
        return self.best.verdict.passed

    def text(self) -> str:
        """For people: the outcome, then a line a take."""
        number, made = self.best.roll.number, len(self.attempts)
        first = f"take {number} passed" if self.passed else f"none of {made} passed, take {number} is the best"
        return "\n".join([first + (f"; {self.stopped}" if self.stopped else ""), *map(str, self.attempts)])

    def as_dict(self, thresholds: Thresholds) -> dict[str, Any]:
        """The best take's figures, and under "gate" what was asked and how every take fared."""
        gate = {"passed": self.passed, "take": self.best.roll.number, "asked": thresholds.asked}
        told = {"stopped": self.stopped, "failed": [str(failure) for failure in self.best.verdict.failures]}
        return {**self.best.verdict.scores, "gate": {**gate, **told, "takes": [a.as_dict() for a in self.attempts]}}


def first_that_passes(
    make_take: Callable[[Roll], T],
    judge: Callable[[T], Verdict],
    *,
    seeds: Seeds,
    streams: Sequence[Stream] = tuple(Stream),
    limit: int,
    progress: Progress = silent,
) -> Outcome[T]:
    """Make takes until one passes.

    A stream's seed rises by one each time it is sampled anew, so the same arguments give the same takes.

    Args:
        make_take: samples with the roll's seeds and its locks.
        judge: of a take.
        seeds: of the first take.
        streams: those that a new seed can change, see `free_streams`.
        limit: takes at most.
        progress: reports "takes" before each one; raising from it cancels.

    Raises:
        InputError: the limit is below 1.
        Exception: whatever the first take raises. A later one that fails ends the run, and the best is kept.
    """
    if limit < 1:
        raise InputError(f"quality gate: got a limit of {limit} takes, expected at least 1")
    attempts: list[Attempt] = []
    best: tuple[T, Attempt] | None = None
    roll, stopped = Roll(1, seeds, tuple(streams)), ""
    while not stopped:
        progress("takes", roll.number - 1, limit)
        try:
            take = make_take(roll)
            attempt = Attempt(roll, judge(take))
        except _MISHAPS as error:
            if best is None:
                raise
            logger.warning("quality gate: take %d failed: %s", roll.number, error)
            stopped = f"take {roll.number} failed ({str(error).partition(chr(10))[0]})"
            break
        attempts.append(attempt)
        if best is None or attempt.verdict.rank > best[1].verdict.rank:
            best = (take, attempt)
        anew = tuple(stream for stream in streams if stream in attempt.verdict.streams)
        if attempt.verdict.passed:
            break
        if not anew:
            stopped = f"no new seed changes the {' or the '.join(s.value for s in attempt.verdict.streams)}"
        elif roll.number == limit:
            stopped = f"the limit is {limit}"
        roll = Roll(roll.number + 1, _next(roll.seeds, anew), anew, take.codes)
    assert best is not None
    progress("takes", limit, limit)
    return Outcome(*best, attempts=tuple(attempts), stopped=stopped)


def free_streams(
    task: Task, *, locks: Sequence[Lock] = (), sampling: SamplingConfig | None = None
) -> tuple[Stream, ...]:
    """The streams of a task that a new seed changes: not those locked all over, or always the likeliest."""
    sampling = sampling or SamplingConfig()
    settings = {Stream.SPEECH: sampling.speech, Stream.BACKGROUND: sampling.background}
    held = {lock.stream for lock in locks if lock.start == 0 and lock.end is None}
    greedy = {stream for stream, how in settings.items() if how.temperature == 0 or how.top_k == 1}
    return tuple(stream for stream in task.streams if stream not in held | greedy)


def _next(seeds: Seeds, streams: Sequence[Stream]) -> Seeds:
    return replace(seeds, **{stream.value: (getattr(seeds, stream.value) + 1) % 2**64 for stream in streams})
