"""Gains that move: known at the borders of blocks of about a millisecond, on straight lines between.

Letters: N samples, M blocks.
"""

import torch
from torch import Tensor


def block_length(sample_rate: int) -> int:
    """Samples of a block."""
    return max(1, round(sample_rate / 1000))


def block_ms(sample_rate: int) -> float:
    """Milliseconds that a block lasts."""
    return 1000 * block_length(sample_rate) / sample_rate


def per_sample(borders: Tensor, block: int, num_samples: int) -> Tensor:
    """Values (N,) on straight lines between the values (M + 1,) at the borders of blocks."""
    weight = (torch.arange(block, dtype=borders.dtype) + 0.5) / block
    return torch.lerp(borders[:-1, None], borders[1:, None], weight).reshape(-1)[:num_samples]


def factor(decibels: float) -> float:
    """What a gain in decibels multiplies samples with."""
    return float(10 ** (decibels / 20))
