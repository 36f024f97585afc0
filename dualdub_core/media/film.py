"""A few pictures of a clip, evenly spread, as they are to be looked at by people.

Letters: H W picture.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..progress import Progress, silent
from ..timing import nearest_times
from .containers import Orientation, Source, name_of, opened, picture_stream
from .sound import clip_length
from .timeline import Cut, read_timeline, stamped_frames


@dataclass(frozen=True, slots=True)
class FilmPicture:
    """One picture.

    Attributes:
        time: seconds into the clip for which it stands.
        pixels: (H, W, 3) uint8 RGB.
    """

    time: float
    pixels: NDArray[np.uint8]


def read_film(
    source: Source,
    *,
    start: float = 0.0,
    duration: float | None = None,
    count: int = 24,
    height: int = 120,
    progress: Progress = silent,
) -> list[FilmPicture]:
    """The pictures shown in the middles of `count` equal parts of a clip; no other is converted or kept.

    Args:
        source: any container and codec that FFmpeg reads.
        start: seconds into it.
        duration: seconds of it; to the end when None.
        count: pictures; the same again where the clip has fewer.
        height: pixels of each; they keep their shape.
        progress: reports "watch"; raising from it cancels.

    Raises:
        InputError: the file is not a video, or has no such part.
    """
    what, timeline = name_of(source), read_timeline(source)
    seconds = clip_length(timeline.duration, start, duration, what)
    shown = Cut.of(timeline, start, seconds).shown
    times = torch.tensor([timeline.seconds(stamp) for stamp in shown], dtype=torch.float64)
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count * seconds
    chosen = [shown[index] for index in nearest_times(times, middles + start).tolist()]
    wanted = set(chosen)
    found: dict[int, NDArray[np.uint8]] = {}
    with opened(source) as container:
        stream = picture_stream(container, what)
        for stamp, frame in stamped_frames(container, stream, timeline, what, start=chosen[0]):
            if stamp in wanted:
                upright = Orientation.of(frame).apply(frame.to_ndarray(format="rgb24"))
                found[stamp] = _reduced(upright, height)
            # At every picture that is decoded: those that are wanted can be minutes apart.
            progress("watch", len(found), len(wanted))
            if stamp >= chosen[-1]:
                break
    if not found:
        raise InputError(f"{what}: no picture can be decoded from {start} s on; the file is damaged, convert it")
    return [
        FilmPicture(time, found[stamp]) for time, stamp in zip(middles.tolist(), chosen, strict=True) if stamp in found
    ]


def _reduced(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    size = (max(1, round(picture.shape[1] * height / picture.shape[0])), height)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
