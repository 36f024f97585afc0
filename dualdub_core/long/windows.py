"""How a long clip is divided into windows that are sampled one after the other.

Windows end at shot cuts where there are any, lie between cues otherwise, and are equally long where there is
neither. Everything is counted in frames of the codec, so no frame rate of the video leaves a gap or a rest.

Letters: T frames of the clip.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from ..errors import ConfigError, InputError
from ..timing import FrameClock

AtCuts = Literal["start afresh", "carry on", "ignore"]
AT_CUTS: tuple[AtCuts, ...] = get_args(AtCuts)
LONGEST, SHORTEST = 600.0, 1.0
"""Seconds that the longest window may be set to."""

_SHORT = 4  # a window is no shorter than this part of the longest, unless a cut or a cue leaves no choice


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """How a clip is divided.

    Attributes:
        longest: seconds of a window; a clip up to this length is one window.
        context: seconds before a window whose codes it hears, at most the window before it.
        at_cuts: what a shot cut means. "start afresh": windows end there, and the next hears nothing before it, so
            a shot does not depend on those before. "carry on": windows end there, but hear on. "ignore": nothing.
    """

    longest: float = 10.0
    context: float = 2.0
    at_cuts: AtCuts = "start afresh"

    def __post_init__(self) -> None:
        if not SHORTEST <= self.longest <= LONGEST:
            raise ConfigError(f"windows: got {self.longest} s as the longest, expected {SHORTEST:g} to {LONGEST:g}")
        if not 0 <= self.context <= self.longest / 2:
            raise ConfigError(
                f"windows: got {self.context} s of context, expected 0 to {self.longest / 2:g}, half the longest window"
            )
        if self.at_cuts not in AT_CUTS:
            raise ConfigError(f"windows: got '{self.at_cuts}' at cuts, expected one of {list(AT_CUTS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """One run of the model.

    Attributes:
        index: counted from 0.
        start: first frame that it writes.
        end: the frame after the last.
        context: frames before `start` that it hears.
        is_cut: whether it starts at a shot cut.
        cues: those that fall in it, whole or in part, counted from 0.
    """

    index: int
    start: int
    end: int
    context: int
    is_cut: bool
    cues: tuple[int, ...] = ()

    @property
    def first(self) -> int:
        """The first frame of its run, context included."""
        return self.start - self.context

    @property
    def num_frames(self) -> int:
        """Frames that it writes."""
        return self.end - self.start


def plan_windows(
    num_frames: int,
    clock: FrameClock,
    *,
    cuts: Sequence[float] = (),
    cues: Sequence[tuple[float, float]] = (),
    config: WindowConfig | None = None,
) -> tuple[Window, ...]:
    """Divide a clip of T frames.

    Cuts are looked at before cues, so a cue that moves changes only windows of its own stretch between two cuts.

    Args:
        num_frames: T, at least 1.
        clock: the codec's.
        cuts: seconds at which a new shot begins, in any order; those within a cue are not used.
        cues: seconds from which to which somebody speaks; a window ends within one only if it is longer than the
            longest window.
        config: how; the default when None.

    Returns:
        Windows that cover every frame once, none longer than `config.longest`.

    Raises:
        InputError: no frames.
    """
    if num_frames < 1:
        raise InputError(f"windows: got {num_frames} frames, expected at least 1; is the clip empty?")
    config = config or WindowConfig()
    longest = max(1, clock.frame_at(config.longest))
    spans = [(clock.frame_at(start), max(clock.frame_at(start) + 1, clock.frame_at(end))) for start, end in cues]
    spoken = _Spoken(spans)
    shots = [] if config.at_cuts == "ignore" else sorted({clock.frame_at(cut) for cut in cuts})
    shots = [cut for cut in shots if 0 < cut < num_frames and spoken.before(cut) == cut]
    edges = _edges(num_frames, shots, spoken, longest)
    windows: list[Window] = []
    for index, (start, end) in enumerate(pairwise(edges)):
        is_cut = start in shots
        is_fresh = is_cut and config.at_cuts == "start afresh"
        heard = 0 if is_fresh or not windows else min(clock.frame_at(config.context), start - windows[-1].start)
        inside = tuple(cue for cue, (first, last) in enumerate(spans) if first < end and last > start)
        windows.append(Window(index=index, start=start, end=end, context=heard, is_cut=is_cut, cues=inside))
    return tuple(windows)


class _Spoken:
    """Where somebody speaks; cues that overlap are one."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._spans: list[tuple[int, int]] = []
        for first, last in sorted(spans):
            if self._spans and first < self._spans[-1][1]:
                first, last = self._spans[-1][0], max(last, self._spans[-1][1])
                self._spans.pop()
            self._spans.append((first, last))
        self._starts = [first for first, _ in self._spans]

    def before(self, frame: int) -> int:
        """The frame itself, or the start of what is being said there."""
        return self._around(frame)[0]

    def after(self, frame: int) -> int:
        """The frame itself, or the end of what is being said there."""
        return self._around(frame)[1]

    def _around(self, frame: int) -> tuple[int, int]:
        place = bisect_left(self._starts, frame) - 1
        return self._spans[place] if place >= 0 and frame < self._spans[place][1] else (frame, frame)


def _edges(num_frames: int, shots: Sequence[int], spoken: _Spoken, longest: int) -> list[int]:
    """The frames at which windows begin, and T."""
    shortest = max(1, longest // _SHORT)
    edges = [0]
    while num_frames - edges[-1] > longest:
        start = edges[-1]
        near = shots[bisect_left(shots, start + shortest) : bisect_right(shots, start + longest)]
        if near:
            edges.append(next((cut for cut in reversed(near) if num_frames - cut >= shortest), near[-1]))
            continue
        # No cut within reach: what lies before the next one is divided without it.
        after = bisect_right(shots, start + longest)
        stop = shots[after] if after < len(shots) and num_frames - shots[after] >= shortest else num_frames
        edges += _divided(start, stop, spoken, longest, shortest)
    return edges if edges[-1] == num_frames else [*edges, num_frames]


def _divided(start: int, stop: int, spoken: _Spoken, longest: int, shortest: int) -> Iterator[int]:
    """Ends of windows from `start` to `stop`: as equal as what is said between them allows."""
    while stop - start > longest:
        count = -(-(stop - start) // longest)
        even = start + -(-(stop - start) // count)
        choices = [spoken.before(even), spoken.after(even)]
        fitting = [point for point in choices if start + shortest <= point <= start + longest]
        latest = spoken.before(start + longest)
        if fitting:
            start = min(fitting, key=lambda point: abs(point - even))
        else:
            start = latest if latest > start else start + longest
        yield start
    yield stop
