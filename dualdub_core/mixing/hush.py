"""Speech that is silent where nobody speaks, whatever a decoder makes of the codes of silence.

Letters: B batch, C channels, N samples.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..timing import num_samples

_AROUND = 0.05  # seconds before and after a span that are heard: decoders smear sound over neighbouring frames
_RAMP = 0.01  # seconds of fading, outside of that


def hushed(waveform: Tensor, sample_rate: int, spans: Sequence[tuple[float, float]]) -> Tensor:
    """The waveform (B, C, N) where it may be heard, with short fades, and exact silence elsewhere.

    Args:
        waveform: of the whole clip.
        sample_rate: Hz.
        spans: seconds from which to which it may be heard.
    """
    times = torch.arange(waveform.shape[-1], dtype=torch.float64) / sample_rate
    gain = torch.zeros(waveform.shape[-1], dtype=torch.float64)
    margin = num_samples(_AROUND + _RAMP, sample_rate)
    for start, end in spans:
        near = slice(max(0, round(start * sample_rate) - margin), round(end * sample_rate) + margin + 1)
        outside = torch.maximum(start - times[near], times[near] - end) - _AROUND
        fade = (1 - outside / _RAMP).clamp(0, 1)
        gain[near] = torch.maximum(gain[near], 0.5 - 0.5 * torch.cos(torch.pi * fade))
    return waveform * gain.to(waveform)
