"""A figure over clips, with the interval in which it would move if other clips had been drawn.

Every figure is a ratio of two sums over clips: errors per word, hits per event, distance per clip.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_DRAWS = 2000
_LEVELS = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its bootstrap 95 % interval and how many clips it is over; NaN where there is nothing to divide by."""

    value: float
    low: float
    high: float
    num_clips: int

    @classmethod
    def nothing(cls) -> "Estimate":
        """Over no clips."""
        return cls(math.nan, math.nan, math.nan, 0)


def ratio(parts: Sequence[float], wholes: Sequence[float], *, seed: int = 0) -> Estimate:
    """The sum of `parts` over the sum of `wholes`, one of each a clip, resampled by clips."""
    assert len(parts) == len(wholes)
    count = len(parts)
    if count == 0:
        return Estimate.nothing()
    sums = np.array([parts, wholes], dtype=np.float64).T  # (clips, 2)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_DRAWS) @ sums
    known = draws[:, 1] != 0
    total, over = sums.sum(axis=0)
    if not over or not known.any():
        return Estimate(math.nan, math.nan, math.nan, count)
    low, high = np.percentile(draws[known, 0] / draws[known, 1], _LEVELS)
    return Estimate(float(total / over), float(low), float(high), count)


def mean(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """The mean over clips; `ratio` with nothing but ones below."""
    return ratio(values, [1.0] * len(values), seed=seed)
