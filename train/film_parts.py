"""A few seconds of a long film as a silent video of their own: every picture, upright, at a size for the benchmark.

The core's `mux` first looks at all packets of a file, which for thousands of parts of films would take days.
Letters: H W picture.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dualdub_core.errors import InputError
from dualdub_core.files import replacing
from dualdub_core.media.containers import Orientation, frames_of, opened, picture_stream

_TICK = Fraction(1, 60_000)
# As in train.scenes: without look-ahead and threads the same pictures give the same bytes.
_OPTIONS = {"crf": "16", "preset": "veryfast", "tune": "zerolatency"}


def write_film_part(film: Path, target: Path, *, start: float, duration: float, height: int) -> None:
    """Write the pictures that the film shows from `start` on, the first at time 0.

    Args:
        film: any film that can seek.
        target: `.mp4`, written whole or not at all.
        start: seconds from the film's first picture.
        duration: seconds.
        height: pixels at most; width follows, both become even.

    Raises:
        InputError: no such film, or no pictures there.
    """
    with opened(film) as container, replacing(target) as temporary:
        stream = picture_stream(container, film.name)
        rate = Fraction(stream.average_rate or stream.guessed_rate or 24).limit_denominator(1001)
        shown = _shown(container, stream, film.name, start, duration)
        with av.open(str(temporary), "w", format="mp4") as output:
            written: Any = None
            for time, frame in shown:
                picture = _sized(Orientation.of(frame).apply(frame.to_ndarray(format="rgb24")), height)
                if written is None:
                    written = output.add_stream("libx264", rate=rate, options=_OPTIONS)
                    written.height, written.width = picture.shape[:2]
                    written.pix_fmt, written.thread_count = "yuv420p", 1
                    written.codec_context.time_base = _TICK
                encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
                encoded.pts, encoded.time_base = round(time / _TICK), _TICK
                output.mux(written.encode(encoded))
            if written is None:
                raise InputError(f"{film.name}: has no pictures from {start:.3f} s on; the film ends before its list")
            output.mux(written.encode(None))


def _shown(container: Any, stream: Any, what: str, start: float, duration: float) -> Iterator[tuple[float, Any]]:  # noqa: ANN401
    """Seconds from `start` and frame of each picture, from the one that is on the screen at `start`."""
    origin = float((stream.start_time or 0) * stream.time_base) + start
    if start > 0:
        container.seek(int(origin / stream.time_base), stream=stream)
    rate = float(stream.average_rate or stream.guessed_rate or 24)
    before, last = None, 0.0
    for frame in frames_of(container, stream, what):
        if frame.pts is None:
            continue
        time = float(frame.pts * stream.time_base) - origin
        # A stamp that is rounded to its file's clock is not taken for the picture before.
        if time > float(_TICK) and before is not None:
            yield 0.0, before
        before, last = (frame if time <= float(_TICK) else None), time
        if time >= duration:
            return
        if time > float(_TICK):
            yield time, frame
    if before is not None and last + 1 / rate > 0:  # else the film was over before `start`
        yield 0.0, before


def _sized(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    scale = min(1.0, height / picture.shape[0])
    rows, columns = (max(2, round(side * scale / 2) * 2) for side in picture.shape[:2])
    if (rows, columns) == picture.shape[:2]:
        return np.ascontiguousarray(picture)
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((columns, rows), Image.Resampling.BOX))
