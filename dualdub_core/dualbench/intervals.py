"""How far a figure would move if other clips had been drawn: bootstrap 95 % intervals, of one system or of two.

Figures of clips are ratios of two sums over clips: errors over words, scores over clips. Figures of a whole set, such
as a Frechet distance, are functions of which clips are in it. Drawing with replacement repeats clips, and that alone
raises such a distance, so its spread is laid around the figure and does not say where the figure of more clips would
lie. Two systems are compared on the same clips, drawn together.

Letters: N clips.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Rows = NDArray[np.int64]
Statistic = Callable[[Rows], float]
"""A figure of the clips with these numbers (N,), some of them more than once."""

SET_DRAWS = 200
"""Draws for figures of a set; each computes the figure anew."""

_DRAWS = 2000
_LEVELS = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval; NaN where there is nothing to say.

    Attributes:
        value: the figure.
        low: 2.5 % of the draws lie below.
        high: 2.5 % of the draws lie above.
        num_clips: N.
    """

    value: float
    low: float
    high: float
    num_clips: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out; for differences."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, float | int | None]:
        """Plain values; what is no number is null, as JSON has none."""
        return {key: value if math.isfinite(value) else None for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, float | int | None]) -> "Estimate":
        """The inverse of `to_json`."""
        low, high, value = (math.nan if (v := values[key]) is None else float(v) for key in ("low", "high", "value"))
        return cls(value, low, high, int(values["num_clips"] or 0))


def ratio(parts: Sequence[float], wholes: Sequence[float], *, seed: int = 0) -> Estimate:
    """The sum of `parts` over the sum of `wholes`, one of each a clip; a clip whose whole is 0 does not count."""
    sums = np.array([parts, wholes], dtype=np.float64).T.reshape(-1, 2)  # (N, 2)
    sums = sums[sums[:, 1] != 0]
    if not len(sums):
        return Estimate(math.nan, math.nan, math.nan, 0)
    draws = _weights(len(sums), seed) @ sums
    return _percentiles(float(sums[:, 0].sum() / sums[:, 1].sum()), draws[:, 0] / draws[:, 1], len(sums))


def mean(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """The mean over the clips that have a value; NaN is none."""
    known = [value for value in values if not math.isnan(value)]
    return ratio(known, [1.0] * len(known), seed=seed)


def of_set(statistic: Statistic, num_clips: int, *, draws: int = SET_DRAWS, seed: int = 0) -> Estimate:
    """A figure of a set with the spread it has among sets as large; no interval for fewer than two draws."""
    value = statistic(np.arange(num_clips))
    if draws < 2 or num_clips < 2 or math.isnan(value):
        return Estimate(value, math.nan, math.nan, num_clips)
    drawn = np.array([statistic(rows) for rows in _rows(num_clips, draws, seed)])
    return _percentiles(value, drawn - np.nanmean(drawn) + value, num_clips)


def ratio_difference(
    first: tuple[Sequence[float], Sequence[float]], second: tuple[Sequence[float], Sequence[float]], *, seed: int = 0
) -> Estimate:
    """The second system's ratio less the first's; clips that either lacks do not count.

    Args:
        first: parts and wholes, one of each a clip.
        second: of the same clips in the same order.
        seed: of the draws.

    Raises:
        InputError: the lists are not pairs.
    """
    if len({len(values) for values in (*first, *second)}) != 1:
        raise InputError("compare: got lists of unequal length, expected the same clips of both systems")
    sums = np.array([*first, *second], dtype=np.float64).T.reshape(-1, 4)  # (N, 4)
    sums = sums[(sums[:, 1] != 0) & (sums[:, 3] != 0)]
    if not len(sums):
        return Estimate(math.nan, math.nan, math.nan, 0)
    total, draws = sums.sum(axis=0), _weights(len(sums), seed) @ sums
    value = float(total[2] / total[3] - total[0] / total[1])
    return _percentiles(value, draws[:, 2] / draws[:, 3] - draws[:, 0] / draws[:, 1], len(sums))


def set_difference(
    first: Statistic, second: Statistic, num_clips: int, *, draws: int = SET_DRAWS, seed: int = 0
) -> Estimate:
    """The second system's figure of a set less the first's, both of the same draws of clips."""
    return of_set(lambda rows: second(rows) - first(rows), num_clips, draws=draws, seed=seed)


def _weights(num_clips: int, seed: int) -> NDArray[np.int64]:
    """How often each clip is drawn (draws, N)."""
    return np.random.default_rng(seed).multinomial(num_clips, np.full(num_clips, 1 / num_clips), size=_DRAWS)


def _rows(num_clips: int, draws: int, seed: int) -> list[Rows]:
    rng = np.random.default_rng(seed)
    return [np.sort(rng.integers(num_clips, size=num_clips)) for _ in range(draws)]


def _percentiles(value: float, drawn: NDArray[np.float64], num_clips: int) -> Estimate:
    low, high = np.nanpercentile(drawn, _LEVELS)
    return Estimate(value, float(low), float(high), num_clips)
