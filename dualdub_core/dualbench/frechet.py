"""The distance between two sets of recordings, each seen as one Gaussian in a network's feature space.

FD is this distance of PANNs features, one row a clip; FAD of VGGish features, the 0.96 s patches of all clips one
after the other. Reference: audioldm_eval 8dc07ee, metrics/fid.py and fad.py (means, covariances over N - 1, matrix
square root). Its square root of a singular covariance product is slow and noisy; here the same trace is a sum
of singular values.

Letters: N M rows, D width.
"""

import math

import torch
from torch import Tensor

from .features import as_features


def frechet_distance(generated: Tensor, reference: Tensor) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), computed in float64.

    It depends on N where N is not much larger than D: compare systems on the same list of clips, and say N.

    Args:
        generated: features (N, D).
        reference: features (M, D).

    Returns:
        At least 0, without a unit; the smaller the better.

    Raises:
        InputError: fewer than two rows, other widths, or features that are not finite.
    """
    generated = as_features(generated, "generated features", min_rows=2)
    reference = as_features(reference, "reference features", min_rows=2, width=generated.shape[1])
    gap = (generated.mean(0) - reference.mean(0)).square().sum()
    first, second = _root(generated), _root(reference)
    # With S1 = A'A and S2 = B'B, the trace of (S1 S2)^(1/2) is the nuclear norm of A B'.
    trace = torch.linalg.svdvals(first @ second.T).sum()
    distance = gap + first.square().sum() + second.square().sum() - 2 * trace
    return max(0.0, float(distance))


def _root(features: Tensor) -> Tensor:
    """A matrix whose Gram matrix is the covariance, with at most D rows."""
    centred = (features - features.mean(0)) / math.sqrt(features.shape[0] - 1)
    if centred.shape[0] <= centred.shape[1]:
        return centred
    triangle: Tensor = torch.linalg.qr(centred, mode="r").R
    return triangle
