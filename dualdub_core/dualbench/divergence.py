"""How differently a classifier hears the generated clip and the real one of the same video: KL divergence.

Two tools publish figures under this name. They agree on vague predictions and not on confident ones (10.9 and 16.1
on one set), so every figure here carries its tool and its number of pairs.

Letters: N pairs, V classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .features import as_pairs

Tool = Literal["audioldm_eval", "av_bench"]
"""audioldm_eval 8dc07ee (metrics/kl.py), the paper's: log(p + 1e-6); av-benchmark 050a5cd, MMAudio's: exact."""

_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Divergence:
    """KL(real || generated) in nats, mean over pairs; at least 0 but for the 1e-6 of audioldm_eval.

    Attributes:
        softmax: classes exclude each other; what papers print.
        sigmoid: classes are independent; only the term of a class that sounds, as both tools have it.
        tool: whose definition.
        num_pairs: N.
        missing: names of real clips that have no generated one, left out of the mean.
    """

    softmax: float
    sigmoid: float
    tool: Tool
    num_pairs: int
    missing: tuple[str, ...] = ()


def kl_divergence(generated: Tensor, reference: Tensor, *, tool: Tool = "audioldm_eval") -> Divergence:
    """KL of pairs that stand in the same row.

    Args:
        generated: logits (N, V).
        reference: logits (N, V) of the real clips.
        tool: whose definition.

    Raises:
        InputError: shapes differ, no pairs, values that are not finite, or an unknown tool.
    """
    if tool not in get_args(Tool):
        raise InputError(f"KL: got tool {tool!r}, expected one of {', '.join(get_args(Tool))}")
    generated, reference = as_pairs(generated, reference, ("generated logits", "reference logits"))
    softmax = _mean_kl(F.log_softmax(generated, dim=1), F.log_softmax(reference, dim=1), tool)
    sigmoid = _mean_kl(F.logsigmoid(generated), F.logsigmoid(reference), tool)
    return Divergence(softmax, sigmoid, tool, generated.shape[0])


def kl_divergence_by_name(
    generated: Mapping[str, Tensor], reference: Mapping[str, Tensor], *, tool: Tool = "audioldm_eval"
) -> Divergence:
    """KL of the clips that have the same name, whatever their order.

    audioldm_eval's answer to folders that share no names is -1; here that is an error.

    Args:
        generated: logits (V,) by clip name.
        reference: logits (V,) by clip name.
        tool: whose definition.

    Raises:
        InputError: no name on both sides, or as `kl_divergence`.
    """
    shared = [name for name in reference if name in generated]
    if not shared:
        raise InputError(
            f"KL: got {len(generated)} generated and {len(reference)} reference clips without one name in common, "
            "expected pairs of equal names; rename the files"
        )
    result = kl_divergence(_stacked(generated, shared), _stacked(reference, shared), tool=tool)
    missing = tuple(name for name in reference if name not in generated)
    return Divergence(result.softmax, result.sigmoid, tool, result.num_pairs, missing)


def _stacked(logits: Mapping[str, Tensor], names: list[str]) -> Tensor:
    width = logits[names[0]].shape
    for name in names:
        if logits[name].shape != width:
            raise InputError(f"KL: {name} has logits of shape {tuple(logits[name].shape)}, expected {tuple(width)}")
    return torch.stack([logits[name] for name in names])


def _mean_kl(log_generated: Tensor, log_reference: Tensor, tool: Tool) -> float:
    if tool == "audioldm_eval":
        log_generated = (log_generated.exp() + _EPSILON).log()
    return float(F.kl_div(log_generated, log_reference, reduction="batchmean", log_target=True))
