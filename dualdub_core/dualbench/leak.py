"""How much of one stem sounds in the other, by energy alone: no network, so any soundtrack can be asked.

Two answers. `leaked_share`: the share of a stem's energy that some linear filter of the other stem explains
(magnitude-squared coherence, weighted by power), so speech that was mixed into the background shows whatever room
and level it was mixed at. It says that two stems share sound and how much of each that is, not which way it went: in
bands where only the shared sound is, each explains the other. `joint_loudness`: whether both are loud at the same
moments (correlation of their levels over time), which also hears a background that mumbles along with words of its
own. Real stems are not exactly at 0: print them beside.

Letters: N samples, T windows, K frequencies.
"""

import math

import torch
from torch import Tensor

from ..audio import fit_length, to_mono, with_rate
from ..errors import InputError
from ..types import Audio, check_finite

_RATE = 16_000  # Hz
_WINDOW, _HOP = 512, 256  # samples, 32 ms every 16 ms
_FEWEST = 8  # windows; with fewer any two sounds seem to explain each other
_OVERLAP_LOSS = 0.75
"""Windows that overlap by half are not independent; this share of them is, for the bias below."""

_FRAME = 320  # samples, 20 ms
_FLOOR_DB = -60.0  # below the loudest frame; what is quieter is silence


def leaked_share(source: Audio, stem: Audio) -> float:
    """The share of `stem`'s energy that follows `source`, 0 to 1.

    The estimate's own bias (unrelated sounds seem to share 1 / T) is taken off.

    Args:
        source: one item (1, C, N), such as the speech.
        stem: one item (1, C, N), such as the background; rates and lengths may differ.

    Returns:
        0 where either is silent; NaN for less than about 0.15 s.

    Raises:
        InputError: more than one item, or samples that are not finite.
    """
    first, second = _mono(source, stem)
    count = (first.shape[0] - _WINDOW) // _HOP + 1
    if count < _FEWEST:
        return math.nan
    a, b = _spectrum(first), _spectrum(second)
    power_a, power_b = a.abs().square().mean(0), b.abs().square().mean(0)  # (K,)
    total = float(power_b.sum())
    if not total or not float(power_a.sum()):
        return 0.0
    cross = (a.conj() * b).mean(0).abs().square()
    explained = torch.where(power_a > power_a.max() * 1e-12, cross / power_a.clamp(min=1e-30), torch.zeros_like(cross))
    bias = 1 / (count * _OVERLAP_LOSS)
    return max(0.0, (float(explained.sum()) / total - bias) / (1 - bias))


def joint_loudness(first: Audio, second: Audio) -> float:
    """Correlation of two sounds' levels over time, -1 to 1; NaN where one of them never changes or is very short.

    Raises:
        InputError: more than one item, or samples that are not finite.
    """
    levels = [_levels(samples) for samples in _mono(first, second)]
    if levels[0].shape[0] < _FEWEST:
        return math.nan
    a, b = (level - level.mean() for level in levels)
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else math.nan


def _mono(first: Audio, second: Audio) -> tuple[Tensor, Tensor]:
    """Both as (N,) float64 at one rate, as long as the longer."""
    for audio in (first, second):
        check_finite(audio, "leak")
        if audio.waveform.shape[0] != 1:
            raise InputError(f"leak: got a batch of {audio.waveform.shape[0]} recordings, expected one at a time")
    both = [with_rate(to_mono(audio), _RATE) for audio in (first, second)]
    length = max(audio.num_samples for audio in both)
    a, b = (fit_length(audio, length).waveform[0, 0].double().cpu() for audio in both)
    return a, b


def _spectrum(samples: Tensor) -> Tensor:
    """(T, K)."""
    window = torch.hann_window(_WINDOW, dtype=samples.dtype)
    spectrum: Tensor = torch.fft.rfft(samples.unfold(0, _WINDOW, _HOP) * window)
    return spectrum


def _levels(samples: Tensor) -> Tensor:
    """Decibels below the loudest frame (T,); all 0 for silence."""
    power = samples[: samples.shape[0] // _FRAME * _FRAME].view(-1, _FRAME).square().mean(1)
    loudest = power.max() if power.numel() else power.new_zeros(())
    if not loudest > 0:
        return torch.zeros_like(power)
    return 10 * (power / loudest).clamp(min=10 ** (_FLOOR_DB / 10)).log10()
