"""Does it sound when something happens? Onsets heard blindly in the background, against the true events."""

from collections.abc import Callable, Sequence

from dualdub_core.dualbench.intervals import Estimate, ratio
from dualdub_core.types import Stream
from train.scenes.check import detect_onsets

from .clips import EvalClip
from .compose import Made
from .table import Figure, Gate

Times = Sequence[float]

ANOTHER, LATE, ORIGINALS, ALONE = "another video's events", "0.2 s late", "originals", "background only"
_LATE_SECONDS = 0.2
_WITHIN_JOINT = 0.05


def count_hits(truth: Times, found: Times, window: float) -> int:
    """The most pairs of a true and a found time at most `window` seconds apart, each time used once.

    The size of the matching of `mir_eval.onset`; on a line the earliest that still fits is never a mistake.
    """
    hits, free = 0, iter(sorted(found))
    other = next(free, None)
    for time in sorted(truth):
        while other is not None and other < time - window:
            other = next(free, None)
        if other is not None and other <= time + window:
            hits += 1
            other = next(free, None)
    return hits


def f1(truths: Sequence[Times], founds: Sequence[Times], window: float = 0.05) -> Estimate:
    """Twice the hits over true and found onsets, over all clips together."""
    return _over(truths, founds, window, lambda true, found: (true + found) / 2)


def recall(truths: Sequence[Times], founds: Sequence[Times], window: float = 0.1) -> Estimate:
    """The share of events that are heard."""
    return _over(truths, founds, window, lambda true, _: true)


def precision(truths: Sequence[Times], founds: Sequence[Times], window: float = 0.1) -> Estimate:
    """The share of onsets that are events."""
    return _over(truths, founds, window, lambda _, found: found)


def _over(
    truths: Sequence[Times], founds: Sequence[Times], window: float, whole: Callable[[int, int], float]
) -> Estimate:
    hits = [count_hits(true, found, window) for true, found in zip(truths, founds, strict=True)]
    return ratio(hits, [whole(len(true), len(found)) for true, found in zip(truths, founds, strict=True)])


MEASURES = (
    ("f1", "F1, 50 ms", f1),
    ("recall", "recall, 100 ms", recall),
    ("precision", "precision, 100 ms", precision),
)
GATES = {"recall": Gate(bound=0.90), "precision": Gate(bound=0.85)}


def heard_in(made: Made) -> list[float]:
    """Onsets of a made background in seconds."""
    onsets: list[float] = detect_onsets(made.stems[Stream.BACKGROUND], made.sample_rate).tolist()
    return onsets


def onset_figures(
    prefix: str, clips: Sequence[EvalClip], made: Sequence[Made], alone: dict[str, Figure] | None = None
) -> list[Figure]:
    """Figures over the clips in which something happens.

    Args:
        prefix: "background", or "joint": then the gates are those of `alone`.
        clips: the truth.
        made: for each clip.
        alone: figures of the background alone, by key.
    """
    pairs = [(clip, heard_in(one)) for clip, one in zip(clips, made, strict=True) if clip.events]
    truths = [clip.events for clip, _ in pairs]
    founds = [found for _, found in pairs]
    originals = [heard_in(Made(clip.stems, clip.sample_rate)) for clip, _ in pairs]
    figures = []
    for name, title, measure in MEASURES:
        controls = {
            ORIGINALS: measure(truths, originals),
            ANOTHER: measure(truths[1:] + truths[:1], founds),
            LATE: measure([[time - _LATE_SECONDS for time in true] for true in truths], founds),
        }
        gate = GATES.get(name)
        if alone is not None:
            gate = Gate(bound=-_WITHIN_JOINT, beside=ALONE)
            if f"background.onsets.{name}" in alone:
                controls[ALONE] = alone[f"background.onsets.{name}"].estimate
        figures.append(
            Figure(
                key=f"{prefix}.onsets.{name}",
                title=f"{prefix}: onsets, {title}",
                better="higher",
                estimate=measure(truths, founds),
                controls=controls,
                chance=(ANOTHER, LATE),
                gate=gate,
            )
        )
    return figures
