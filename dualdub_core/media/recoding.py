"""Pictures encoded again, upright and nearly without loss, for parts of a video that cannot be copied."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType

from ..errors import InputError
from .containers import Orientation
from .timeline import Cut, Timeline, stamped_frames

_OPTIONS = {
    "libx264": {"crf": "16", "preset": "fast"},
    "libvpx-vp9": {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "libvpx": {"crf": "8", "b": "8M", "deadline": "good", "cpu-used": "4"},
    "mpeg4": {"flags": "+qscale", "global_quality": "236"},
}
# Whole for usual frame rates, and mpeg4 counts no further than 65 535.
_TICK = Fraction(1, 60_000)
# FFmpeg's numbers for studio range, and for a colour space that no encoder here writes.
_LIMITED, _RGB = 1, 0


def encoded_pictures(
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    timeline: Timeline,
    cut: Cut,
    output: Any,  # noqa: ANN401
    encoders: Sequence[str],
    *,
    is_steady: bool,
    what: str,
) -> tuple[str, Iterator[Any]]:
    """Encode the pictures of a cut.

    Args:
        container: the source, open.
        stream: its pictures.
        timeline: of the stream.
        cut: the part of it.
        output: a PyAV container to which a stream is added.
        encoders: the first that exists is used.
        is_steady: whether the output has a fixed rate and no times.
        what: for messages.

    Returns:
        The encoder, and packets in decoding order from time 0.

    Raises:
        InputError: no picture can be decoded.
    """
    frames = _placed_frames(container, stream, timeline, cut, what)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{what}: no picture of this part can be decoded; the file is damaged, convert it")
    name = next(encoder for encoder in encoders if encoder in av.codecs_available)
    rate = timeline.fps.limit_denominator(1001)
    target = output.add_stream(name, rate=rate, options=_OPTIONS[name])
    _describe(target.codec_context, first.frame, stream)
    tick = 1 / rate if is_steady else _TICK
    target.codec_context.time_base = tick

    def packets() -> Iterator[Any]:
        ends: dict[int, int] = {}
        latest = -1
        for placed in chain((first,), frames):
            time = round(placed.start / tick)
            if time <= latest:
                continue
            latest, ends[time] = time, max(time + 1, round(placed.end / tick))
            frame = _fitted(placed.frame, target.codec_context)
            frame.pts, frame.time_base = time, tick
            yield from _with_lengths(target.encode(frame), ends, tick)
        yield from _with_lengths(target.encode(None), ends, tick)

    return name, packets()


@dataclass(frozen=True, slots=True)
class _Placed:
    """A decoded picture and the seconds from the cut's origin at which it comes and goes."""

    frame: Any
    start: Fraction
    end: Fraction


def _placed_frames(
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    timeline: Timeline,
    cut: Cut,
    what: str,
) -> Iterator[_Placed]:
    base = timeline.time_base
    shown = cut.lengths()
    for stamp, frame in stamped_frames(container, stream, timeline, what, start=cut.shown[0]):
        if stamp in shown:
            start = max(0, stamp - cut.origin)
            yield _Placed(frame, start * base, (start + shown[stamp]) * base)
        if stamp >= cut.shown[-1]:
            return


def _describe(context: Any, first: Any, stream: Any) -> None:  # noqa: ANN401
    """Size and colours of the encoder's pictures, from the first and its stream."""
    width, height = first.width, first.height
    if Orientation.of(first).transposed:
        width, height = height, width
    elif stream.sample_aspect_ratio:
        context.sample_aspect_ratio = stream.sample_aspect_ratio
    # Halved colour planes need even sides.
    context.width, context.height, context.pix_fmt = max(2, width & ~1), max(2, height & ~1), "yuv420p"
    # With them mp4 says how far decoding times are apart, and the last picture would end at a wrong time.
    context.max_b_frames = 0
    context.color_range = _LIMITED
    source = stream.codec_context
    if source.colorspace != _RGB:
        context.colorspace, context.color_primaries = source.colorspace, source.color_primaries
        context.color_trc = source.color_trc


def _fitted(frame: Any, context: Any) -> Any:  # noqa: ANN401
    """The picture upright and as the encoder takes it."""
    orientation = Orientation.of(frame)
    if not orientation.is_upright:
        # Full colour planes turn without touching their values.
        planes = frame.to_ndarray(format="yuv444p").transpose(1, 2, 0)
        turned = orientation.apply(planes).transpose(2, 0, 1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), format="yuv444p")
    frame = frame.reformat(context.width, context.height, context.pix_fmt, dst_color_range=_LIMITED)
    # Otherwise the encoder repeats the source's choice of key frames.
    frame.pict_type = PictureType.NONE
    return frame


def _with_lengths(packets: Sequence[Any], ends: dict[int, int], tick: Fraction) -> Iterator[Any]:
    """Packets that say how long their picture is shown, which not every encoder passes on."""
    for packet in packets:
        time = round(packet.pts * packet.time_base / tick)
        packet.duration = round((ends.pop(time, time + 1) - time) * tick / packet.time_base)
        yield packet
