"""A few seconds of a long film without reading the rest of it: decoding begins at the key frame before.

`dualdub_core.media.video` and `media` first look at all packets of a file, which for a film of hours and thousands of
parts would take days. Films are expected in containers that can seek (mp4, mkv, mov).
Letters: N samples, F pictures, C channels, S edge of a picture.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualdub_core.errors import InputError
from dualdub_core.media.containers import Orientation, frames_of, opened, picture_stream, sound_stream
from dualdub_core.media.video import fit_picture
from dualdub_core.timing import num_samples, video_feature_times

# Seconds. The first frames that a sound decoder makes after a jump lack what came before them.
_RUN_UP = 0.5


def read_film_sound(film: Path, *, start: float, duration: float) -> tuple[Tensor, int]:
    """The full mix of a part, mean of all channels (N,), and its rate in Hz.

    Args:
        film: any film that can seek.
        start: seconds from the first picture.
        duration: seconds.

    Raises:
        InputError: no such film, no sound, none there, or one channel only.
    """
    with opened(film) as container:
        origin = _origin(container, film.name) + start
        stream = sound_stream(container, film.name)
        if stream.channels == 1:
            # V2C's own preparation leaves the centre channel of 5.1: dialogue without the background.
            raise InputError(f"{film.name}: its sound has one channel; give the film with its full mix")
        rate = int(stream.rate)
        part = np.zeros(num_samples(duration, rate), np.float32)
        filled = 0
        if start > _RUN_UP:  # a jump to the beginning would leave out what an encoder puts before it
            container.seek(int((origin - _RUN_UP) / stream.time_base), stream=stream)
        for position, block in _placed(container, stream, film.name, origin):
            if position >= len(part):
                break
            first, stop = max(0, -position), len(part) - position
            piece = block[first:stop]
            part[position + first : position + first + len(piece)] = piece
            filled += len(piece)
    if not filled:
        raise InputError(f"{film.name}: has no sound from {start:.3f} s on; the film is shorter than its subtitles")
    return torch.from_numpy(part), rate


def read_film_pictures(film: Path, *, start: float, duration: float, size: int) -> Tensor:
    """The pictures nearest to the video encoder's times, uint8 (F, 3, S, S).

    Args:
        film: any film that can seek.
        start: seconds from the first picture.
        duration: seconds.
        size: edge of the encoder's pictures.

    Raises:
        InputError: no such film, or no pictures there.
    """
    wanted = (video_feature_times(duration) + start).tolist()
    pixels: list[Tensor] = []
    before: tuple[float, Any] | None = None
    with opened(film) as container:
        origin = _origin(container, film.name)
        stream = picture_stream(container, film.name)
        if start > 0:
            container.seek(int((origin + start) / stream.time_base), stream=stream)
        for frame in frames_of(container, stream, film.name):
            if frame.pts is None:
                continue
            time = float(frame.pts * stream.time_base) - origin
            while len(pixels) < len(wanted) and wanted[len(pixels)] <= time:
                at = wanted[len(pixels)]
                pixels.append(_picture(frame if before is None or time - at < at - before[0] else before[1], size))
            if len(pixels) == len(wanted):
                break
            before = time, frame
    if before is not None and before[0] >= start:
        # The part reaches beyond the last picture.
        pixels += [_picture(before[1], size)] * (len(wanted) - len(pixels))
    if len(pixels) < len(wanted):
        raise InputError(f"{film.name}: has no pictures from {start:.3f} s on; the film is shorter than its subtitles")
    return torch.stack(pixels)


def _origin(container: Any, what: str) -> float:  # noqa: ANN401
    """Seconds on the film's clock of its first picture."""
    stream = picture_stream(container, what)
    return float((stream.start_time or 0) * stream.time_base)


def _placed(
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    what: str,
    origin: float,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Mono sound (n,) as it is decoded, with the number of its first sample from `origin`.

    Only the first timestamp counts: they are rounded, in mkv to 1 ms, and samples follow each other without a gap.
    """
    planar = av.AudioResampler(format="fltp")
    position = None
    for frame in frames_of(container, stream, what):
        if position is None:
            if frame.pts is None:
                continue
            position = round((float(frame.pts * frame.time_base) - origin) * stream.rate)
        for part in planar.resample(frame):
            block = part.to_ndarray().mean(axis=0, dtype=np.float32)
            yield position, block
            position += len(block)


def _picture(frame: Any, size: int) -> Tensor:  # noqa: ANN401
    return fit_picture(Orientation.of(frame).apply(frame.to_ndarray(format="rgb24")), size)
