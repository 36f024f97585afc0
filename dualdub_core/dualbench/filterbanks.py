"""The three mel filter banks of the judges' networks; they share a name and no number.

Letters: F bins of a spectrum, M bands.
"""

import math

import torch
from torch import Tensor


def slaney_bank(*, sample_rate: int, n_fft: int, n_mels: int, low: float, high: float) -> Tensor:
    """Librosa's default: linear below 1 kHz, logarithmic above, triangles in Hz of equal area.

    Args:
        sample_rate: Hz.
        n_fft: samples of the transform; F = n_fft // 2 + 1.
        n_mels: M.
        low: Hz, where the first band begins.
        high: Hz, where the last band ends.

    Returns:
        Weights (F, M) float64.
    """
    corners = _slaney_hz(torch.linspace(_slaney_mel(low), _slaney_mel(high), n_mels + 2, dtype=torch.float64))
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    return _triangles(frequencies, corners) * (2 / (corners[2:] - corners[:-2]))


def htk_bank(*, sample_rate: int, n_fft: int, n_mels: int, low: float, high: float) -> Tensor:
    """VGGish's: triangles of height 1 that are straight on the HTK mel scale, nothing for 0 Hz.

    Args and result as `slaney_bank`.
    """
    bank = _straight_in_mel(sample_rate, n_fft, n_mels, low, high)
    bank[0] = 0
    return bank


def kaldi_bank(*, sample_rate: int, n_fft: int, n_mels: int, low: float, high: float) -> Tensor:
    """Kaldi's: as HTK's, but nothing for half the sample rate.

    Args and result as `slaney_bank`.
    """
    bank = _straight_in_mel(sample_rate, n_fft, n_mels, low, high)
    bank[-1] = 0
    return bank


def _straight_in_mel(sample_rate: int, n_fft: int, n_mels: int, low: float, high: float) -> Tensor:
    corners = torch.linspace(_htk_mel(low), _htk_mel(high), n_mels + 2, dtype=torch.float64)
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    return _triangles(1127 * (1 + frequencies / 700).log(), corners)


def _triangles(positions: Tensor, corners: Tensor) -> Tensor:
    """Height at each position (F,) of the triangles between every second corner (M + 2,)."""
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (positions[:, None] - left) / (centre - left)
    falling = (right - positions[:, None]) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0)


def _htk_mel(frequency: float) -> float:
    return 1127 * math.log(1 + frequency / 700)


_SLANEY_HZ = 200 / 3  # of one mel below the knee
_SLANEY_KNEE = 15.0  # mel, at 1 kHz
_SLANEY_STEP = math.log(6.4) / 27  # of the logarithm, per mel above the knee


def _slaney_mel(frequency: float) -> float:
    mel = frequency / _SLANEY_HZ
    return mel if mel < _SLANEY_KNEE else _SLANEY_KNEE + math.log(frequency / 1000) / _SLANEY_STEP


def _slaney_hz(mel: Tensor) -> Tensor:
    above = 1000 * ((mel - _SLANEY_KNEE) * _SLANEY_STEP).exp()
    return torch.where(mel < _SLANEY_KNEE, mel * _SLANEY_HZ, above)
