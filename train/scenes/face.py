"""A talking face: how wide its mouth is open follows the speech.

Letters: N samples, F video frames.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas, Colour

FloatArray = NDArray[np.float32]

_SKINS: tuple[Colour, ...] = ((0.95, 0.78, 0.65), (0.82, 0.6, 0.45), (0.55, 0.36, 0.25), (0.98, 0.85, 0.75))
_HAIRS: tuple[Colour, ...] = ((0.1, 0.08, 0.07), (0.4, 0.25, 0.1), (0.85, 0.7, 0.3), (0.6, 0.6, 0.6))
_HOP = 0.005
_SMOOTHING = 0.09
"""Seconds over which the lips smear the envelope; symmetric, so that they are on time."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face.

    Attributes:
        x: of its centre, pixels of a 64-pixel picture.
        y: likewise.
        size: 1 is ordinary.
        skin: colour.
        hair: colour.
    """

    x: float
    y: float
    size: float
    skin: Colour
    hair: Colour

    @classmethod
    def draw(cls, rng: np.random.Generator, *, is_left: bool) -> "Face":
        """One at random, at one side of the picture."""
        x = rng.uniform(15, 18)
        return cls(
            float(x if is_left else 64 - x),
            float(rng.uniform(22, 32)),
            float(rng.uniform(0.9, 1.1)),
            _SKINS[rng.integers(len(_SKINS))],
            _HAIRS[rng.integers(len(_HAIRS))],
        )

    @property
    def mouth_box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the mouth when wide open, as fractions of the picture."""
        x, y, half_x, half_y = self.x, self.y + 7 * self.size, 5.5 * self.size, 5.8 * self.size
        return ((x - half_x) / 64, (y - half_y) / 64, (x + half_x) / 64, (y + half_y) / 64)

    def paint(self, canvas: Canvas, opening: NDArray[np.float64]) -> None:
        """Paint it; `opening` of the mouth in [0, 1] for each frame (F,)."""
        scale = canvas.size / 64
        unit = self.size * scale
        x, y = self.x * scale, self.y * scale
        canvas.ellipse(x, y - 2 * unit, 13.5 * unit, 16 * unit, self.hair)
        canvas.ellipse(x, y + 1 * unit, 11.5 * unit, 14 * unit, self.skin)
        for side in (-1, 1):
            canvas.ellipse(x + side * 4.5 * unit, y - 3 * unit, 2.2 * unit, 1.6 * unit, (1, 1, 1))
            canvas.disc(x + side * 4.5 * unit, y - 3 * unit, 1.1 * unit, (0.1, 0.1, 0.15))
        canvas.ellipse(x, y + 7 * unit, 5.5 * unit, (1.0 + 4.8 * opening) * unit, (0.7, 0.2, 0.22))
        canvas.ellipse(x, y + 7 * unit, 4.4 * unit, (0.15 + 4.2 * opening) * unit, (0.12, 0.02, 0.04))


def envelope(waveform: FloatArray, *, sample_rate: int, smoothing: float = _SMOOTHING) -> FloatArray:
    """Smoothed loudness every 5 ms, from the sample 0 on, 1 at the loud syllables; float32."""
    hop = round(_HOP * sample_rate)
    power = waveform.astype(np.float64) ** 2
    blocks = np.add.reduceat(power, np.arange(0, len(power), hop)) / hop
    # A block's power belongs to its middle: averaging neighbours moves it to its start, on the clock.
    blocks = 0.5 * (blocks + np.concatenate([[0.0], blocks[:-1]]))
    window = np.hanning(round(smoothing / _HOP) + 2)
    smooth = np.convolve(np.sqrt(blocks), window / window.sum(), mode="same")
    loud = np.percentile(smooth[smooth > 0.05 * smooth.max()], 90) if smooth.max() > 0 else 1.0
    return (smooth / loud).clip(0, 1).astype(np.float32)


def mouth_opening(waveform: FloatArray, times: NDArray[np.float64], *, sample_rate: int) -> NDArray[np.float64]:
    """How wide a mouth that says `waveform` (N,) is open at `times` in seconds (F,), [0, 1]."""
    loudness = envelope(waveform, sample_rate=sample_rate)
    return np.interp(times, np.arange(len(loudness)) * _HOP, loudness) ** 0.7


def sound_onset(waveform: FloatArray, *, sample_rate: int) -> float:
    """Seconds from the start of `waveform` to where it is first heard: 30 dB below its loudest 10 ms."""
    width = round(0.01 * sample_rate)
    power = np.convolve(waveform.astype(np.float64) ** 2, np.ones(width) / width)[width - 1 :]
    return float(np.argmax(power > 1e-3 * power.max())) / sample_rate + 0.005
