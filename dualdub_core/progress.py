"""How long calls report, how a caller cancels them, and how much longer they will take."""

import time
from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Called after each unit of work.

    Raising from the callback cancels the run: the package never swallows the exception.
    """

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


class TimeLeft:
    """What is left of a stage, from what was reported of it: seconds for each unit so far, times those that are left.

    What was done at the first report, such as frames that are known beforehand, took none of the time and counts
    for none.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._stage: tuple[str, int] | None = None
        self._started, self._before = 0.0, 0

    def __call__(self, stage: str, done: int, total: int) -> float | None:
        """Seconds until a stage of `total` units of which `done` are done is finished; None where nobody can tell yet.

        A stage begins with its first report, or where its name or its total changes.
        """
        now = self._clock()
        if self._stage != (stage, total) or done < self._before:
            self._stage, self._started, self._before = (stage, total), now, done
        if done >= total:
            return 0.0
        if done <= self._before:
            return None
        return (now - self._started) / (done - self._before) * (total - done)

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return self._clock() - self._started


def spell_seconds(seconds: float) -> str:
    """Seconds as people read them: 7 s, 2:05, 1:02:03."""
    whole = max(0, round(seconds))
    minutes, hours = whole // 60, whole // 3600
    if hours:
        return f"{hours}:{minutes % 60:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}" if minutes else f"{whole} s"
