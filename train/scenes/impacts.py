"""The sound of things that hit things: modes of a material, a noise of contact, loud as the hit is strong.

Letters: N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Material = Literal["rubber", "wood", "metal", "glass", "skin", "door", "gravel", "snow", "tile"]

_LONGEST = 1.2


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is seen and heard at one moment.

    Attributes:
        time: seconds; the sound begins at the sample nearest to it.
        strength: (0, 1]; 1 is the strongest hit.
        material: what sounds.
    """

    time: float
    strength: float
    material: Material


@dataclass(frozen=True, slots=True)
class _Sounding:
    """How a material sounds.

    Attributes:
        modes: Hz of an object of ordinary size.
        ring: seconds in which the lowest mode decays by 60 dB; higher ones decay faster.
        noise: amplitude of the contact noise beside the modes.
        band: Hz, where that noise lies.
        burst: seconds in which the noise decays by 60 dB.
        attack: seconds to full noise.
    """

    modes: tuple[float, ...]
    ring: float
    noise: float
    band: tuple[float, float]
    burst: float
    attack: float = 0.0005


_SOUNDS: dict[Material, _Sounding] = {
    "rubber": _Sounding((140, 233, 410), 0.35, 0.5, (200, 1800), 0.06),
    "wood": _Sounding((420, 1090, 1830, 2700), 0.25, 0.5, (500, 5000), 0.05),
    "metal": _Sounding((780, 1560, 2210, 3290, 4630, 6100), 1.2, 0.25, (2000, 9000), 0.04),
    "glass": _Sounding((2150, 3600, 5240, 7400), 0.55, 0.4, (3000, 10000), 0.05),
    "skin": _Sounding((165, 262, 351, 470), 0.5, 0.35, (150, 3000), 0.08),
    "door": _Sounding((78, 127, 240, 395), 0.3, 0.8, (80, 2500), 0.22),
    "gravel": _Sounding((), 0.1, 1.0, (1200, 7000), 0.2, 0.002),
    "snow": _Sounding((), 0.1, 1.0, (300, 2600), 0.26, 0.003),
    "tile": _Sounding((310, 860, 1430), 0.2, 0.8, (700, 6000), 0.1),
}


def impacts(
    events: Sequence[Event], num_samples: int, *, sample_rate: int, size: float, rng: np.random.Generator
) -> FloatArray:
    """All events as sound, float32 (num_samples,); `size` above 1 is a bigger object, so a lower one."""
    sound = np.zeros(num_samples, dtype=np.float32)
    for event in events:
        start = round(event.time * sample_rate)
        strike = _strike(event, sample_rate=sample_rate, size=size, rng=rng)[: num_samples - start]
        sound[start : start + len(strike)] += strike
    return sound


def _strike(event: Event, *, sample_rate: int, size: float, rng: np.random.Generator) -> FloatArray:
    sounding = _SOUNDS[event.material]
    time = np.arange(round(_LONGEST * sample_rate)) / sample_rate
    sound = np.zeros_like(time)
    for rank, mode in enumerate(sounding.modes):
        decay = 6.91 / (sounding.ring * size / (1 + 0.5 * rank))
        weight = rng.uniform(0.6, 1) / (1 + 0.4 * rank)
        sound += weight * np.exp(-decay * time) * np.sin(2 * np.pi * mode / size * time)
    grain = band_noise(len(time), sounding.band, sample_rate=sample_rate, rng=rng)
    rise = np.minimum(time / sounding.attack, 1)
    sound += 2 * sounding.noise * rise * np.exp(-6.91 / sounding.burst * time) * grain
    # A strong hit is also a brighter one; the loudness carries most of it.
    strike: FloatArray = (event.strength**1.5 * sound).astype(np.float32)
    return strike


def band_noise(
    num_samples: int, band: tuple[float, float], *, sample_rate: int, rng: np.random.Generator
) -> FloatArray:
    """Noise between two frequencies in Hz, standard deviation 1, float32 (num_samples,)."""
    frequencies = np.fft.rfftfreq(num_samples, 1 / sample_rate)
    low, high = band
    shape = 1 / (1 + (low / np.maximum(frequencies, 1)) ** 4) / (1 + (frequencies / high) ** 4)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(num_samples)) * shape, num_samples)
    scaled: FloatArray = (noise / noise.std()).astype(np.float32)
    return scaled
