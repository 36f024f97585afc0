"""Two systems on the same clips: paired differences with intervals, second less first.

Both must be of one set and a figure of one tool. Figures of a whole set are computed again from drawn clips, which
needs the facts that lie beside `results.json`; without them there is a difference and no interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .bench import Results, facts_beside, read_results
from .figures import Better, Figure, shown
from .intervals import SET_DRAWS, Estimate, ratio_difference, set_difference
from .judge_classes import SET_STATISTICS
from .tables import interval, table


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One figure of two systems.

    Attributes:
        key: of the figure.
        title: for people.
        unit: "" where it has none.
        better: which direction is good.
        first: the first system's figure over the common clips; NaN where that cannot be said.
        second: the second's.
        difference: second less first, with its interval over the same draws of clips.
        at_chance: whether the first, and the second, is no better than its own controls.
    """

    key: str
    title: str
    unit: str
    better: Better
    first: float
    second: float
    difference: Estimate
    at_chance: tuple[bool, bool]

    @property
    def verdict(self) -> str:
        """Which is better, where the interval leaves 0 out."""
        if not self.difference.is_clear or self.better == "neither":
            return "no clear difference" if self.better != "neither" else ""
        winner = int((self.difference.low > 0) == (self.better == "higher"))
        note = ", but no better than its own controls" if self.at_chance[winner] else ""
        return f"{('first', 'second')[winner]} is better{note}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {"first": self.first, "second": self.second}
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "better": self.better,
            **{name: value if math.isfinite(value) else None for name, value in values.items()},
            "difference": self.difference.to_json(),
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures that both systems have.

    Attributes:
        first: name of the first system.
        second: name of the second.
        set_name: of the set.
        clips: that both have takes of.
        differences: in the order of the first system's figures.
        skipped: figures that do not compare, each with the reason.
    """

    first: str
    second: str
    set_name: str
    clips: tuple[str, ...]
    differences: tuple[Difference, ...]
    skipped: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "first": self.first,
            "second": self.second,
            "set": self.set_name,
            "clips": list(self.clips),
            "differences": [difference.to_json() for difference in self.differences],
            "skipped": list(self.skipped),
        }


def compare(first: Path, second: Path, *, draws: int = SET_DRAWS) -> Comparison:
    """Compare two finished runs.

    Args:
        first: `results.json`, or the folder that it lies in.
        second: of the other system.
        draws: for figures of the whole set; 0 for no interval.

    Raises:
        InputError: a file is missing, the sets differ, or no clip or figure is common.
    """
    runs = (read_results(first), read_results(second))
    if runs[0].set_sha256 != runs[1].set_sha256:
        raise InputError(
            f"compare: {runs[0].system} was judged on {runs[0].set_name} ({runs[0].set_sha256[:12]}), {runs[1].system} "
            f"on {runs[1].set_name} ({runs[1].set_sha256[:12]}); judge both on one set"
        )
    others = set(runs[1].clips)
    common = [name for name in runs[0].clips if name in others]
    if not common:
        raise InputError(f"compare: {runs[0].system} and {runs[1].system} have no clip in common")
    folders = [path if path.is_file() else path / "results.json" for path in (first, second)]
    theirs = {figure.key: figure for figure in runs[1].figures}
    differences, skipped = [], []
    for one in runs[0].figures:
        other = theirs.get(one.key)
        if other is None:
            skipped.append(f"{one.title}: only of {runs[0].system}")
        elif (one.tool, one.title) != (other.tool, other.title):
            skipped.append(f"{one.title}: measured by {one.tool}, and by {other.tool} as {other.title}")
        else:
            differences.append(_difference(one, other, common, folders, runs, draws))
    known = {figure.key for figure in runs[0].figures}
    skipped += [f"{figure.title}: only of {runs[1].system}" for figure in runs[1].figures if figure.key not in known]
    if not differences:
        raise InputError(f"compare: {runs[0].system} and {runs[1].system} have no figure in common; {skipped[0]}")
    return Comparison(
        runs[0].system, runs[1].system, runs[0].set_name, tuple(common), tuple(differences), tuple(skipped)
    )


def markdown(comparison: Comparison) -> str:
    """The table; plain text that ends without a newline."""
    lines = [
        f"Second less first on {comparison.set_name}, {len(comparison.clips)} common clips. First: {comparison.first}. "
        f"Second: {comparison.second}.",
        "",
    ]
    heads = ["figure", "first", "second", "difference", "95 %", "N", ""]
    rows = [
        [
            one.title,
            shown(one.first, one.unit),
            shown(one.second, one.unit),
            shown(one.difference.value, one.unit),
            interval(one.difference),
            str(one.difference.num_clips),
            one.verdict,
        ]
        for one in comparison.differences
    ]
    notes = [f"Not compared: {reason}." for reason in comparison.skipped]
    return "\n".join([*lines, *table(heads, rows), *(["", *notes] if notes else [])])


def _difference(
    one: Figure,
    other: Figure,
    common: Sequence[str],
    folders: Sequence[Path],
    runs: Sequence[Results],
    draws: int,
) -> Difference:
    labels: dict[str, Any] = {"key": one.key, "title": one.title, "unit": one.unit, "better": one.better}
    labels["at_chance"] = (one.is_at_chance, other.is_at_chance)
    if one.parts and other.parts:
        columns = [[figure.parts.get(name, 0.0) for name in common] for figure in (one, other)]
        wholes = [[figure.wholes.get(name, 0.0) for name in common] for figure in (one, other)]
        found = ratio_difference((columns[0], wholes[0]), (columns[1], wholes[1]))
        both = [i for i in range(len(common)) if wholes[0][i] and wholes[1][i]]
        values = [
            sum(column[i] for i in both) / sum(whole[i] for i in both) if both else math.nan
            for column, whole in zip(columns, wholes, strict=True)
        ]
        return Difference(first=values[0], second=values[1], difference=found, **labels)
    statistics = []
    for folder in folders:
        facts = facts_beside(folder, one.judge, common) if one.key in SET_STATISTICS else None
        if facts is not None:
            statistics.append(SET_STATISTICS[one.key](facts))
    if len(statistics) == len(folders):
        found = set_difference(statistics[0], statistics[1], len(common), draws=draws)
        rows = np.arange(len(common))
        return Difference(first=statistics[0](rows), second=statistics[1](rows), difference=found, **labels)
    # Over other clips than the common ones a figure of a set would be another figure.
    is_same = all(len(run.clips) == len(common) for run in runs)
    first, second = (figure.estimate.value if is_same else math.nan for figure in (one, other))
    gap = Estimate(second - first, math.nan, math.nan, len(common))
    return Difference(first=first, second=second, difference=gap, **labels)
