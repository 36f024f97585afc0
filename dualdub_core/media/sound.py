"""What a media file holds, as people and models need it: facts, sound in, sound files out.

Seconds count from the first picture shown, in a file without pictures from its first sample.

Letters: B batch, N samples, C channels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from ..errors import ConfigError, InputError
from ..files import replacing
from ..limits import within
from ..provenance.provenance import Provenance
from ..provenance.stamps import stamp_wav
from ..timing import LONGEST, check_seconds
from ..types import Audio, check_finite
from .containers import (
    Orientation,
    Source,
    decoded,
    frames_of,
    has_pictures,
    name_of,
    opened,
    packets_of,
    picture_stream,
    sound_stream,
)
from .timeline import CLOSE, Timeline, read_timeline, timeline_of

# Sound whose timestamps run further ahead of its samples than this has a hole that was meant.
_HOLE = 0.05
# Seconds; a longer hole is a damaged timestamp, and would be as much silence in memory.
_LONGEST_HOLE = 3600.0
_BLOCK = 2**16  # samples read at a time
_SOUND_FILES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff"}
_SUBTYPES = ("PCM_16", "PCM_24", "FLOAT")
_FULL_SCALE = {"int16": 2.0**15, "int32": 2.0**31, "int64": 2.0**63}


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaInfo:
    """What a video file is.

    Attributes:
        duration: seconds that the pictures last.
        fps: pictures a second; the average where it varies.
        num_frames: pictures shown.
        width: as displayed, after rotation.
        height: as displayed, after rotation.
        rotation: degrees counter-clockwise by which players turn the stored pictures: 0, 90, 180 or 270.
        is_vfr: whether pictures last unequally long.
        has_audio: whether there is a sound track.
        audio_rate: Hz; 0 without sound.
        audio_channels: 0 without sound.
        start_time: seconds on the file's own clock at which the first picture is shown.
        container: FFmpeg's name of the format.
    """

    duration: float
    fps: Fraction
    num_frames: int
    width: int
    height: int
    rotation: int
    is_vfr: bool
    has_audio: bool
    audio_rate: int
    audio_channels: int
    start_time: float
    container: str


def probe(source: Source) -> MediaInfo:
    """What a video file is; all its packets are counted and one picture is decoded.

    Raises:
        InputError: no such file, not media, no pictures, or none that can be decoded.
    """
    what = name_of(source)
    with opened(source) as container:
        stream = picture_stream(container, what)
        first = None

        def packets() -> Iterator[Any]:
            nonlocal first
            for packet in packets_of(container, stream, what):
                yield packet
                if first is None:
                    first = next(iter(decoded(packet, what)), None)

        timeline = timeline_of(packets(), container, stream, what)
        if first is None:
            raise InputError(f"{what}: its {stream.codec_context.name} pictures cannot be decoded; convert the file")
        sides = (first.width, first.height)
        width, height = reversed(sides) if Orientation.of(first).transposed else sides
        sound = container.streams.audio[0].codec_context if container.streams.audio else None
        return MediaInfo(
            duration=timeline.duration,
            fps=_named_rate(timeline, stream),
            num_frames=len(timeline.stamps),
            width=width,
            height=height,
            rotation=round(first.rotation / 90) * 90 % 360,
            is_vfr=timeline.is_vfr,
            has_audio=sound is not None,
            audio_rate=sound.sample_rate if sound else 0,
            audio_channels=sound.channels if sound else 0,
            start_time=float(timeline.stamps[0] * timeline.time_base),
            container=container.format.name,
        )


def clip_length(total: float, start: float, duration: float | None, what: str) -> float:
    """Seconds of the part of a clip that `start` and `duration` (None is to the end) mean.

    Raises:
        InputError: there is no such part.
    """
    if not within(start, 0) or start >= total:
        raise InputError(f"{what}: got a start at {start} s, expected 0 up to less than the clip's {total:.3f} s")
    _check_length(duration, what)
    return check_seconds(total - start if duration is None else min(duration, total - start), what)


def read_audio(source: Source, *, start: float = 0.0, duration: float | None = None) -> Audio:
    """The first sound track of a video or sound file, aligned with the pictures where there are any.

    Args:
        source: any file with sound.
        start: seconds.
        duration: seconds; None is to the end, and the end is the most there is.

    Returns:
        Audio (1, C, N) at the file's own rate; silent where the track starts late or has holes.

    Raises:
        InputError: no such file, not media, no sound in this part of it, NaN in it.
    """
    what = name_of(source)
    if not within(start, 0, LONGEST):
        raise InputError(f"{what}: got a start at {start} s, expected 0 to {LONGEST:g} s")
    _check_length(duration, what)
    duration = None if duration == math.inf else duration
    samples, rate = _read_sound_file(source, start, duration) or _read_sound_track(source, start, duration, what)
    if not samples.shape[1]:
        raise InputError(f"{what}: has no sound from {start} s on; choose an earlier start or another file")
    return check_finite(Audio(torch.from_numpy(samples)[None], rate), what)


def write_wav(path: Path | str, audio: Audio, *, subtype: str = "PCM_24", made_by: Provenance | None = None) -> None:
    """Write a sound file, whole or not at all.

    Args:
        path: target; its folder is made.
        audio: one sound (1, C, N).
        subtype: PCM_16, PCM_24 or FLOAT.
        made_by: written into the file.

    Raises:
        InputError: NaN, no samples, or a batch.
        ConfigError: another subtype.
    """
    path = Path(path)
    check_single(audio, path.name)
    if subtype not in _SUBTYPES:
        raise ConfigError(f"{path.name}: got subtype {subtype!r}, expected one of {', '.join(_SUBTYPES)}")
    with replacing(path) as temporary:
        samples = audio.waveform[0].T.float().cpu().numpy()
        soundfile.write(temporary, samples, audio.sample_rate, subtype=subtype, format="WAV")
        if made_by is not None:
            stamp_wav(temporary, made_by)


def check_single(audio: Audio, what: str) -> Audio:
    """Refuse sound that is not one finite recording (1, C, N)."""
    if len(audio.waveform) != 1:
        raise InputError(f"{what}: got a batch of {len(audio.waveform)} sounds, expected one; write one file each")
    return check_finite(audio, what)


def _check_length(duration: float | None, what: str) -> None:
    if duration is not None and (duration == 0 or not (within(duration, 0) or duration == math.inf)):
        raise InputError(f"{what}: got a duration of {duration} s, expected more than 0, or none for all of it")


def _named_rate(timeline: Timeline, stream: Any) -> Fraction:  # noqa: ANN401
    """The exact rate that the header names, where the timestamps, which are rounded, agree with it."""
    for named in (stream.average_rate, stream.guessed_rate):
        if named and abs(len(timeline.stamps) / named - timeline.duration) <= max(CLOSE, 2 * timeline.time_base):
            return Fraction(named)
    return timeline.fps.limit_denominator(100_000)


def _read_sound_file(source: Source, start: float, duration: float | None) -> tuple[NDArray[np.float32], int] | None:
    """Samples (C, N) and rate by libsndfile, which is exact where FFmpeg leaves padding in; None for other files."""
    if isinstance(source, BytesIO) or Path(source).suffix.lower() not in _SOUND_FILES or not Path(source).is_file():
        return None
    try:
        with soundfile.SoundFile(source) as file:
            rate = file.samplerate
            first = min(round(start * rate), file.frames)
            left = round(LONGEST * rate if duration is None else (start + duration) * rate) - first
            file.seek(first)
            # Block by block: what a header claims must not decide how much memory is taken.
            blocks = [np.zeros((0, file.channels), np.float32)]
            while left > 0 and len(block := file.read(min(_BLOCK, left), dtype="float32", always_2d=True)):
                blocks.append(block)
                left -= len(block)
            return np.ascontiguousarray(np.concatenate(blocks).T), rate
    except soundfile.LibsndfileError:
        return None


def _read_sound_track(
    source: Source, start: float, duration: float | None, what: str
) -> tuple[NDArray[np.float32], int]:
    """Samples (C, N) and rate by FFmpeg."""
    with opened(source) as container:
        rate: int = sound_stream(container, what).rate
        is_video = has_pictures(container)
    origin = None
    if is_video:
        timeline = read_timeline(source)
        origin = float(timeline.stamps[0] * timeline.time_base)
    first, stop = round(start * rate), None if duration is None else round((start + duration) * rate)
    with opened(source) as container:
        blocks = list(_samples_within(_placed_blocks(container, origin, what), first, stop))
    if len({len(block) for block in blocks}) > 1:
        raise InputError(f"{what}: its number of channels changes midway; export it again")
    return np.concatenate(blocks or [np.zeros((1, 0), np.float32)], axis=1), rate


def _placed_blocks(
    container: Any,  # noqa: ANN401
    origin: float | None,
    what: str,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Sound as it is decoded, (C, n), with the number of its first sample.

    Timestamps are rounded, so samples follow each other without a gap unless one is far too late.

    Args:
        container: open.
        origin: seconds on the file's clock of sample 0; the first sample when None.
        what: for messages.
    """
    stream = sound_stream(container, what)
    position = None
    for frame in frames_of(container, stream, what):
        block = _float_samples(frame)
        seconds = None if frame.pts is None else float(frame.pts * frame.time_base)
        if origin is None:
            origin = seconds
        stamped = 0 if seconds is None or origin is None else round((seconds - origin) * stream.rate)
        if position is None or stamped - position > _HOLE * stream.rate:
            silence = max(0, stamped - (position or 0))
            if silence > _LONGEST_HOLE * stream.rate:
                raise InputError(
                    f"{what}: its sound has a hole of {silence / stream.rate:.0f} s, expected at most "
                    f"{_LONGEST_HOLE:g} s; its timestamps are damaged, convert it"
                )
            if silence:
                yield stamped - silence, np.zeros((len(block), silence), np.float32)
            position = stamped
        yield position, block
        position += block.shape[1]


def _samples_within(
    blocks: Iterator[tuple[int, NDArray[np.float32]]], start: int, stop: int | None
) -> Iterator[NDArray[np.float32]]:
    """Of consecutive blocks what lies in [start, stop)."""
    for position, block in blocks:
        if stop is not None and position >= stop:
            return
        end = None if stop is None else stop - position
        part = block[:, max(0, start - position) : end]
        if part.shape[1]:
            yield part


def _float_samples(frame: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """A decoded frame as (C, n), full scale 1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype == np.uint8:
        samples = samples.astype(np.int16) - 128
        return np.asarray(samples / 128, dtype=np.float32)
    return np.asarray(samples / _FULL_SCALE.get(samples.dtype.name, 1.0), dtype=np.float32)
