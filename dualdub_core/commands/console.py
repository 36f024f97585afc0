"""What commands say: results on standard output; notes and progress bars on standard error."""

import sys
from typing import Any


def say(text: object) -> None:
    """A line of what was asked for."""
    print(text)  # noqa: T201, what a command is for


def note(text: str) -> None:
    """What somebody should know who did not ask."""
    print(f"note: {text}", file=sys.stderr)  # noqa: T201


class Bars:
    """One progress bar a stage."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._bar: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._quiet:
            return
        if stage != self._stage or (self._bar is not None and total != self._bar.total):
            self.close()
            self._stage, self._bar = stage, tqdm(total=total, desc=stage, leave=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._stage, self._bar = "", None
