"""The pictures a video encoder looks at: decoded on the fly, chosen by presentation time, at its size.

Any frame rate comes out as the same clock (`timing.video_feature_times`); pictures in between are decoded, as
others depend on them, but neither converted nor kept.

Letters: F pictures, H W picture, D width.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..limits import within
from ..models.clip import ClipVideoEncoder
from ..models.ops import place_of
from ..progress import Progress, silent
from ..timing import nearest_times, video_feature_times
from ..types import VideoFeatures, VideoFrames
from .containers import Orientation, Source, name_of, opened, picture_stream
from .sound import clip_length
from .timeline import read_timeline, stamped_frames

P = TypeVar("P")
_RIBBON = 32  # times as long as wide


def read_frames(
    source: Source,
    *,
    size: int,
    start: float = 0.0,
    duration: float | None = None,
    progress: Progress = silent,
) -> VideoFrames:
    """Watch a video.

    Args:
        source: any container and codec that FFmpeg reads.
        size: edge of the encoder's square pictures.
        start: seconds.
        duration: seconds; to the end when None.
        progress: reports "watch"; raising from it cancels.

    Returns:
        Pictures (F, 3, size, size), upright, with times from `start`.

    Raises:
        InputError: the file is not a video, or has no such part.
    """
    what = name_of(source)
    timeline = read_timeline(source)
    length = clip_length(timeline.duration, start, duration, what)
    wanted = (video_feature_times(length) + start).tolist()
    # Filled in place: a list to be stacked in the end would be held twice.
    pixels = torch.empty((min(len(wanted), len(timeline.stamps)), 3, size, size), dtype=torch.uint8)
    times: list[float] = []
    with opened(source) as container:
        stream = picture_stream(container, what)
        # From the last picture that may still be the nearest to the start.
        first = timeline.stamps[max(0, bisect_left(timeline.stamps, timeline.stamp_at(start)) - 1)]
        passing = (
            (timeline.seconds(stamp), frame)
            for stamp, frame in stamped_frames(container, stream, timeline, what, start=first)
        )
        for time, frame, done in _nearest(passing, wanted):
            picture = Orientation.of(frame).apply(frame.to_ndarray(format="rgb24"))
            pixels[len(times)] = fit_picture(picture, size)
            times.append(max(0.0, time - start))
            progress("watch", done, len(wanted))
    if not times:
        raise InputError(f"{what}: no picture can be decoded from {start} s on; the file is damaged, convert it")
    return VideoFrames(pixels[: len(times)], torch.tensor(times, dtype=torch.float64), length)


def frames_from_images(images: Tensor, *, fps: float, size: int) -> VideoFrames:
    """The same from pictures that are already in memory.

    Args:
        images: (F, H, W, 3 or more channels), floats from 0 to 1.
        fps: pictures a second.
        size: edge of the encoder's square pictures.

    Raises:
        InputError: not pictures, none, or no frame rate.
    """
    if images.ndim != 4 or images.shape[-1] < 3 or 0 in images.shape:
        raise InputError(f"images: got shape {tuple(images.shape)}, expected (frames, height, width, 3), at least one")
    if not within(fps, 0) or fps == 0:
        raise InputError(f"images: got {fps} fps, expected a positive number")
    duration = len(images) / fps
    times = torch.arange(len(images), dtype=torch.float64) / fps
    chosen = torch.unique_consecutive(nearest_times(times, video_feature_times(duration)))
    if not torch.isfinite(images[chosen.to(images.device)]).all():
        raise InputError("images: got NaN or infinite pixels, expected 0 to 1; look at what made them")
    pixels = [
        fit_picture((images[i, ..., :3].float().clamp(0, 1) * 255).round().byte().cpu().numpy(), size)
        for i in chosen.tolist()
    ]
    return VideoFrames(torch.stack(pixels), times[chosen], duration)


@torch.inference_mode()
def encode_frames(
    encoder: ClipVideoEncoder, frames: VideoFrames, *, batch_size: int = 32, progress: Progress = silent
) -> VideoFeatures:
    """Features (F, D) of the pictures, on the encoder's device.

    Args:
        encoder: in evaluation mode.
        frames: at the encoder's size.
        batch_size: pictures at once.
        progress: reports "watch"; raising from it cancels.

    Raises:
        InputError: the pictures have another size.
    """
    size, count = encoder.config.image_size, len(frames.pixels)
    if frames.pixels.shape[1:] != (3, size, size):
        raise InputError(
            f"video: got pictures of shape {tuple(frames.pixels.shape[1:])}, this encoder expects (3, {size}, {size}); "
            f"read the video with size={size}"
        )
    device = place_of(encoder)
    features = []
    for first in range(0, count, batch_size):
        features.append(encoder(frames.pixels[first : first + batch_size].to(device)))
        progress("watch", min(first + batch_size, count), count)
    return VideoFeatures(torch.cat(features), frames.times, frames.duration)


def fit_picture(picture: NDArray[np.uint8], size: int) -> Tensor:
    """CLIP's published preparation up to the last integer: bicubic to the short edge, then the centre.

    Args:
        picture: (H, W, 3) RGB.
        size: of both edges.

    Returns:
        uint8 (3, size, size).
    """
    height, width = picture.shape[:2]
    if max(height, width) > _RIBBON * min(height, width):
        # All but the middle would be cut off, and at this size it would take gigabytes.
        keep = _RIBBON * min(height, width)
        top, left = max(0, (height - keep) // 2), max(0, (width - keep) // 2)
        picture = picture[top : top + keep, left : left + keep]
    image = Image.fromarray(np.ascontiguousarray(picture))
    short = min(image.size)
    # int() and round() as torchvision has them, with which CLIP was published.
    width, height = (size if edge == short else int(size * edge / short) for edge in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _nearest(passing: Iterable[tuple[float, P]], wanted: list[float]) -> Iterator[tuple[float, P, int]]:
    """Of things passing by in order of time those nearest to a wanted time, holding two at once.

    Args:
        passing: times, ascending, and things.
        wanted: times, ascending.

    Yields:
        Time, thing, and how many of the wanted times are served by now.
    """
    served = 0
    previous: tuple[float, P] | None = None
    for time, thing in passing:
        if previous is not None:
            first = served
            while served < len(wanted) and wanted[served] - previous[0] <= time - wanted[served]:
                served += 1
            if served > first:
                yield *previous, served
            if served == len(wanted):
                return
        previous = time, thing
    if previous is not None and served < len(wanted):
        yield *previous, len(wanted)
