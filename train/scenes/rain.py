"""Rain that swells and fades: streaks in the picture, noise in the background, no onsets.

Letters: N samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas
from .impacts import band_noise

FloatArray = NDArray[np.float32]

_KNOT = 0.9
_STREAKS = 36
_SPEED = 110.0


@dataclass(frozen=True, slots=True)
class Rain:
    """Rain.

    Attributes:
        knots: how strongly it rains every 0.9 s, [0, 1]; straight lines between.
        pattern: seed of the streaks' places.
    """

    knots: tuple[float, ...]
    pattern: int

    @classmethod
    def draw(cls, rng: np.random.Generator, duration: float) -> "Rain":
        """Some at random."""
        count = int(np.ceil(duration / _KNOT)) + 1
        return cls(tuple(np.round(rng.uniform(0, 1, count), 1).tolist()), int(rng.integers(2**31)))

    def strength(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """How strongly it rains at `times` in seconds, [0, 1]."""
        return np.interp(times, np.arange(len(self.knots)) * _KNOT, self.knots)

    def paint(self, canvas: Canvas, times: NDArray[np.float64]) -> None:
        """More streaks where it rains more."""
        rng = np.random.default_rng(self.pattern)
        scale = canvas.size / 64
        strength = self.strength(times)
        for rank in range(_STREAKS):
            x, start, fall = rng.uniform(-2, 66), rng.uniform(0, 80), rng.uniform(0.8, 1.2)
            y = (start + fall * _SPEED * times) % 80 - 8
            # A streak that does not fall in this frame is painted outside the picture.
            y = np.where(strength * _STREAKS > rank, y, -99) * scale
            x = x * scale
            canvas.line(x, y, x - 1.5 * scale, y + 6 * scale, 0.7 * scale, (0.75, 0.85, 1.0))

    def sound(self, num_samples: int, *, sample_rate: int, rng: np.random.Generator) -> FloatArray:
        """Hiss as strong as the rain, RMS 1 where it rains hardest, float32 (N,)."""
        strength = self.strength(np.arange(num_samples) / sample_rate)
        noise = band_noise(num_samples, (500, 7000), sample_rate=sample_rate, rng=rng)
        return (noise * (0.06 + 0.94 * strength**1.5)).astype(np.float32)
