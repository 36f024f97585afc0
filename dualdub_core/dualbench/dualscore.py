"""How well the speech and the background of one clip belong together: cosines of paired embeddings.

DualScore (paper, section 4.3) is the cosine of CASP's speech and audio embeddings of one clip; CASP itself is judged
by retrieval, how often the partner of a stem is among the k nearest of all. SIM is the same cosine of speaker
embeddings. The contrastive loss is CLIP's.

Letters: N pairs, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .features import as_pairs

_TIE = 1e-9
"""Cosines closer than this are equal; products of equal rows can differ in their last bit."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Share of stems, 0 to 1, whose partner is among the k most similar; chance is k / N.

    Attributes:
        speech_to_audio: by k.
        audio_to_speech: by k.
        num_pairs: N, the size of the gallery.
    """

    speech_to_audio: dict[int, float]
    audio_to_speech: dict[int, float]
    num_pairs: int


def paired_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Similarity of each pair: DualScore of CASP embeddings, SIM of speaker embeddings.

    Args:
        first: (N, D).
        second: (N, D), row by row the partners.

    Returns:
        (N,) float64 in [-1, 1]; the score of a set is the mean.

    Raises:
        InputError: shapes differ, values are not finite, or an embedding is all zeros.
    """
    first, second = _directions(first, second)
    return (first * second).sum(dim=1)


def retrieval(speech: Tensor, audio: Tensor, *, ks: Sequence[int] = (1, 3, 5)) -> Retrieval:
    """Find each stem's partner by cosine; a tie counts against the partner.

    Args:
        speech: embeddings (N, D).
        audio: embeddings (N, D), row by row the partners.
        ks: how many nearest are looked at.

    Raises:
        InputError: as `paired_cosines`, or a k below 1.
    """
    if min(ks, default=1) < 1:
        raise InputError(f"retrieval: got k = {min(ks)}, expected at least 1")
    speech, audio = _directions(speech, audio)
    similarity = speech @ audio.T
    return Retrieval(_top(similarity, ks), _top(similarity.T, ks), speech.shape[0])


def contrastive_loss(speech: Tensor, audio: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Mean cross-entropy of picking the partner, in both directions.

    Args:
        speech: embeddings (N, D), of any length.
        audio: embeddings (N, D), row by row the partners.
        logit_scale: inverse temperature.

    Returns:
        A scalar, differentiable, in nats; log N for embeddings that know nothing.
    """
    logits = logit_scale * F.normalize(speech, dim=1) @ F.normalize(audio, dim=1).T
    target = torch.arange(logits.shape[0], device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _directions(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    first, second = as_pairs(first, second, ("first embeddings", "second embeddings"))
    for embeddings in (first, second):
        zero = (embeddings == 0).all(dim=1).nonzero().flatten().tolist()
        if zero:
            raise InputError(f"embeddings: row {zero[0]} is all zeros and has no direction; check that clip")
    return F.normalize(first, dim=1), F.normalize(second, dim=1)


def _top(similarity: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """Share of rows whose diagonal entry is among the k largest, by k."""
    rivals = (similarity >= similarity.diagonal()[:, None] - _TIE).sum(dim=1) - 1
    return {k: float((rivals < k).double().mean()) for k in ks}
