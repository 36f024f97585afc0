"""A limiter that stems share: it looks ahead, holds the true peak of their sum below a ceiling, and recovers steadily.

Letters: C channels, N samples, M blocks of about a millisecond, the grid of the gains.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .envelopes import block_length, block_ms, factor, per_sample
from .loudness import block_peaks

_LOOK_AHEAD = 5  # blocks
_RELEASE_DB_PER_MS = 0.03
_MARGIN = 1e-6  # of the ceiling, for the rounding of float32 samples


def limit(speech: Tensor, background: Tensor, sample_rate: int, ceiling_db: float) -> tuple[Tensor, Tensor, float]:
    """Keep the true peak of `speech + background` at or below a ceiling, by one gain for both stems.

    It looks ahead, so the gain is already down when a peak comes, and recovers steadily afterwards.

    Args:
        speech: (C, N).
        background: (C, N).
        sample_rate: Hz.
        ceiling_db: dBTP.

    Returns:
        Both stems and the largest reduction in dB; untouched and 0 where nothing exceeds the ceiling.
    """
    ceiling = factor(ceiling_db)
    num_samples = speech.shape[-1]
    block = block_length(sample_rate)
    peaks = block_peaks(speech + background, block)
    if float(peaks.max()) <= ceiling:
        return speech, background, 0.0

    excess_db = 20 * (peaks.double() / ceiling).clamp(min=1).log10()  # (M,)
    release_db = _RELEASE_DB_PER_MS * block_ms(sample_rate)
    curve_db = _look_ahead(excess_db, _LOOK_AHEAD, release_db)
    reduction_db = float(curve_db.max())
    envelope = per_sample(curve_db, block, num_samples).mul_(-math.log(10) / 20).exp_().float()
    speech, background = speech * envelope, background * envelope

    # A gain that moves bends the curve between the samples a little: what that leaves is taken off the whole.
    # The margin grows, so that it ends even where huge stems cancel and rounding is all there is.
    margin = _MARGIN
    while (peak := float(block_peaks(speech + background, num_samples).max())) > ceiling:
        rest = ceiling / peak * (1 - margin)
        speech, background, reduction_db = (
            speech * rest,
            background * rest,
            reduction_db - 20 * math.log10(rest),
        )
        margin = min(0.5, 2 * margin)
    return speech, background, reduction_db


def _look_ahead(excess_db: Tensor, look_ahead: int, release_db: float) -> Tensor:
    """Gain reduction (M + 1,) at the borders of blocks that each need `excess_db` (M,).

    At both borders of a block it is at least what the block needs. It rises for `look_ahead` blocks before,
    and falls by `release_db` a block afterwards.
    """
    # Held for one more block on either side, since a filter's view of a peak reaches beyond its block.
    padded = F.pad(excess_db, (look_ahead + 2, look_ahead + 2))
    needed = padded.unfold(0, look_ahead + 4, 1).amax(dim=1)
    fall = release_db * torch.arange(len(needed), dtype=needed.dtype)
    held = (needed + fall).cummax(dim=0).values - fall
    return held.unfold(0, look_ahead + 1, 1).mean(dim=1)
