"""Things that sound when they are seen to hit something; each knows its events, motion and colours."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..canvas import Canvas
from ..impacts import Event
from .ball import Ball
from .door import Door
from .footsteps import Footsteps
from .hammer import Hammer


class Source(Protocol):
    """A thing that sounds.

    `draw` decides all about it; it stands on the floor at (x, floor), and pictures have `scale` x 64 pixels.
    """

    @property
    def events(self) -> tuple[Event, ...]:
        """What is heard, in order."""
        ...

    @property
    def size(self) -> float:
        """1 is ordinary; a bigger thing looks bigger and sounds lower."""
        ...

    @classmethod
    def draw(cls, rng: np.random.Generator, duration: float) -> "Source":
        """One at random."""
        ...

    def paint(self, canvas: Canvas, times: NDArray[np.float64], *, x: float, floor: float, scale: float) -> None:
        """Paint it at the times of the canvas' frames, seconds (F,)."""
        ...


SOURCES: dict[str, type[Source]] = {"ball": Ball, "hammer": Hammer, "door": Door, "footsteps": Footsteps}
