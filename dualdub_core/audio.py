"""Sound as tensors: change its rate, channels and length, and see it as a log-mel spectrogram.

Resampling gives what torchaudio's `Resample` gives with its defaults.
Letters: B batch, C channels, N samples, T frames.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ConfigError, InputError
from .types import Audio

_LOWPASS_WIDTH = 6
_ROLLOFF = 0.99
_WORKING_SET = 2**22  # numbers per chunk of a long resampling, whatever its length


@dataclass(frozen=True, kw_only=True, slots=True)
class MelConfig:
    """A log-mel spectrogram: magnitudes through triangles of equal height, spaced on the HTK scale.

    Attributes:
        sample_rate: Hz.
        n_fft: samples per Hann window.
        hop_length: samples from one frame to the next.
        n_mels: bands between 0 Hz and half the sample rate.
        floor: smallest magnitude before the logarithm.
    """

    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int
    floor: float

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.hop_length, self.n_mels) <= 0 or self.floor <= 0:
            raise ConfigError(
                f"mel: {self.sample_rate=}, {self.hop_length=}, {self.n_mels=} and {self.floor=} must be positive"
            )
        if self.n_fft < 2 or self.hop_length > self.n_fft:
            raise ConfigError(f"mel: {self.n_fft=} must be at least 2 and at least {self.hop_length=}")

    @classmethod
    def paper(cls) -> "MelConfig":
        """80 bands at 24 kHz, 93.75 frames a second; the paper names a mel spectrogram and no more."""
        return cls(sample_rate=24_000, n_fft=1024, hop_length=256, n_mels=80, floor=1e-5)

    @classmethod
    def mini(cls) -> "MelConfig":
        """The same: a spectrogram costs nothing next to the smallest model."""
        return cls.paper()

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording; the first is centred on sample 0."""
        return num_samples // self.hop_length + 1


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Change the sample rate with a Hann-windowed sinc.

    Memory beside input and output does not grow with their length, nor with how odd the ratio is.

    Args:
        waveform: (..., N) floating point.
        source_rate: Hz.
        target_rate: Hz.

    Returns:
        (..., ceil(N * target_rate / source_rate)); `waveform` itself where the rates are equal.

    Raises:
        InputError: a rate is not positive.
    """
    if source_rate <= 0 or target_rate <= 0:
        raise InputError(f"resampling: got {source_rate} Hz to {target_rate} Hz, expected positive rates")
    if source_rate == target_rate:
        return waveform
    divisor = math.gcd(source_rate, target_rate)
    source, target = source_rate // divisor, target_rate // divisor
    dtype = torch.promote_types(waveform.dtype, torch.float32)
    taps = _sinc_taps(source, target).to(dtype).to(waveform.device)
    num_taps = taps.shape[1]

    rows = waveform.reshape(math.prod(waveform.shape[:-1]), waveform.shape[-1])
    num_out = -(-rows.shape[1] * target // source)
    out = rows.new_empty(rows.shape[0], num_out)
    chunk = max(1, _WORKING_SET // num_taps)
    for start in range(0, num_out, chunk):
        stop = min(start + chunk, num_out)
        index = torch.arange(start, stop, device=rows.device)
        # Output n lies at n * source / target of the input, at or after the sample `before`.
        before = (index * source).div(target, rounding_mode="floor")
        first = start * source // target - num_taps // 2 + 1
        last = (stop - 1) * source // target + num_taps // 2
        weights = taps[index % target]
        for row, result in zip(rows, out, strict=True):
            piece = _zero_extended(row, first, last + 1).to(dtype)
            windows = piece.unfold(0, num_taps, 1)[before - before[0]]
            result[start:stop] = (windows * weights).sum(-1)
    return out.reshape(*waveform.shape[:-1], num_out)


def to_mono(audio: Audio) -> Audio:
    """The mean of the channels, (B, 1, N)."""
    return Audio(audio.waveform.mean(dim=1, keepdim=True), audio.sample_rate)


def with_rate(audio: Audio, sample_rate: int) -> Audio:
    """The same sound at another rate in Hz."""
    return Audio(resample(audio.waveform, audio.sample_rate, sample_rate), sample_rate)


def fit_length(audio: Audio, num_samples: int) -> Audio:
    """Cut, or extend with silence, to exactly `num_samples` per channel."""
    waveform = audio.waveform[..., :num_samples]
    return Audio(F.pad(waveform, (0, num_samples - waveform.shape[-1])), audio.sample_rate)


def log_mel(waveform: Tensor, config: MelConfig) -> Tensor:
    """Natural logarithm of the mel magnitudes.

    Frame t is centred on sample t * hop_length; the ends are mirrored.

    Args:
        waveform: (B, N) at `config.sample_rate`.
        config: of the spectrogram.

    Returns:
        (B, T, n_mels) with T = N // hop_length + 1.

    Raises:
        InputError: there are no samples.
    """
    num_samples = waveform.shape[-1]
    if num_samples == 0:
        raise InputError("mel spectrogram: got 0 samples, expected sound; is the recording empty?")
    # A mirror needs more samples than it shows: shorter sound is extended with silence.
    waveform = F.pad(waveform, (0, max(0, config.n_fft // 2 + 1 - num_samples)))
    window = torch.hann_window(config.n_fft, device=waveform.device, dtype=waveform.dtype)
    spectrum = torch.stft(
        waveform,
        config.n_fft,
        config.hop_length,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )[..., : config.num_frames(num_samples)]
    bands = mel_filters(config).to(waveform.device, waveform.dtype)
    return (spectrum.abs().mT @ bands).clamp(min=config.floor).log()


def mel_filters(config: MelConfig) -> Tensor:
    """Weight of each frequency in each band, float32 (n_fft // 2 + 1, n_mels): triangles of height 1."""
    nyquist = config.sample_rate / 2
    top = 2595 * math.log10(1 + nyquist / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, config.n_mels + 2, dtype=torch.float64) / 2595) - 1)
    frequencies = torch.linspace(0, nyquist, config.n_fft // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (frequencies - left) / (centre - left)
    falling = (right - frequencies) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0).float()


def _sinc_taps(source: int, target: int) -> Tensor:
    """The filter for each position that an output can have between inputs, float64 (target, K taps).

    Only the taps under the window, so an odd ratio such as 44101:24000 costs no more than 147:80.
    """
    cutoff = min(1.0, target / source) * _ROLLOFF
    half = math.ceil(_LOWPASS_WIDTH / cutoff)
    phase = (torch.arange(target) * source % target).double()[:, None] / target
    distance = (torch.arange(-half + 1, half + 1) - phase) * cutoff
    distance = distance.clamp(-_LOWPASS_WIDTH, _LOWPASS_WIDTH)
    window = torch.cos(distance * (math.pi / 2 / _LOWPASS_WIDTH)).square()
    return torch.sinc(distance) * window * cutoff


def _zero_extended(samples: Tensor, start: int, stop: int) -> Tensor:
    """`samples[start:stop]` of a signal (N,) that is zero before and after."""
    inside = samples[max(0, start) : max(0, stop)]
    left = max(0, min(-start, stop - start))
    return F.pad(inside, (left, stop - start - left - inside.shape[0]))
