"""The values that travel between the parts: frozen, typed, with one legend of shape letters.

B batch, N samples, C channels, F video frames, L text ids, T frames of a stream, D width, Z latent channels,
V vocabulary, H W picture.
"""

from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from .errors import InputError
from .limits import within
from .provenance.provenance import Provenance
from .timing import FrameClock

HIGHEST_RATE = 1_000_000
"""Hz. Beyond it a rate is a damaged header, and the filters that change it would take gigabytes."""


class Stream(str, Enum):
    """The two things a soundtrack is made of."""

    SPEECH = "speech"
    BACKGROUND = "background"


class Task(str, Enum):
    """What is generated (paper, section 3.4)."""

    JOINT = "joint"
    BACKGROUND = "background"
    SPEECH = "speech"

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams this task writes."""
        if self is Task.JOINT:
            return (Stream.SPEECH, Stream.BACKGROUND)
        return (Stream(self.value),)


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound and its rate.

    Attributes:
        waveform: (B, C, N) float32, nominally in [-1, 1].
        sample_rate: Hz.
    """

    waveform: Tensor
    sample_rate: int

    def __post_init__(self) -> None:
        if self.waveform.ndim != 3:
            raise InputError(f"audio: got shape {tuple(self.waveform.shape)}, expected (batch, channels, samples)")
        if not self.waveform.is_floating_point():
            raise InputError(f"audio: got samples of {self.waveform.dtype}, expected floats in [-1, 1]; divide them")
        if not within(self.sample_rate, 1, HIGHEST_RATE, whole=True):
            raise InputError(
                f"audio: got a sample rate of {self.sample_rate} Hz, expected a positive number, whole and at most "
                f"{HIGHEST_RATE}; export it again"
            )

    @property
    def num_samples(self) -> int:
        """Samples per channel."""
        return self.waveform.shape[-1]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / self.sample_rate


@dataclass(frozen=True, slots=True)
class VideoFrames:
    """The pictures of a video that the encoder looks at, already at its size.

    Attributes:
        pixels: (F, C, H, W) uint8 RGB.
        times: presentation times in seconds from the start of the picture stream, float64 (F,), ascending.
        duration: seconds of the whole clip.
    """

    pixels: Tensor
    times: Tensor
    duration: float

    def __post_init__(self) -> None:
        _check_times("pictures", self.pixels, 4, self.times)


@dataclass(frozen=True, slots=True)
class VideoFeatures:
    """What the video encoder saw.

    Attributes:
        features: (F, D) float32, L2-normalised rows.
        times: seconds, float64 (F,), ascending.
        duration: seconds of the whole clip.
    """

    features: Tensor
    times: Tensor
    duration: float

    def __post_init__(self) -> None:
        _check_times("features", self.features, 2, self.times)


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks: a speaker embedding of one particular model.

    Attributes:
        embedding: (D,) float32.
        model_id: fingerprint of the model that computed it; voices of other models are refused.
        name: what the artist calls it.
        consent: who agreed to its use, and when; empty where nobody wrote it down.
    """

    embedding: Tensor
    model_id: str
    name: str = ""
    consent: str = ""

    def __post_init__(self) -> None:
        embedding = self.embedding
        if embedding.ndim != 1 or not embedding.is_floating_point() or not torch.isfinite(embedding).all():
            raise InputError(
                f"voice: got an embedding of shape {tuple(embedding.shape)} and {embedding.dtype}, expected one row of "
                "finite floats; compute it from its recording again"
            )


@dataclass(frozen=True, slots=True)
class Codes:
    """What the language model writes: one code per frame and stream.

    Attributes:
        speech: (B, T) int64, or None where the task has no speech.
        background: (B, T) int64, or None where the task has no background.
        duration: seconds; decoded stems are cut to exactly this.
        clock: the codec's frame clock.
        codebook_size: V; codes are in [0, V).
        lengths: frames of each row that are sound, where rows ended on their own; all T when None.
        spoken: seconds from which to which speech may be heard; decoders keep the rest silent. All when None.
        made_by: what wrote them, for the files that are made of them; None where nobody said.
    """

    speech: Tensor | None
    background: Tensor | None
    duration: float
    clock: FrameClock
    codebook_size: int
    lengths: tuple[int, ...] | None = None
    spoken: tuple[tuple[float, float], ...] | None = None
    made_by: Provenance | None = None

    def __post_init__(self) -> None:
        if not within(self.codebook_size, 1, whole=True):
            raise InputError(f"codes: got a codebook of {self.codebook_size} codes, expected a whole number from 1 on")
        shapes = {tuple(c.shape) for c in (self.speech, self.background) if c is not None}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
            raise InputError(
                f"codes: got shapes {sorted(shapes)}, expected one (batch, frames) for each stream, none of them empty"
            )
        for codes in (self.speech, self.background):
            if codes is not None and codes.dtype != torch.int64:
                raise InputError(f"codes: got {codes.dtype}, expected int64; sample or encode them again")
            if codes is not None and not 0 <= int(codes.min()) <= int(codes.max()) < self.codebook_size:
                raise InputError(
                    f"codes: got values from {int(codes.min())} to {int(codes.max())}, expected 0 to "
                    f"{self.codebook_size - 1}; they come from another codec"
                )
        self._check_times()

    def _check_times(self) -> None:
        expected = self.clock.num_frames(self.duration)
        if self.num_frames != expected:
            raise InputError(
                f"codes: got {self.num_frames} frames for {self.duration:.3f} s, expected {expected} at "
                f"{self.clock.frame_rate:g} Hz; they belong to another clip"
            )
        if self.lengths is not None and (
            len(self.lengths) != self.batch_size
            or not all(within(length, 1, self.num_frames, whole=True) for length in self.lengths)
        ):
            raise InputError(
                f"codes: got lengths {list(self.lengths)[:8]}, expected {self.batch_size} of 1 to {self.num_frames} "
                "frames; sample them again"
            )
        for start, end in self.spoken or ():
            if not (within(start, 0) and within(end, 0) and start < end):
                raise InputError(f"codes: got speech from {start} s to {end} s, expected a start before an end")

    def stream(self, stream: Stream) -> Tensor | None:
        """The codes of one stream (B, T), or None."""
        return self.speech if stream is Stream.SPEECH else self.background

    def take(self, index: int) -> "Codes":
        """One take of several, counted from 0.

        Raises:
            InputError: there is no such take.
        """
        if not 0 <= index < self.batch_size:
            raise InputError(f"select take: got take {index + 1}, expected 1 to {self.batch_size}")
        rows = slice(index, index + 1)
        return replace(
            self,
            speech=None if self.speech is None else self.speech[rows],
            background=None if self.background is None else self.background[rows],
            lengths=None if self.lengths is None else self.lengths[rows],
        )

    @property
    def batch_size(self) -> int:
        """B."""
        return self._any.shape[0]

    @property
    def num_frames(self) -> int:
        """T."""
        return self._any.shape[1]

    @property
    def _any(self) -> Tensor:
        codes = self.speech if self.speech is not None else self.background
        assert codes is not None
        return codes


@dataclass(frozen=True, slots=True)
class Soundtrack:
    """Two stems of exactly equal length; a stream the task did not write is silence."""

    speech: Audio
    background: Audio

    def __post_init__(self) -> None:
        a, b = self.speech, self.background
        if a.waveform.shape != b.waveform.shape or a.sample_rate != b.sample_rate:
            raise InputError(
                f"soundtrack: speech is {tuple(a.waveform.shape)} at {a.sample_rate} Hz, background "
                f"{tuple(b.waveform.shape)} at {b.sample_rate} Hz; stems must be equal in shape and rate"
            )

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.speech.sample_rate

    @property
    def num_samples(self) -> int:
        """Samples per channel of each stem."""
        return self.speech.num_samples

    def sum(self) -> Audio:
        """Both stems added, unlimited."""
        return Audio(self.speech.waveform + self.background.waveform, self.sample_rate)


def _check_times(what: str, values: Tensor, ndim: int, times: Tensor) -> None:
    if values.ndim != ndim or times.shape != values.shape[:1] or not times.numel():
        raise InputError(
            f"video: got {what} of shape {tuple(values.shape)} at times of shape {tuple(times.shape)}, expected one "
            "time for each, at least one"
        )


def check_finite(audio: Audio, what: str) -> Audio:
    """Refuse sound with NaN or infinite samples, or none at all."""
    if audio.waveform.numel() == 0:
        shape = tuple(audio.waveform.shape)
        told = "0 samples" if audio.num_samples == 0 else f"no channels or no sound in shape {shape}"
        raise InputError(f"{what}: got {told}, expected sound; is the file empty?")
    if not torch.isfinite(audio.waveform).all():
        raise InputError(f"{what}: got NaN or infinite samples, expected finite values in [-1, 1]; re-export the file")
    return audio
