"""Loudness of chosen moments and how much it ranges: means of K-weighted power (ITU-R BS.1770-4, EBU Tech 3342).

The weighting is pyloudnorm's, the same that integrated loudness is measured with.
Letters: B batch, C channels, N samples, M windows.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..audio import resample
from ..errors import InputError
from ..types import Audio, check_finite

GATE_LUFS = -70.0
"""Quieter is silence to the standard."""

_LOWEST_RATE = 8_000  # Hz, as in `loudness`
_OFFSET = -0.691
_CHANNELS = (1.0, 1.0, 1.0, 1.41, 1.41)
_SHELF, _HIGH_PASS = (4.0, 2**-0.5, 1500.0), (0.0, 0.5, 38.0)  # dB, Q, Hz

_WINDOW, _HOP = 3.0, 0.1  # seconds of short-term loudness
_BELOW = 20.0  # LU below the mean; quieter windows do not count
_LOW, _HIGH = 0.10, 0.95


def lufs_over(waveform: Tensor, sample_rate: int, spans: Sequence[tuple[float, float]]) -> float:
    """Loudness over chosen moments, without gates: what a dialogue gate does when it is told where dialogue is.

    Args:
        waveform: one item (C, N), at most five channels.
        sample_rate: Hz.
        spans: seconds from which to which it is measured; overlaps count once.

    Returns:
        LUFS; -inf for silence or no moments.

    Raises:
        InputError: more than five channels.
    """
    power, rate = _weighted_power(waveform, sample_rate)
    wanted = torch.zeros(power.shape[0], dtype=torch.bool)
    for start, end in spans:
        wanted[round(start * rate) : round(end * rate)] = True
    mean = float(power[wanted].mean()) if bool(wanted.any()) else 0.0
    return _OFFSET + 10 * math.log10(mean) if mean > 0 else -math.inf


def loudness_range(audio: Audio) -> Tensor:
    """LRA of each item in LU, float64 (B,); NaN for less than 3 s and for what is never above -70 LUFS.

    From windows of 3 s, ten a second, the 10th to the 95th percentile. In clips of less than a minute it says
    little, as the EBU notes.

    Raises:
        InputError: more than five channels, or samples that are not finite.
    """
    check_finite(audio, "loudness range")
    return torch.tensor([_range(item, audio.sample_rate) for item in audio.waveform], dtype=torch.float64)


def _range(waveform: Tensor, sample_rate: int) -> float:
    power, rate = _weighted_power(waveform, sample_rate)
    width = round(_WINDOW * rate)
    if power.shape[0] < width:
        return math.nan
    total = torch.nn.functional.pad(power.cumsum(0), (1, 0))
    starts = torch.arange(0, power.shape[0] - width + 1, round(_HOP * rate))
    windows = ((total[starts + width] - total[starts]) / width).clamp(min=1e-30)  # (M,)
    levels = _OFFSET + 10 * windows.log10()
    audible = levels >= GATE_LUFS
    if not bool(audible.any()):
        return math.nan
    mean = _OFFSET + 10 * math.log10(float(windows[audible].mean()))
    kept = levels[audible & (levels >= mean - _BELOW)]
    return float(kept.quantile(_HIGH) - kept.quantile(_LOW))


def _weighted_power(waveform: Tensor, sample_rate: int) -> tuple[Tensor, int]:
    """K-weighted squares of (C, N), summed over the channels, float64 (N,), and their rate."""
    from pyloudnorm.iirfilter import IIRfilter

    if waveform.shape[0] > len(_CHANNELS):
        raise InputError(f"loudness: got {waveform.shape[0]} channels, expected at most 5; mix them down")
    if sample_rate < _LOWEST_RATE:
        waveform, sample_rate = resample(waveform, sample_rate, _LOWEST_RATE), _LOWEST_RATE
    samples = waveform.detach().cpu().double().numpy()
    for settings, kind in ((_SHELF, "high_shelf"), (_HIGH_PASS, "high_pass")):
        weighting = IIRfilter(*settings, sample_rate, kind)
        samples = weighting.apply_filter(samples)
    weights = torch.tensor(_CHANNELS[: waveform.shape[0]], dtype=torch.float64)
    return weights @ torch.from_numpy(samples).square(), sample_rate
