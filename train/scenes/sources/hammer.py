"""A hammer that strikes a block: raised as high as the strike will be strong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..canvas import Canvas, Colour
from ..impacts import Event, Material

_COLOURS: dict[Material, Colour] = {
    "wood": (0.62, 0.42, 0.2),
    "metal": (0.72, 0.74, 0.8),
    "glass": (0.3, 0.75, 0.85),
    "skin": (0.8, 0.2, 0.25),
}
_SWING = 0.32
"""Seconds that a swing down, or the rise after it, takes at most."""


@dataclass(frozen=True, slots=True)
class Hammer:
    """A hammer and a block.

    Attributes:
        strikes: the events.
        size: 1 is ordinary.
    """

    strikes: tuple[Event, ...]
    size: float

    @classmethod
    def draw(cls, rng: np.random.Generator, duration: float) -> "Hammer":
        """One at random."""
        material = tuple(_COLOURS)[rng.integers(len(_COLOURS))]
        strikes = []
        time = rng.uniform(0.2, 1.0)
        while time <= duration - 0.15:
            strikes.append(Event(float(time), float(rng.uniform(0.45, 1)), material))
            time += rng.uniform(0.36, 1.3)
        return cls(tuple(strikes), float(rng.uniform(0.8, 1.25)))

    @property
    def events(self) -> tuple[Event, ...]:
        """The strikes."""
        return self.strikes

    def paint(self, canvas: Canvas, times: NDArray[np.float64], *, x: float, floor: float, scale: float) -> None:
        """The block, and the hammer turning about the end of its handle."""
        x = x - 7 * scale  # so that the block with the handle, not the block, is in the middle
        half, top = 8 * self.size * scale, floor - 9 * self.size * scale
        colour = _COLOURS[self.strikes[0].material]
        canvas.box(x - half, top, x + half, floor, colour)
        canvas.box(x - half, top, x + half, top + 1.5 * scale, tuple(min(1.0, c + 0.15) for c in colour))  # type: ignore[arg-type]
        reach = 17 * scale
        angle = self._raise(times) * np.radians(75)
        pivot_x, pivot_y = x + reach, top - 4 * scale
        head_x, head_y = pivot_x - reach * np.cos(angle), pivot_y - reach * np.sin(angle)
        canvas.line(pivot_x, pivot_y, head_x, head_y, 2 * scale, (0.45, 0.3, 0.15))
        across_x, across_y = 4 * scale * np.sin(angle), 4 * scale * np.cos(angle)
        canvas.line(
            head_x + across_x,
            head_y - across_y,
            head_x - across_x * 0.5,
            head_y + across_y * 0.5,
            5 * scale,
            (0.2,) * 3,
        )

    def _raise(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far up it is: 0 touches the block, 1 is as high as it goes."""
        hits = np.array([event.time for event in self.strikes])
        strengths = np.array([event.strength for event in self.strikes])
        after = np.searchsorted(hits, times, side="right")
        before = np.maximum(after - 1, 0)
        following = np.minimum(after, len(hits) - 1)
        gap = np.where((after > 0) & (after < len(hits)), hits[following] - hits[before], 2 * _SWING)
        swing = np.minimum(_SWING, gap / 2)
        falling = np.where(after < len(hits), ((hits[following] - times) / swing).clip(0, 1), 1)
        rising = np.where(after > 0, ((times - hits[before]) / swing).clip(0, 1), 1)
        # Faster and faster down to the block, slower and slower up from it.
        lift = np.where(falling < 1, 1 - (1 - falling) ** 2, 1 - (1 - rising) ** 2)
        top = np.where(after < len(hits), strengths[following], 0.6)
        low = np.where(after > 0, strengths[before], top)
        reached = np.where(
            falling < 1,
            top,
            low + (top - low) * ((times - hits[before]) / np.maximum(gap - swing, 1e-3)).clip(0, 1),
        )
        return lift * reached
