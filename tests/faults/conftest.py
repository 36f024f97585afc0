"""What every fault has in common: it is refused in one clear line, soon, and nothing is left behind."""

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dualdub_core.errors import DualDubError, InputError

_MOST_SECONDS = 3.0  # of processor time; a case takes milliseconds, a hang is a fault too
_LONGEST_LINE = 500
# What Python or a library says to programmers, or where in the code it happened.
_INTERNAL = re.compile(
    r"Traceback|\bline \d+, in|\.py\b|object has no attribute|NoneType|not subscriptable|not supported between"
    r"|unexpected keyword|list index|KeyError|TypeError|ValueError|RuntimeError|\bat 0x|\[enforce fail"
)
# Every message says what is expected, or what to do.
_HELPS = re.compile(
    r"expected|;|: no such|must |needs |choose|add |write |load |save |get |correct|has no|no words|no picture|refused"
    r"|known are"
)


def files_under(folder: Path) -> dict[str, int]:
    """Every file, link and folder with its size."""
    return {str(path.relative_to(folder)): path.lstat().st_size for path in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., Any]:
    """A block that must raise `error` with words that match `says`, and nothing of what else can go wrong."""

    @contextmanager
    def check(says: str, error: type[DualDubError] = InputError) -> Iterator[None]:
        before, begun = files_under(tmp_path), time.process_time()
        with pytest.raises(DualDubError) as caught:
            yield
        took, message = time.process_time() - begun, str(caught.value)
        assert type(caught.value) is error, f"{type(caught.value).__name__}: {message}"
        assert re.search(says, message), message
        assert len(message.splitlines()) == 1, message
        assert len(message) <= _LONGEST_LINE, message
        assert not _INTERNAL.search(message), message
        assert _HELPS.search(message), message
        assert took < _MOST_SECONDS, f"took {took:.1f} s: {message}"
        assert files_under(tmp_path) == before, "something was written"

    return check


def draw(
    path: Path,
    count: int = 10,
    *,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (32, 24),
    stamps: list[int] | None = None,
    codec: str = "mpeg4",
    container: str | None = None,
    tone: int = 0,
) -> Path:
    """A small film; `stamps` are times in units of 1/`rate`, `tone` a sound track's channels."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = {"png": "rgb24", "gif": "rgb8"}.get(codec, "yuv420p")
        stream.codec_context.time_base = 1 / Fraction(rate)
        track = output.add_stream("pcm_s16le", rate=8000, layout="mono") if tone else None
        for index, stamp in enumerate(stamps or range(count)):
            picture = np.full((size[1], size[0], 3), 30 * index % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = stamp, 1 / Fraction(rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if track is not None:
            samples = np.sin(np.arange(8000 * count // 25) / 8)[None] * 8000
            frame = av.AudioFrame.from_ndarray(samples.astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
            output.mux(track.encode(frame))
            output.mux(track.encode(None))
    return path


@pytest.fixture
def film() -> Callable[..., Path]:
    """Draws a small film, see `draw`."""
    return draw


@pytest.fixture(scope="session")
def film_bytes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Ten pictures at 25 fps, 0.4 s, with sound in mkv, by kind of file."""
    folder = tmp_path_factory.mktemp("films")
    names = {"mp4": 0, "mkv": 1, "avi": 1}
    return {kind: draw(folder / f"film.{kind}", tone=tone).read_bytes() for kind, tone in names.items()}


NOT_NUMBERS = {"NaN": math.nan, "infinite": math.inf, "text": "0.5", "nothing": None, "a list": [1.0]}
