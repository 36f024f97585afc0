"""When the pictures of a video file are shown, and which of its packets hold a part of them.

Seconds count from the first picture shown, whatever the file's own clock starts at; a duration is that of the
pictures: last one's time + its length. Containers are not asked for it: they round, err or do not know.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..errors import InputError
from .containers import Source, frames_of, name_of, opened, packets_of, picture_stream

CLOSE = 0.002
"""Seconds. Containers round timestamps, mostly to 1 ms: what is closer than this is the same moment."""

_FALLBACK_RATE = Fraction(25)
# Formats whose index leads to a key frame at or before a time; in others all is decoded from the beginning.
_SEEKABLE = {"mp4", "matroska"}


@dataclass(frozen=True, slots=True)
class PictureTimes:
    """One picture's packet; times are in the stream's time base.

    Attributes:
        shown: when it is shown; where the file does not say, when it would be if pictures were shown in the
            order of decoding.
        decoded: when it is decoded, never after it is shown, ascending from packet to packet.
        length: how long it is shown; 0 where unknown.
        is_keyframe: whether decoding can begin here.
        is_hidden: whether it only helps to decode others (an edit list says so).
    """

    shown: int
    decoded: int
    length: int
    is_keyframe: bool
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """All pictures of a stream.

    Attributes:
        packets: in the order of decoding.
        stamps: times of the pictures that are shown, ascending, in `time_base`.
        last: length of the last picture in `time_base`.
        time_base: seconds of a unit.
        is_counted: whether the file says only in which order pictures are decoded, not when they are shown.
    """

    packets: Sequence[PictureTimes]
    stamps: Sequence[int]
    last: int
    time_base: Fraction
    is_counted: bool

    @property
    def duration(self) -> float:
        """Seconds."""
        return float((self.stamps[-1] + self.last - self.stamps[0]) * self.time_base)

    @property
    def fps(self) -> Fraction:
        """Pictures a second on average."""
        return len(self.stamps) / ((self.stamps[-1] + self.last - self.stamps[0]) * self.time_base)

    @property
    def is_vfr(self) -> bool:
        """Whether pictures last unequally long, beyond what rounded timestamps explain."""
        gaps = [after - stamp for stamp, after in zip(self.stamps, self.stamps[1:], strict=False)]
        return bool(gaps) and (max(gaps) - 1.1 * min(gaps)) * float(self.time_base) > CLOSE

    def seconds(self, stamp: int) -> float:
        """When a time in `time_base` is, from the first picture."""
        return float((stamp - self.stamps[0]) * self.time_base)

    def stamp_at(self, seconds: float) -> int:
        """The reverse, to the nearest unit."""
        return self.stamps[0] + round(seconds / float(self.time_base))


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a timeline, in its time base.

    Attributes:
        origin: the time that becomes 0.
        end: the time at which the part ends.
        shown: times of its pictures; the first is before `origin` if the part begins while that is shown.
    """

    origin: int
    end: int
    shown: Sequence[int]

    @classmethod
    def of(cls, timeline: Timeline, start: float, length: float) -> "Cut":
        """`length` seconds from `start`, or from a picture so close to it that nobody can tell."""
        stamps, base = timeline.stamps, float(timeline.time_base)
        origin = timeline.stamp_at(start)
        after = bisect_left(stamps, origin)
        nearest = min(stamps[max(0, after - 1) : after + 1], key=lambda stamp: abs(stamp - origin))
        if abs(nearest - origin) * base <= CLOSE:
            origin = nearest
        end = origin + max(1, round(length / base))
        first = max(0, bisect_right(stamps, origin) - 1)
        stop = max(first + 1, bisect_left(stamps, end - CLOSE / base))
        return cls(origin, end, stamps[first:stop])

    def lengths(self) -> dict[int, int]:
        """How long each picture is shown, by its time."""
        begins = [max(stamp, self.origin) for stamp in self.shown]
        return {
            stamp: max(1, after - begin)
            for stamp, begin, after in zip(self.shown, begins, [*begins[1:], self.end], strict=True)
        }


def read_timeline(source: Source) -> Timeline:
    """When a file's pictures are shown; nothing is decoded.

    Raises:
        InputError: no such file, not media, no pictures.
    """
    what = name_of(source)
    with opened(source) as container:
        stream = picture_stream(container, what)
        return timeline_of(packets_of(container, stream, what), container, stream, what)


def timeline_of(
    packets: Iterable[Any],
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    what: str,
) -> Timeline:
    """That of a stream whose packets, PyAV's, are all given.

    Raises:
        InputError: there is no picture.
    """
    raw = [(p.pts, p.dts, p.duration or 0, p.is_keyframe, p.is_discard) for p in packets if p.size]
    if all(is_hidden for *_, is_hidden in raw):
        raise InputError(f"{what}: its picture stream has 0 frames; get the file again")
    base = stream.time_base
    period = 1 / ((stream.guessed_rate or stream.average_rate or _FALLBACK_RATE) * base)
    pts, dts = [packet[0] for packet in raw], [packet[1] for packet in raw]
    # AVI has slots in the order of decoding; what FFmpeg makes of them is wrong with pyramids of B-frames.
    is_counted = None in pts or container.format.name == "avi"
    if is_counted:
        pts = dts if None not in dts else [round(index * period) for index in range(len(raw))]
        dts = pts
    elif None in dts:
        dts = _decoding_times(pts)
    times = [PictureTimes(*both, *rest) for both, (_, _, *rest) in zip(zip(pts, dts, strict=True), raw, strict=True)]
    shown = [packet for packet in times if not packet.is_hidden]
    stamps = sorted({packet.shown for packet in shown})
    gap = Fraction(stamps[-1] - stamps[0], len(stamps) - 1) if len(stamps) > 1 else period
    last = 0 if is_counted else max(shown, key=lambda packet: packet.shown).length
    return Timeline(times, stamps, last or max(1, round(gap)), base, is_counted)


def stamped_frames(
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    timeline: Timeline,
    what: str,
    *,
    start: int,
) -> Iterator[tuple[int, Any]]:
    """A stream's frames, decoded, with their times in its time base, strictly ascending.

    Args:
        container: open, at its beginning.
        stream: its pictures.
        timeline: of the stream.
        what: for messages.
        start: time from which frames are needed; earlier ones may come or not.
    """
    may_seek = not timeline.is_counted and _SEEKABLE & set(container.format.name.split(","))
    if may_seek and start > timeline.stamps[0]:
        container.seek(start, stream=stream)
    latest = None
    for index, frame in enumerate(frames_of(container, stream, what)):
        stamp = frame.pts
        if timeline.is_counted:
            stamp = timeline.stamps[index] if index < len(timeline.stamps) else None
        if stamp is not None and (latest is None or stamp > latest):
            yield stamp, frame
            latest = stamp


def copyable(timeline: Timeline, cut: Cut) -> range | None:
    """The packets that give exactly the cut's pictures when they are decoded alone.

    Packets of earlier pictures may be among them. None if there are no such packets: the cut begins between
    key frames, or ends where its pictures need later ones.
    """
    if cut.shown[0] < cut.origin:
        return None
    packets, shown = timeline.packets, set(cut.shown)
    wanted = [i for i, packet in enumerate(packets) if packet.shown in shown and not packet.is_hidden]
    first, last = 0, wanted[-1]
    if cut.shown[0] > timeline.stamps[0]:
        first = wanted[0]
        if not packets[first].is_keyframe or packets[first].shown != cut.shown[0]:
            return None
    part = range(first, last + 1)
    return None if any(packets[i].shown > cut.shown[-1] for i in part) else part


def _decoding_times(shown: Sequence[int]) -> list[int]:
    """Ascending times, as late as allowed, for pictures that are decoded in this order and shown at these times."""
    ascending = sorted(shown)
    delay = max(time - at for time, at in zip(ascending, shown, strict=True))
    return [time - delay for time in ascending]
