"""Somebody who walks on the spot: each heel sounds as it lands."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..canvas import Canvas, Colour
from ..impacts import Event, Material

_GROUNDS: dict[Material, Colour] = {
    "gravel": (0.45, 0.45, 0.42),
    "snow": (0.95, 0.96, 1.0),
    "tile": (0.25, 0.45, 0.5),
    "wood": (0.55, 0.38, 0.2),
}
_COAT = (0.16, 0.2, 0.45)
_LEGS = ((0.1, 0.1, 0.14), (0.3, 0.3, 0.36))


@dataclass(frozen=True, slots=True)
class Footsteps:
    """A walker.

    Attributes:
        landings: seconds of every landing, from the last before 0 to the first after the end; feet alternate.
        strengths: of each.
        ground: what they walk on.
        size: 1 is ordinary.
        duration: seconds of the clip.
    """

    landings: tuple[float, ...]
    strengths: tuple[float, ...]
    ground: Material
    size: float
    duration: float

    @classmethod
    def draw(cls, rng: np.random.Generator, duration: float) -> "Footsteps":
        """One at random."""
        pace = rng.uniform(0.36, 0.75)
        landings = [-rng.uniform(0, 1) * pace]
        while landings[-1] < duration:
            landings.append(landings[-1] + pace * rng.uniform(0.85, 1.15))
        strengths = rng.uniform(0.6, 1, len(landings))
        ground = tuple(_GROUNDS)[rng.integers(len(_GROUNDS))]
        return cls(
            tuple(map(float, landings)),
            tuple(strengths.tolist()),
            ground,
            float(rng.uniform(0.85, 1.2)),
            duration,
        )

    @property
    def events(self) -> tuple[Event, ...]:
        """The landings within the clip."""
        return tuple(
            Event(time, strength, self.ground)
            for time, strength in zip(self.landings, self.strengths, strict=True)
            if 0.05 <= time <= self.duration - 0.1
        )

    def paint(self, canvas: Canvas, times: NDArray[np.float64], *, x: float, floor: float, scale: float) -> None:
        """The ground, two legs that swing in turn, and a body that sinks as the legs part."""
        unit = self.size * scale
        canvas.box(x - 16 * unit, floor - 0.5 * scale, x + 16 * unit, floor + 6 * scale, _GROUNDS[self.ground])
        landings = np.asarray(self.landings)
        last = (np.searchsorted(landings, times, side="right") - 1).clip(0, len(landings) - 2)
        phase = ((times - landings[last]) / (landings[last + 1] - landings[last])).clip(0, 1)
        hip_y = floor - (22 - 2 * np.abs(2 * phase - 1)) * unit
        for leg in (0, 1):
            is_swinging = (last + leg) % 2 == 0
            ahead = np.where(is_swinging, 2 * phase - 1, 1 - 2 * phase) * 8 * unit
            lift = np.where(is_swinging, np.sin(np.pi * phase), 0) * self._lift(last) * unit
            foot_y = floor - lift - unit
            canvas.line(x, hip_y, x + ahead, foot_y, 3 * unit, _LEGS[leg])
            canvas.line(x + ahead, foot_y, x + ahead + 3 * unit, foot_y, 2.5 * unit, _LEGS[leg])
        canvas.line(x, hip_y, x, hip_y - 11 * unit, 8 * unit, _COAT)
        canvas.disc(x, hip_y - 20 * unit, 4.5 * unit, (0.9, 0.72, 0.58))

    def _lift(self, last: NDArray[np.intp]) -> NDArray[np.float64]:
        """A foot that will land hard is lifted high."""
        return 2 + 8 * np.asarray(self.strengths)[last + 1]
