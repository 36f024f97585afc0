"""A ball that bounces under gravity: dropped and left alone, or kept going by an unseen hand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..canvas import Canvas, Colour
from ..impacts import Event, Material

_COLOURS: dict[Material, Colour] = {
    "rubber": (0.85, 0.25, 0.2),
    "wood": (0.62, 0.42, 0.2),
    "metal": (0.75, 0.77, 0.82),
    "glass": (0.3, 0.75, 0.85),
}
_LONGEST_FALL = 0.95
"""Seconds between two bounces that just stay in the picture."""
_HIGHEST = 44.0
"""Pixels of 64 that such a bounce rises."""


@dataclass(frozen=True, slots=True)
class Ball:
    """A bouncing ball.

    Attributes:
        bounces: seconds of every contact with the floor, from the last before 0 to the first after the end,
            or to where the ball comes to lie still.
        material: of the ball.
        size: 1 is ordinary.
        duration: seconds of the clip.
    """

    bounces: tuple[float, ...]
    material: Material
    size: float
    duration: float

    @classmethod
    def draw(cls, rng: np.random.Generator, duration: float) -> "Ball":
        """One at random."""
        fall = rng.uniform(0.7, _LONGEST_FALL)
        bounces = [-rng.uniform(0, 0.85) * fall]
        bounces.append(bounces[0] + fall)
        is_left_alone = rng.random() < 0.4
        restitution = rng.uniform(0.68, 0.86)
        while bounces[-1] < duration:
            gap = (bounces[-1] - bounces[-2]) * restitution if is_left_alone else rng.uniform(0.36, _LONGEST_FALL)
            if gap < 0.22:
                break
            bounces.append(bounces[-1] + gap)
        material = tuple(_COLOURS)[rng.integers(len(_COLOURS))]
        return cls(tuple(map(float, bounces)), material, float(rng.uniform(0.75, 1.3)), duration)

    @property
    def events(self) -> tuple[Event, ...]:
        """A sound per bounce, strong as the fall before it was long."""
        return tuple(
            Event(time, min(1.0, (time - before) / _LONGEST_FALL), self.material)
            for before, time in zip(self.bounces, self.bounces[1:], strict=False)
            if 0.05 <= time <= self.duration - 0.1
        )

    def paint(self, canvas: Canvas, times: NDArray[np.float64], *, x: float, floor: float, scale: float) -> None:
        """The ball, and its shadow that shrinks as it rises."""
        height = self._height(times) * scale
        radius = 5.0 * self.size * scale
        canvas.ellipse(x, floor, radius * (1.1 - 0.4 * height / (_HIGHEST * scale)), 1.2 * scale, (0.12, 0.1, 0.1))
        canvas.disc(x, floor - radius - height, radius, _COLOURS[self.material])
        canvas.disc(x - radius / 3, floor - 1.3 * radius - height, radius / 4, (1, 1, 1))

    def _height(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        bounces = np.asarray(self.bounces)
        after = np.searchsorted(bounces, times, side="right")
        is_flying = after < len(bounces)
        last, following = bounces[after - 1], bounces[np.minimum(after, len(bounces) - 1)]
        flight = 4 * _HIGHEST / _LONGEST_FALL**2 * (times - last) * (following - times)
        return np.where(is_flying, np.maximum(flight, 0), 0.0)
