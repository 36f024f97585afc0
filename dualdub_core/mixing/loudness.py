"""How loud sound is to people and to converters: integrated LUFS and true peak (ITU-R BS.1770-4).

B batch, C channels, N samples.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio import resample
from ..errors import InputError
from ..types import Audio, check_finite

MIN_SECONDS = 0.4
"""One gating block; shorter sound has no integrated loudness."""

_LOWEST_RATE = 8_000  # Hz; below it the K-weighting's corner frequencies come too near to half the rate
_MAX_CHANNELS = 5

_OVERSAMPLING = 4
_HALF_WIDTH = 12
_CHUNK = 2**16


def integrated_lufs(audio: Audio) -> Tensor:
    """Gated loudness of each item, float64 (B,); -inf for silence and for less than `MIN_SECONDS`.

    Channels are left, right, centre, left and right surround.

    Raises:
        InputError: more than five channels, or samples that are not finite.
    """
    import pyloudnorm

    check_finite(audio, "loudness")
    waveform, rate = audio.waveform, audio.sample_rate
    if waveform.shape[1] > _MAX_CHANNELS:
        raise InputError(f"loudness: got {waveform.shape[1]} channels, expected at most {_MAX_CHANNELS}; mix them down")
    if rate < _LOWEST_RATE:
        waveform, rate = resample(waveform, rate, _LOWEST_RATE), _LOWEST_RATE
    silent = torch.full((waveform.shape[0],), -math.inf, dtype=torch.float64)
    if waveform.shape[-1] < MIN_SECONDS * rate:
        return silent
    meter = pyloudnorm.Meter(rate)
    for item, samples in enumerate(waveform.detach().cpu().double()):
        # The meter would warn of an empty mean where no block passes the gate, and of log 0.
        if samples.any():
            silent[item] = float(meter.integrated_loudness(samples.T.numpy()))
    return silent


def true_peak_db(audio: Audio) -> Tensor:
    """Peak of each item between the samples as well as on them, dBTP, float64 (B,); -inf for silence.

    Read on a grid four times as fine, as the standard's annex 2 does, so it can miss the top of a wave by at
    most 0.7 dB near half the sample rate, by 0.2 dB below a quarter of the sample rate.

    Raises:
        InputError: samples that are not finite.
    """
    check_finite(audio, "true peak")
    peaks = [float(block_peaks(item, item.shape[-1]).max()) for item in audio.waveform]
    return 20 * torch.tensor(peaks, dtype=torch.float64).log10()


def block_peaks(waveform: Tensor, block: int) -> Tensor:
    """True peak of each block of samples, over all channels.

    Args:
        waveform: one item (C, N), N at least 1.
        block: samples per block; the last may be shorter.

    Returns:
        Amplitudes (ceil(N / block),) float32. What lies between two samples counts for the earlier one, what
        rings before the first or after the last for that one.
    """
    waveform = waveform.float()
    num_samples = waveform.shape[-1]
    peaks = waveform.abs().amax(dim=0)
    taps = _interpolation_taps().float().to(waveform.device)[:, None]  # (phases, 1, 2 * width)
    padded = F.pad(waveform, (_HALF_WIDTH, _HALF_WIDTH))[:, None]
    for start in range(0, num_samples + 1, _CHUNK):
        stop = min(start + _CHUNK, num_samples + 1)
        piece = padded[..., start : stop + 2 * _HALF_WIDTH - 1]
        between = F.conv1d(piece, taps).abs().amax(dim=(0, 1))  # entry j is before sample j
        if start == 0:
            peaks[0] = torch.maximum(peaks[0], between[0])
            between, start = between[1:], 1
        peaks[start - 1 : stop - 1] = torch.maximum(peaks[start - 1 : stop - 1], between)
    peaks = F.pad(peaks, (0, -num_samples % block))
    return peaks.reshape(-1, block).amax(dim=1)


def gain(audio: Audio, decibels: float) -> Audio:
    """The sound made louder (or, below 0, quieter) by `decibels`; 0 changes no bit."""
    return Audio(audio.waveform * 10 ** (decibels / 20), audio.sample_rate)


def _interpolation_taps() -> Tensor:
    """Hann-windowed sinc for the positions 1/4, 2/4 and 3/4 between samples, float64 (3, 2 * width)."""
    position = torch.arange(1, _OVERSAMPLING, dtype=torch.float64)[:, None] / _OVERSAMPLING
    distance = torch.arange(-_HALF_WIDTH + 1, _HALF_WIDTH + 1) - position
    taps = torch.sinc(distance) * torch.cos(distance * (math.pi / 2 / _HALF_WIDTH)).square()
    return taps / taps.sum(dim=1, keepdim=True)
