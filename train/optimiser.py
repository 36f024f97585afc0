"""Adam and its schedule (paper, section 5.2)."""

import math
from typing import Any

import torch
from torch import nn

from .config import OptimiserConfig


def rate_at(update: int, num_updates: int, config: OptimiserConfig) -> float:
    """Learning rate of an update: linear from `min_lr` to `max_lr`, then a cosine back to `min_lr` at the last one."""
    if update < config.warmup:
        return config.min_lr + (config.max_lr - config.min_lr) * (update + 1) / config.warmup
    remaining = max(1, num_updates - 1 - config.warmup)
    share = min(1.0, (update - config.warmup) / remaining)
    return config.min_lr + (config.max_lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * share))


def set_rate(optimiser: Any, rate: float) -> None:  # noqa: ANN401, torch's or accelerate's
    """Give every group the rate. The schedule is not prepared by accelerate, which would step it once a process."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def make_optimiser(parameters: list[nn.Parameter], config: OptimiserConfig) -> torch.optim.Optimizer:
    """Adam, with decoupled weight decay where there is any."""
    betas = (config.betas[0], config.betas[1])
    return torch.optim.AdamW(
        parameters, lr=config.max_lr, betas=betas, eps=config.eps, weight_decay=config.weight_decay, fused=True
    )
