"""A door that swings open and falls shut: quick doors are loud."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..canvas import Canvas
from ..impacts import Event

_OPENING = 0.55


@dataclass(frozen=True, slots=True)
class Door:
    """A door.

    Attributes:
        slams: the events.
        size: 1 is ordinary.
    """

    slams: tuple[Event, ...]
    size: float

    @classmethod
    def draw(cls, rng: np.random.Generator, duration: float) -> "Door":
        """One at random."""
        slams = []
        time = rng.uniform(0.35, 1.3)
        while time <= duration - 0.15:
            slams.append(Event(float(time), float(rng.uniform(0.5, 1)), "door"))
            time += rng.uniform(1.1, 1.9)
        return cls(tuple(slams), float(rng.uniform(0.85, 1.2)))

    @property
    def events(self) -> tuple[Event, ...]:
        """The slams."""
        return self.slams

    def paint(self, canvas: Canvas, times: NDArray[np.float64], *, x: float, floor: float, scale: float) -> None:
        """The frame, the dark behind it, and the leaf, the narrower the wider it is open."""
        half, top = 9 * self.size * scale, floor - 36 * self.size * scale
        left = x - half + self._shake(times) * scale
        canvas.box(left - 2 * scale, top - 2 * scale, left + 2 * half + 2 * scale, floor, (0.35, 0.22, 0.12))
        canvas.box(left, top, left + 2 * half, floor, (0.03, 0.03, 0.05))
        edge = left + 2 * half * np.cos(self._angle(times))
        canvas.box(left, top, edge, floor, (0.75, 0.5, 0.25))
        canvas.disc(edge - 2.5 * scale, (top + floor) / 2, 1.3 * scale, (0.95, 0.85, 0.3))

    def _angle(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """0 shut, radians."""
        widest = np.radians(78)
        angle = np.zeros_like(times)
        previous = -np.inf
        for slam in self.slams:
            fall = 0.55 - 0.25 * slam.strength
            start = max(previous + 0.15, slam.time - fall - _OPENING - 0.1)
            opening = min(_OPENING, (slam.time - fall - start))
            risen = 0.5 - 0.5 * np.cos(np.pi * ((times - start) / opening).clip(0, 1))
            fallen = 1 - ((times - slam.time + fall) / fall).clip(0, 1) ** 2
            angle += np.where((times > previous) & (times <= slam.time), widest * risen * fallen, 0)
            previous = slam.time
        return angle

    def _shake(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        since = times[:, None] - np.array([slam.time for slam in self.slams])
        swing = np.array([slam.strength for slam in self.slams]) * np.exp(-since.clip(0) / 0.08)
        shake: NDArray[np.float64] = np.where(since >= 0, 1.5 * swing * np.cos(2 * np.pi * 9 * since), 0).sum(axis=1)
        return shake
