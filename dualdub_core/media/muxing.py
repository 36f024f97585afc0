"""A video with new sound: the pictures are copied as they are, the sound lasts exactly as long as they do.

Pictures are encoded again only where a copy cannot be right: a part that begins between key frames or ends where
its pictures need later ones, and files that hide pictures or do not say when to show them. Several sounds become
tracks with names. Further streams of the source (its own sound, subtitles) are left out.
"""

import heapq
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from ..audio import fit_length, with_rate
from ..errors import InputError
from ..files import replacing
from ..progress import Progress, silent
from ..provenance.stamps import TAG
from ..timing import num_samples
from ..types import Audio
from .containers import Source, name_of, opened, packets_of, picture_stream
from .recoding import encoded_pictures
from .sound import check_single, clip_length
from .timeline import Cut, Timeline, copyable, read_timeline


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """What goes into a kind of file.

    Attributes:
        muxer: FFmpeg's name of the format.
        sound: encoder of sound.
        bit_rate: of it, for each channel; 0 where it takes none.
        rates: Hz that it takes; any other sound becomes 48 000.
        pictures: encoders of pictures that cannot be copied, the best first.
        hides: whether pictures before time 0 stay unseen.
        is_steady: whether it counts pictures at a fixed rate and has no times, as AVI does.
        options: of FFmpeg's writer.
    """

    muxer: str
    sound: str
    bit_rate: int
    rates: frozenset[int]
    pictures: tuple[str, ...]
    hides: bool
    is_steady: bool
    options: Mapping[str, str]


_MP4 = Container(
    muxer="mp4",
    sound="aac",
    bit_rate=128_000,
    rates=frozenset((8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)),
    pictures=("libx264", "mpeg4"),
    hides=True,
    is_steady=False,
    # Playable while it loads; keys such as ComfyUI's "workflow" are kept.
    options={"movflags": "faststart+use_metadata_tags"},
)
_MATROSKA = replace(_MP4, muxer="matroska", hides=False, options={})
_WEBM = replace(_MATROSKA, muxer="webm", sound="libopus", rates=frozenset((48_000,)), pictures=("libvpx-vp9", "libvpx"))
_AVI = replace(_MATROSKA, muxer="avi", sound="pcm_s16le", bit_rate=0, pictures=("mpeg4",), is_steady=True)
CONTAINERS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": replace(_MP4, muxer="mov"),
    ".mkv": _MATROSKA,
    ".webm": _WEBM,
    ".avi": _AVI,
}
"""Kinds of file that can be written, by suffix."""

_LAYOUTS = {1: "mono", 2: "stereo"}
_BLOCK = 0.5  # seconds of sound encoded at a time
# What a file says of its own container, which is not true of another.
_CONTAINER_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
# What it says of the sound that is replaced.
_SOUND_KEYS = {TAG}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class MuxReport:
    """What was written.

    Attributes:
        copied: whether the pictures are those of the source bit by bit, or encoded again.
        duration: seconds of pictures and sound.
        num_frames: pictures shown.
        picture_codec: FFmpeg's name.
        sound_codec: FFmpeg's name.
    """

    copied: bool
    duration: float
    num_frames: int
    picture_codec: str
    sound_codec: str


def mux(
    source: Source,
    audio: Audio | Mapping[str, Audio],
    target: Path | str,
    *,
    start: float = 0.0,
    duration: float | None = None,
    metadata: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> MuxReport:
    """Write the source's pictures with this sound instead of its own, whole or not at all.

    Args:
        source: video with or without sound.
        audio: (1, C, N), one or two channels, time 0 being the part's; cut, or continued with silence, to the
            pictures' duration. Or several by the names of their tracks, the one that players choose first.
        target: file to write, its suffix one of `CONTAINERS`; it may be the source.
        start: seconds from the source's first picture at which the part begins.
        duration: seconds; to the end when None.
        metadata: keys added to the source's.
        progress: reports "write"; raising from it cancels, and nothing is written.

    Raises:
        InputError: the source is no video or has no such part, the sound is NaN, a batch or none, or the kind of
            file is not known or cannot hold the source's pictures.
    """
    target, what = Path(target), name_of(source)
    kind = CONTAINERS.get(target.suffix.lower())
    if kind is None:
        raise InputError(f"{target.name}: got suffix '{target.suffix}', expected one of {', '.join(CONTAINERS)}")
    tracks = {"": audio} if isinstance(audio, Audio) else dict(audio)
    _check_tracks(tracks)
    timeline = read_timeline(source)
    length = clip_length(timeline.duration, start, duration, what)
    cut = Cut.of(timeline, start, length)
    with replacing(target) as temporary, ExitStack() as stack:
        container = stack.enter_context(opened(source))
        stream = picture_stream(container, what)
        output = stack.enter_context(av.open(str(temporary), "w", format=kind.muxer, options=dict(kind.options)))
        # Matroska gives its keys back in capitals.
        gone = _CONTAINER_KEYS | _SOUND_KEYS | {key.lower() for key in metadata or {}}
        kept = {key: value for key, value in container.metadata.items() if key.lower() not in gone}
        output.metadata.update({**kept, **(metadata or {})})
        part = copyable(timeline, cut) if _may_copy(kind, container, stream, timeline) else None
        if part is None:
            logger.info("%s: its pictures are encoded again", what)
            codec, pictures = encoded_pictures(
                container, stream, timeline, cut, output, kind.pictures, is_steady=kind.is_steady, what=what
            )
        else:
            codec, pictures = _copied_pictures(container, stream, timeline, cut, part, output, target)
        sounds = _in_time(
            [_encoded_sound(_fitted(sound, kind, length), output, kind, name) for name, sound in tracks.items()]
        )
        try:
            output.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            raise _cannot_hold(target, codec) from error
        _interleave(output, pictures, sounds, len(cut.shown), progress)
    return MuxReport(
        copied=part is not None,
        duration=length,
        num_frames=len(cut.shown),
        picture_codec=codec,
        sound_codec=kind.sound,
    )


def _check_tracks(tracks: Mapping[str, Audio]) -> None:
    if not tracks:
        raise InputError("soundtrack: got no sound, expected at least one track")
    for name, audio in tracks.items():
        what = f"track '{name}'" if name else "soundtrack"
        check_single(audio, what)
        if audio.waveform.shape[1] not in _LAYOUTS:
            raise InputError(f"{what}: got {audio.waveform.shape[1]} channels, expected 1 or 2; mix it down")


def _may_copy(kind: Container, container: Any, stream: Any, timeline: Timeline) -> bool:  # noqa: ANN401
    """Whether the kind of file can show copied pictures at the times at which the source shows them."""
    if kind.is_steady:
        return bool(container.format.name == "avi")
    if timeline.is_counted and stream.codec_context.has_b_frames:
        return False
    return kind.hides or not any(packet.is_hidden for packet in timeline.packets)


def _copied_pictures(
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    timeline: Timeline,
    cut: Cut,
    part: range,
    output: Any,  # noqa: ANN401
    target: Path,
) -> tuple[str, Iterator[Any]]:
    """Codec and packets of the part, in the order of decoding; the stream keeps its rotation and colours."""
    codec: str = stream.codec_context.name
    try:
        copy = output.add_stream_from_template(stream, opaque=True)
    except ValueError as error:
        raise _cannot_hold(target, codec) from error

    def packets() -> Iterator[Any]:
        lengths = cut.lengths()
        raw = (packet for packet in packets_of(container, stream, target.name) if packet.size)
        for index, (packet, times) in enumerate(zip(raw, timeline.packets, strict=False)):
            if index >= part.stop:
                return
            # Pictures before the part are kept only where they lead, unseen, to the file's first.
            if index < part.start or (part.start > 0 and times.shown < cut.origin):
                continue
            packet.pts, packet.dts = times.shown - cut.origin, times.decoded - cut.origin
            packet.duration = lengths.get(times.shown, times.length)
            packet.stream = copy
            yield packet

    return codec, packets()


def _fitted(audio: Audio, kind: Container, duration: float) -> Audio:
    """The sound at a rate that the encoder takes, as long as the pictures."""
    if audio.sample_rate not in kind.rates:
        audio = with_rate(audio, 48_000)
    return fit_length(audio, num_samples(duration, audio.sample_rate))


def _in_time(tracks: list[Iterator[Any]]) -> Iterator[Any]:
    """Packets of several tracks in the order of time."""
    return heapq.merge(*tracks, key=lambda packet: packet.dts * packet.time_base)


def _encoded_sound(audio: Audio, output: Any, kind: Container, name: str) -> Iterator[Any]:  # noqa: ANN401
    """Packets of the sound; its encoder's run-in is written down in the file, so that players take it off."""
    channels, rate = audio.waveform.shape[1], audio.sample_rate
    is_first = not output.streams.audio
    stream = output.add_stream(kind.sound, rate=rate)
    if name:
        # Matroska shows the title, players of MP4 the handler.
        stream.metadata.update({"title": name, "handler_name": name})
        stream.disposition = Disposition.default if is_first else Disposition(0)
    stream.codec_context.layout = _LAYOUTS[channels]
    if kind.bit_rate:
        # Encoders take no more than six bits a sample.
        stream.bit_rate = min(kind.bit_rate, 5 * rate) * channels
    samples = audio.waveform[0].float().cpu().numpy()

    def packets() -> Iterator[Any]:
        block = round(_BLOCK * rate)
        for first in range(0, samples.shape[1], block):
            piece = np.ascontiguousarray(samples[:, first : first + block])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=_LAYOUTS[channels])
            frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
            yield from stream.encode(frame)
        yield from stream.encode(None)

    return packets()


def _interleave(
    output: Any,  # noqa: ANN401
    pictures: Iterator[Any],
    sounds: Iterator[Any],
    total: int,
    progress: Progress,
) -> None:
    """Write both in the order of time, so that neither waits in memory for the other."""
    sound = next(sounds, None)
    for done, picture in enumerate(pictures, start=1):
        while sound is not None and sound.dts * sound.time_base <= picture.dts * picture.time_base:
            output.mux(sound)
            sound = next(sounds, None)
        output.mux(picture)
        progress("write", min(done, total), total)
    while sound is not None:
        output.mux(sound)
        sound = next(sounds, None)


def _cannot_hold(target: Path, codec: str) -> InputError:
    return InputError(
        f"{target.name}: a {target.suffix} file cannot hold the source's {codec} pictures; choose .mkv, which holds any"
    )
