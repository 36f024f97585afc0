"""How sure and how various a classifier finds the generated clips: the inception score.

Reference: audioldm_eval 8dc07ee, metrics/isc.py, on PANNs logits of 527 AudioSet classes.

Letters: N clips, V classes.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .features import as_features

_SHUFFLE_SEED = 2020  # of the reference; another seed is another figure


@dataclass(frozen=True, slots=True)
class InceptionScore:
    """Mean and population standard deviation over the splits, 1 to V; nan where a split would be empty."""

    mean: float
    std: float
    num_clips: int


def inception_score(logits: Tensor, *, num_splits: int = 10) -> InceptionScore:
    """exp(mean over clips of KL(p(class | clip) || mean p)) for each split of the shuffled clips.

    Args:
        logits: before the softmax, (N, V).
        num_splits: parts that the clips are dealt into; with fewer clips the score is nan, as the reference's is.

    Raises:
        InputError: no rows, values that are not finite, or no splits.
    """
    if num_splits < 1:
        raise InputError(f"inception score: got {num_splits} splits, expected at least 1")
    log_p = torch.log_softmax(as_features(logits, "logits"), dim=1)
    num_clips = log_p.shape[0]
    if num_clips < num_splits:
        return InceptionScore(math.nan, math.nan, num_clips)
    order = np.random.RandomState(_SHUFFLE_SEED).permutation(num_clips)
    log_p = log_p[torch.from_numpy(order)]
    scores = []
    for split in range(num_splits):
        part = log_p[split * num_clips // num_splits : (split + 1) * num_clips // num_splits]
        log_mean = part.logsumexp(dim=0) - math.log(part.shape[0])
        scores.append((part.exp() * (part - log_mean)).sum(dim=1).mean().exp())
    by_split = torch.stack(scores)
    return InceptionScore(float(by_split.mean()), float(by_split.std(correction=0)), num_clips)
