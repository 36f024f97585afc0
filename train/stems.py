"""A clip of a data set as one row of a corpus: sound mixed to mono, separated, beside one picture per video feature.

Sections 4.2 and 5.1 of the paper: mono, then separation, then the -40 dB filter, which is `precompute.check`.
Letters: N samples, F pictures, S edge of a picture.
"""

from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from dualdub_core.audio import to_mono
from dualdub_core.errors import InputError
from dualdub_core.media.sound import read_audio
from dualdub_core.media.video import read_frames
from dualdub_core.timing import nearest_times, num_samples, video_feature_times
from dualdub_core.types import Stream

from .datasets import Clip
from .films import read_film_pictures, read_film_sound
from .precompute import LeftOut
from .rows import flac
from .scenes.shards import SCHEMA
from .separation import Separator, separate

COLUMNS = (
    "id",
    "task",
    "split",
    "duration",
    "sample_rate",
    "text",
    "speaker",
    "lang",
    "source",
    "speech_flac",
    "background_flac",
    "frames",
    "frames_shape",
)
CORPUS = pa.schema([SCHEMA.field(name) for name in COLUMNS])
"""The columns of a corpus that is not made but read."""

_APART = 0.5
"""Seconds by which sound and pictures may differ in length before they are no clip."""

_PEAK = 0.999


def to_row(clip: Clip, *, separator: Separator | None, picture_size: int) -> dict[str, Any]:
    """Read a clip: a row of CORPUS.

    Args:
        clip: of any layout.
        separator: for sound that is a mix; the others are the stem of their task.
        picture_size: S of the video encoder.

    Raises:
        LeftOut: its files are missing, broken, or do not belong together.
    """
    try:
        waveform, rate = _read_sound(clip)
        pixels, duration = _read_pictures(clip, len(waveform) / rate, picture_size)
    except InputError as error:
        raise LeftOut(str(error)) from error
    if abs(len(waveform) / rate - duration) > _APART:
        raise LeftOut(f"sound lasts {len(waveform) / rate:.2f} s, pictures {duration:.2f} s")
    count = num_samples(duration, rate)
    waveform = F.pad(waveform[:count], (0, max(0, count - len(waveform))))
    stems = _stems(clip, waveform, rate, separator)
    frames = None if pixels is None else pixels.permute(0, 2, 3, 1).contiguous()
    return {
        "id": clip.id,
        "task": clip.task.value,
        "split": clip.split,
        "duration": duration,
        "sample_rate": rate,
        "text": clip.text,
        "speaker": clip.speaker,
        "lang": clip.lang,
        "source": clip.source,
        "speech_flac": stems.get(Stream.SPEECH),
        "background_flac": stems.get(Stream.BACKGROUND),
        "frames": None if frames is None else frames.numpy().tobytes(),
        "frames_shape": None if frames is None else list(frames.shape),
    }


def _read_sound(clip: Clip) -> tuple[Tensor, int]:
    """Mono (N,) and its rate."""
    if clip.is_part:
        assert clip.duration is not None
        return read_film_sound(clip.sound, start=clip.start, duration=clip.duration)
    audio = to_mono(read_audio(clip.sound))
    return audio.waveform[0, 0], audio.sample_rate


def _read_pictures(clip: Clip, seconds: float, size: int) -> tuple[Tensor | None, float]:
    """Pictures (F, 3, S, S), one at each of the encoder's times, and seconds that the clip lasts."""
    if clip.picture is None:
        return None, seconds
    if clip.is_part:
        assert clip.duration is not None
        pictures = read_film_pictures(clip.picture, start=clip.start, duration=clip.duration, size=size)
        return pictures, clip.duration
    frames = read_frames(clip.picture, size=size)
    return frames.pixels[nearest_times(frames.times, video_feature_times(frames.duration))], frames.duration


def _stems(clip: Clip, waveform: Tensor, rate: int, separator: Separator | None) -> dict[Stream, bytes]:
    """The stems that the clip's task has, as FLAC."""
    if not clip.is_mix:
        return {stream: flac(_lowered(waveform)[0], rate) for stream in clip.task.streams}
    assert separator is not None
    speech, background = _lowered(*separate(separator, waveform, rate))
    stems = {Stream.SPEECH: speech, Stream.BACKGROUND: background}
    return {stream: flac(stems[stream], rate) for stream in clip.task.streams}


def _lowered(*stems: Tensor) -> tuple[Tensor, ...]:
    """All stems by the same gain, so that none clips in 16 bit and they still go together."""
    peak = max(float(stem.abs().max()) for stem in stems)
    gain = min(1.0, _PEAK / peak) if peak > 0 else 1.0
    return tuple(torch.mul(stem, gain) for stem in stems)
