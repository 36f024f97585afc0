"""Where one shot of a film ends and the next begins, found while it is decoded: two small grey pictures are held.

A picture begins a shot when it differs from the one before by more than a share of full scale, and several times more
than any two neighbours close by do. So motion, which goes on, is no cut; nor is a flash, which makes two such
differences. Dissolves and fades are not found. PySceneDetect is asked instead where it is installed and wanted.

Letters: H W picture.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, InputError
from ..media.containers import Source, name_of, opened, picture_stream
from ..media.sound import clip_length
from ..media.timeline import Cut, read_timeline, stamped_frames
from ..progress import Progress, silent

Detector = Literal["picture difference", "PySceneDetect"]
DETECTORS: tuple[Detector, ...] = get_args(Detector)

_WIDTH, _HEIGHT = 64, 36
_AROUND = 2  # differences on either side that a cut must exceed


@dataclass(frozen=True, kw_only=True, slots=True)
class CutConfig:
    """What counts as a cut.

    Attributes:
        least: mean difference of grey values from the picture before, as a share of full scale.
        ratio: of that difference to the largest of those around it.
        apart: seconds from one cut to the next; of cuts that are closer the first counts.
    """

    least: float = 0.05
    ratio: float = 2.5
    apart: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.least < 1 or not self.ratio >= 1 or not self.apart >= 0:
            raise ConfigError(f"cuts: got {self}, expected least in (0, 1), a ratio of 1 or more and apart 0 or more")


def find_cuts(
    source: Source,
    *,
    start: float = 0.0,
    duration: float | None = None,
    detector: Detector = "picture difference",
    config: CutConfig | None = None,
    progress: Progress = silent,
) -> tuple[float, ...]:
    """When the shots of a clip begin, but for the first.

    Args:
        source: any container and codec that FFmpeg reads.
        start: seconds into it.
        duration: seconds of it; to the end when None.
        detector: our own, or PySceneDetect's adaptive one.
        config: of our own; the default when None.
        progress: reports "cuts"; raising from it cancels.

    Returns:
        Seconds from `start`, ascending.

    Raises:
        InputError: the file is not a video, has no such part, or lies in memory where PySceneDetect needs a path.
        ConfigError: PySceneDetect is wanted and not installed.
    """
    what, config = name_of(source), config or CutConfig()
    timeline = read_timeline(source)
    seconds = clip_length(timeline.duration, start, duration, what)
    if detector == "PySceneDetect":
        found = (time - start for time in _asked_elsewhere(source, what))
        return tuple(time for time in found if 0 < time < seconds)
    part = Cut.of(timeline, start, seconds)
    with opened(source) as container:
        stream = picture_stream(container, what)

        def pictures() -> Iterator[tuple[float, NDArray[np.uint8]]]:
            frames = stamped_frames(container, stream, timeline, what, start=part.shown[0])
            done = 0
            for stamp, frame in frames:
                if stamp > part.shown[-1]:
                    return
                if stamp >= part.shown[0]:
                    done += 1
                    progress("cuts", min(done, len(part.shown)), len(part.shown))
                    yield timeline.seconds(stamp) - start, _small(frame)

        return tuple(time for time in cuts_among(pictures(), config) if 0 < time < seconds)


def cuts_among(pictures: Iterable[tuple[float, NDArray[np.uint8]]], config: CutConfig) -> Iterator[float]:
    """Times of the pictures (H, W) that begin a shot, of pictures that pass by with their times."""
    # Differences and times, the one in question in the middle; before the first and after the last nothing moves.
    held: deque[tuple[float, float]] = deque([(0.0, 0.0)] * (2 * _AROUND), maxlen=2 * _AROUND + 1)
    latest = -float("inf")
    for entry in _padded(_differences(pictures)):
        held.append(entry)
        difference, time = held[_AROUND]
        others = max(other for index, (other, _) in enumerate(held) if index != _AROUND)
        if difference >= config.least and difference >= config.ratio * others and time - latest >= config.apart:
            latest = time
            yield time


def _differences(pictures: Iterable[tuple[float, NDArray[np.uint8]]]) -> Iterator[tuple[float, float]]:
    before: NDArray[np.int16] | None = None
    for time, picture in pictures:
        values = picture.astype(np.int16)
        yield (0.0 if before is None else float(np.abs(values - before).mean()) / 255), time
        before = values


def _padded(entries: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    yield from entries
    yield from [(0.0, float("inf"))] * _AROUND


def _small(frame: object) -> NDArray[np.uint8]:
    """Grey and small; which way up does not matter."""
    grey: NDArray[np.uint8] = frame.reformat(_WIDTH, _HEIGHT, "gray").to_ndarray()  # type: ignore[attr-defined]
    return grey


def _asked_elsewhere(source: Source, what: str) -> Iterator[float]:
    """Seconds from the first picture at which PySceneDetect sees shots begin."""
    if find_spec("scenedetect") is None:
        raise ConfigError(
            "cuts: PySceneDetect is not installed; pip install scenedetect-headless, or use 'picture difference'"
        )
    if isinstance(source, BytesIO):
        raise InputError(f"cuts: {what}: PySceneDetect needs a file; save the video, or use 'picture difference'")
    detect = import_module("scenedetect")
    scenes = detect.detect(str(source), detect.AdaptiveDetector(), show_progress=False)
    for begin, _ in scenes[1:]:
        yield float(begin.seconds if hasattr(begin, "seconds") else begin.get_seconds())  # since 0.7, and before
