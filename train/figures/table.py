"""Figures beside their controls and gates, as data and as a table in Markdown that says met or not met."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dualdub_core.dualbench.intervals import Estimate

Better = Literal["lower", "higher"]
Verdict = Literal["met", "not met", "no reference", "-"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """What a figure has to reach.

    Attributes:
        bound: the worst value that passes.
        beside: the control whose value is added to the bound, or None.
        is_strict: whether the bound itself fails.
    """

    bound: float
    beside: str | None = None
    is_strict: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        key: its name in files, e.g. `speech.digits.wer`.
        title: its name in the table.
        better: which direction is good.
        estimate: the value.
        controls: what it stands beside: the same figure of originals, of another clip's truth.
        chance: those of the controls that knowing nothing also reaches.
        gate: None where it is only reported.
    """

    key: str
    title: str
    better: Better
    estimate: Estimate
    controls: Mapping[str, Estimate] = field(default_factory=dict)
    chance: Sequence[str] = ()
    gate: Gate | None = None


def verdict(figure: Figure) -> Verdict:
    """Whether the gate is met.

    A figure that is not a number never meets one, nor does one whose interval reaches a control at chance: a gate
    beside another figure would otherwise be met by two that are equally bad.
    """
    gate = figure.gate
    if gate is None:
        return "-"
    beside = figure.controls.get(gate.beside) if gate.beside else None
    if gate.beside and (beside is None or math.isnan(beside.value)):
        return "no reference"
    sign = 1 if figure.better == "higher" else -1
    lead = sign * (figure.estimate.value - gate.bound - (beside.value if beside else 0.0))
    return "met" if (lead > 0 or (lead == 0 and not gate.is_strict)) and beats_chance(figure) else "not met"


def beats_chance(figure: Figure) -> bool:
    """Whether the whole interval is better than every control at chance; those that are no numbers do not count."""
    sign = 1 if figure.better == "higher" else -1
    worst = figure.estimate.low if figure.better == "higher" else figure.estimate.high
    return not any(sign * (worst - figure.controls[name].value) <= 0 for name in figure.chance)


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What a comparison with another checkpoint should show in one figure.

    Attributes:
        key: of the figure.
        worse_by: the other must be worse by more than this; None where it must not be worse.
        slack: how much worse still counts as not worse.
    """

    key: str
    worse_by: float | None = None
    slack: float = 0.0


EXPECTATIONS: Mapping[str, Sequence[Expectation]] = {
    "stage-3-only": (
        Expectation(key="joint.digits.wer", worse_by=0.0),
        Expectation(key="joint.words.wer", worse_by=0.0),
        Expectation(key="joint.voice.accuracy", worse_by=0.0),
        Expectation(key="joint.onsets.f1", worse_by=0.0),
        Expectation(key="joint.mouth.error", worse_by=0.0),
    ),
    "no-aligner": (
        Expectation(key="joint.onsets.f1", worse_by=0.1),
        Expectation(key="joint.mouth.error", worse_by=0.05),
        Expectation(key="joint.digits.wer", slack=0.02),
        Expectation(key="joint.words.wer", slack=0.02),
    ),
}
"""Gates of the ablations, by the name given on the command line; other names are only shown."""


def expected(expectation: Expectation, ours: Figure | None, theirs: Figure | None) -> Verdict:
    """Whether a comparison shows what it should; where ours is at chance itself it shows nothing."""
    if ours is None or theirs is None or math.isnan(ours.estimate.value + theirs.estimate.value):
        return "no reference"
    worse = theirs.estimate.value - ours.estimate.value
    if ours.better == "higher":
        worse = -worse
    is_shown = worse <= expectation.slack if expectation.worse_by is None else worse > expectation.worse_by
    return "met" if is_shown and beats_chance(ours) else "not met"


def render(figures: Iterable[Figure], others: Mapping[str, Mapping[str, Figure]] | None = None) -> str:
    """The table in Markdown; other checkpoints' figures as further columns."""
    others = others or {}
    heads = ["figure", "clips", "value", "95 %", "gate", "", "beside it", *others]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for figure in figures:
        cells = [
            figure.title,
            str(figure.estimate.num_clips),
            _number(figure.estimate.value),
            f"{_number(figure.estimate.low)} to {_number(figure.estimate.high)}",
            _gate(figure),
            _shown(verdict(figure)),
            "; ".join(f"{name} {_number(control.value)}" for name, control in figure.controls.items()),
        ]
        for of_other in others.values():
            other = of_other.get(figure.key)
            cells.append(_number(other.estimate.value) if other else "")
        lines.append(_line(cells))
    return "\n".join(lines)


def render_expectations(ours: Mapping[str, Figure], others: Mapping[str, Mapping[str, Figure]]) -> str:
    """What each ablation should show, and whether it does; empty where nothing is expected."""
    lines = []
    for name, theirs in others.items():
        for expectation in EXPECTATIONS.get(name, ()):
            one, other = ours.get(expectation.key), theirs.get(expectation.key)
            claim = (
                f"no worse than {expectation.slack:g} above"
                if expectation.worse_by is None
                else f"worse by more than {expectation.worse_by:g}"
            )
            values = f"{_number(one.estimate.value if one else math.nan)} against " + _number(
                other.estimate.value if other else math.nan
            )
            title = one.title if one else expectation.key
            lines.append(_line([name, title, claim, values, _shown(expected(expectation, one, other))]))
    if not lines:
        return ""
    heads = ["without", "figure", "should be", "ours against", ""]
    return "\n".join([_line(heads), _line(["---"] * len(heads)), *lines])


def to_json(figure: Figure) -> dict[str, Any]:
    """A figure as plain values, with its verdict."""
    return asdict(figure) | {"verdict": verdict(figure)}


def from_json(values: Mapping[str, Any]) -> Figure:
    """The inverse of `to_json`."""
    gate = values["gate"]
    return Figure(
        key=values["key"],
        title=values["title"],
        better=values["better"],
        estimate=Estimate(**values["estimate"]),
        controls={name: Estimate(**control) for name, control in values["controls"].items()},
        chance=tuple(values["chance"]),
        gate=None if gate is None else Gate(**gate),
    )


def _gate(figure: Figure) -> str:
    if figure.gate is None:
        return "report"
    gate = figure.gate
    sign = {"lower": "<", "higher": ">"}[figure.better] + ("" if gate.is_strict else "=")
    if gate.beside is None:
        return f"{sign} {gate.bound:g}"
    if gate.bound == 0:
        return f"{sign} {gate.beside}"
    return f"{sign} {gate.beside} {'+' if gate.bound > 0 else '-'} {abs(gate.bound):g}"


def _shown(word: Verdict) -> str:
    return f"**{word}**" if word in ("not met", "no reference") else word


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.3f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
