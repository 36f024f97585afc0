"""Video and sound files as FFmpeg opens them: streams, their packets and frames, and which way up pictures are.

Letters: H W picture.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from ..errors import InputError
from ..files import problem_of

Source: TypeAlias = str | Path | BytesIO
"""A file by its path, or one that lies in memory."""

_MOST_PIXELS = 2**27  # of one picture; 8K has a quarter of it

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pictures are turned for display: first transposed, then mirrored."""

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    @property
    def is_upright(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.transposed or self.mirrored_x or self.mirrored_y)

    @classmethod
    def of(cls, frame: Any) -> "Orientation":  # noqa: ANN401
        """That of a decoded picture, to the nearest quarter turn."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        # x' = a x + c y and y' = b x + d y, y pointing down.
        a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
        if abs(a) >= abs(b):
            return cls(transposed=False, mirrored_x=a < 0, mirrored_y=d < 0)
        return cls(transposed=True, mirrored_x=c < 0, mirrored_y=b < 0)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn (H, W, ...)."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.mirrored_y else 1, :: -1 if self.mirrored_x else 1]


@contextmanager
def opened(source: Source) -> Iterator[Any]:
    """An open PyAV container.

    Raises:
        InputError: no file, an empty one, or nothing that FFmpeg knows.
    """
    what = name_of(source)
    if isinstance(source, BytesIO):
        source.seek(0)
        size = source.getbuffer().nbytes
    elif problem := problem_of(Path(source)):
        raise InputError(f"{what if len(what) > 255 else source}: {problem}; check the path")
    else:
        source = str(source)
        size = Path(source).stat().st_size
    if size == 0:
        raise InputError(f"{what}: the file is empty (0 bytes); get it again")
    try:
        # A playlist could name any address: only what lies on this disk is read.
        container = av.open(source, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"{what}: not a video or sound file, or damaged or cut off ({_reason(error)}); get it again"
        ) from error
    with container:
        yield container


def name_of(source: Source) -> str:
    """What messages call a source."""
    return "video in memory" if isinstance(source, BytesIO) else Path(source).name


def has_pictures(container: Any) -> bool:  # noqa: ANN401
    """Whether there are moving pictures; the cover of a song is none."""
    return bool(_moving(container))


def picture_stream(container: Any, what: str) -> Any:  # noqa: ANN401
    """The stream of moving pictures, ready to be decoded.

    Raises:
        InputError: there is none, or none with a known codec.
    """
    streams = _moving(container)
    if not streams:
        raise InputError(f"{what}: has no picture stream, expected a video")
    return decodable(streams[0], what)


def sound_stream(container: Any, what: str) -> Any:  # noqa: ANN401
    """The first sound track, ready to be decoded.

    Raises:
        InputError: there is none, or its codec is unknown.
    """
    if not container.streams.audio:
        raise InputError(f"{what}: has no sound track; choose a file with sound")
    return decodable(container.streams.audio[0], what)


def decodable(stream: Any, what: str) -> Any:  # noqa: ANN401
    """The stream, refused if there is no decoder for it."""
    if stream.codec_context is None:
        raise InputError(f"{what}: the codec of its {stream.type} stream is not known here; convert the file")
    stream.thread_type = "AUTO"
    if stream.type == "video":
        # A header that claims more is refused before memory is taken for it.
        stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(_MOST_PIXELS)}
    return stream


def packets_of(container: Any, stream: Any, what: str) -> Iterator[Any]:  # noqa: ANN401
    """A stream's packets in decoding order and an empty one that flushes the decoder; a damaged end is the end."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            logger.warning("%s: damaged or cut off, only what comes before is used (%s)", what, _reason(error))
            return
        yield packet


def frames_of(container: Any, stream: Any, what: str) -> Iterator[Any]:  # noqa: ANN401
    """A stream's frames in presentation order, without those of damaged packets."""
    for packet in packets_of(container, stream, what):
        yield from decoded(packet, what)


def decoded(packet: Any, what: str) -> Sequence[Any]:  # noqa: ANN401
    """The frames that a packet completes; none of a damaged one."""
    try:
        frames: Sequence[Any] = packet.decode()
    except av.FFmpegError as error:
        logger.warning("%s: a damaged %s packet is left out (%s)", what, packet.stream.type, _reason(error))
        return ()
    return frames


def _moving(container: Any) -> list[Any]:  # noqa: ANN401
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _reason(error: Exception) -> str:
    """FFmpeg's words without the path, which the message names already."""
    return str(getattr(error, "strerror", None) or error)
