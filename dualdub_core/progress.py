"""How long calls report and how a caller cancels them."""

from typing import Protocol


class Progress(Protocol):
    """Called after each unit of work.

    Raising from the callback cancels the run: the package never swallows the exception.
    """

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
