"""One figure of a system on a set: its unit and direction, who measured it, its interval, and what stands beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .intervals import Estimate, Statistic, mean, of_set, ratio

Better = Literal["higher", "lower", "neither"]

TRUTH, SHUFFLED, CHANCE = "ground truth", "another clip's", "chance"
"""Names of controls that many figures have."""

HALVES = "real halves apart"
"""Control of distances: one half of the real clips against the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A row of the report.

    Attributes:
        key: its name in files, such as `av_align.background`.
        title: its name for people.
        unit: "" where it has none.
        better: which direction is good.
        tool: whose definition, with which weights and settings; figures of different tools do not compare.
        estimate: the value, its interval and N.
        controls: the same figure where it should be good, or where it knows nothing.
        parts: by clip; the figure is their sum over that of `wholes`. Empty for a figure of the whole set.
        wholes: by clip; 0 where the clip does not count.
        judge: whose kept facts a figure of the whole set is computed from.
    """

    key: str
    title: str
    unit: str
    better: Better
    tool: str
    estimate: Estimate
    controls: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    wholes: Mapping[str, float] = field(default_factory=dict)
    judge: str = ""

    @property
    def by_clip(self) -> dict[str, float]:
        """The figure of each clip that counts."""
        return {name: part / self.wholes[name] for name, part in self.parts.items() if self.wholes[name]}

    @property
    def is_at_chance(self) -> bool:
        """Whether something that knows nothing of the clip does as well: AV-Align of noise can be above the truth's."""
        sign = {"higher": 1, "lower": -1, "neither": 0}[self.better]
        knowing_nothing = [value for name, value in self.controls.items() if name not in (TRUTH, HALVES)]
        return sign != 0 and any(sign * (self.estimate.value - value) <= 0 for value in knowing_nothing)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is no number is null."""
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "better": self.better,
            "tool": self.tool,
            "estimate": self.estimate.to_json(),
            "controls": {name: value if math.isfinite(value) else None for name, value in self.controls.items()},
            "parts": dict(self.parts),
            "wholes": dict(self.wholes),
            "judge": self.judge,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Figure":
        """The inverse of `to_json`."""
        controls = {name: math.nan if value is None else value for name, value in values["controls"].items()}
        return cls(**{**values, "estimate": Estimate.from_json(values["estimate"]), "controls": controls})


def mean_figure(
    values: Mapping[str, float],
    *,
    controls: Mapping[str, Sequence[float]] | None = None,
    **labels: Any,  # noqa: ANN401
) -> Figure:
    """The mean over clips of a value, NaN where a clip has none; controls are means too.

    Args:
        values: by clip.
        controls: values of each, over clips.
        labels: `Figure`'s other attributes.
    """
    wholes = {name: 0.0 if math.isnan(value) else 1.0 for name, value in values.items()}
    parts = {name: value if wholes[name] else 0.0 for name, value in values.items()}
    return ratio_figure(parts, wholes, {name: mean(v).value for name, v in (controls or {}).items()}, **labels)


def ratio_figure(
    parts: Mapping[str, float],
    wholes: Mapping[str, float],
    controls: Mapping[str, float],
    **labels: Any,  # noqa: ANN401
) -> Figure:
    """The sum of parts over the sum of wholes, both by clip."""
    estimate = ratio(list(parts.values()), list(wholes.values()))
    return Figure(estimate=estimate, controls=controls, parts=dict(parts), wholes=dict(wholes), **labels)


def set_figure(statistic: Statistic, num_clips: int, *, draws: int, **labels: Any) -> Figure:  # noqa: ANN401
    """A figure of the whole set."""
    return Figure(estimate=of_set(statistic, num_clips, draws=draws), **labels)


def shown(value: float, unit: str = "") -> str:
    """A number for people: three figures after the point below 10, fewer above; "none" for NaN."""
    if math.isnan(value):
        return "none"
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    text = f"{value:.{digits}f}"
    return f"{text} {unit}" if unit else text
