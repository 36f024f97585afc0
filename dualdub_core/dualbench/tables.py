"""Figures as a table in Markdown: value, interval and N, always with what stands beside it and who measured it."""

from collections.abc import Iterable, Sequence

from .bench import Results
from .figures import Figure, shown
from .intervals import Estimate

ARROWS = {"higher": "higher is better", "lower": "lower is better", "neither": ""}


def markdown(results: Results) -> str:
    """The table of one system with a caption; plain text that ends without a newline."""
    caption = f"**{_plain(results.system)}** on {_plain(results.set_name)}, {len(results.clips)} clips"
    if results.left_out:
        caption += f"; left out, as they have no take: {len(results.left_out)}"
    heads = ["figure", "value", "95 %", "N", "", "beside it", "measured by"]
    rows = [
        [
            figure.title,
            shown(figure.estimate.value, figure.unit),
            interval(figure.estimate),
            str(figure.estimate.num_clips),
            direction(figure),
            beside(figure),
            figure.tool,
        ]
        for figure in results.figures
    ]
    return "\n".join([caption, "", *table(heads, rows)])


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; what would end a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines]


def direction(figure: Figure) -> str:
    """Which way is good, and whether the figure says anything."""
    return ARROWS[figure.better] + ("; no better than its controls" if figure.is_at_chance else "")


def interval(estimate: Estimate) -> str:
    """Both ends, or "none"."""
    low, high = shown(estimate.low), shown(estimate.high)
    return "none" if "none" in (low, high) else f"{low} to {high}"


def beside(figure: Figure) -> str:
    """The controls in one line."""
    return "; ".join(f"{name} {shown(value, figure.unit)}" for name, value in figure.controls.items())


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
