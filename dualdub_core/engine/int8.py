"""Projections with weights of 8 bits, for CPUs: a step of a large model costs what its weights' bytes cost to read.

Weights are scaled row by row once, inputs position by position as they come, both symmetric; the product of integers is
exact, so a row's result depends neither on the batch it is in nor on how many positions run at once. The kernel is
oneDNN's, which torch's own quantiser calls for x86 (VNNI or AMX). Letters: N positions, I and O widths.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..models.dualdub import DualDub

_LARGEST = 127
_LEAST = 1e-12  # of a scale: a row of zeros stays one


class Int8Linear(nn.Module):
    """In place of a linear layer without bias. It has no parameters: it cannot be trained, moved or saved."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        assert linear.bias is None
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=_LEAST) / _LARGEST
        self.shape: tuple[int, int] = (weight.shape[0], weight.shape[1])
        # Not buffers: a packed weight has no storage to copy, move or save.
        self._scale: Tensor = scale
        self._zero: Tensor = torch.zeros(len(scale), dtype=torch.int64)
        self._packed: Tensor = torch.ops.onednn.qlinear_prepack((weight / scale[:, None]).round().to(torch.int8), None)

    @property
    def nbytes(self) -> int:
        """Of the weights."""
        return self.shape[0] * self.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O), in the input's dtype."""
        flat = x.reshape(-1, self.shape[1]).float()
        scale = flat.abs().amax(-1, keepdim=True).clamp_(min=_LEAST).div_(_LARGEST)
        out = multiplied((flat / scale).round_().to(torch.int8), self._packed, self._scale, self._zero).mul_(scale)
        return out.view(*x.shape[:-1], -1).to(x.dtype)

    def extra_repr(self) -> str:
        """Widths, for people."""
        return f"in_features={self.shape[1]}, out_features={self.shape[0]}"


def multiplied(x: Tensor, packed: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Integers (N, I) times packed weights (O, I), each output scaled; float32 (N, O)."""
    out: Tensor = torch.ops.onednn.qlinear_pointwise(
        x, 1.0, 0, packed, scale, zero, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return out


@lru_cache(maxsize=1)
def int8_is_exact() -> bool:
    """Whether this torch on this CPU multiplies integers of 8 bits without error.

    Found out, not looked up: a CPU without VNNI may saturate in between, and not every build has the kernel.
    """
    if not hasattr(torch.ops.onednn, "qlinear_prepack") or not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-_LARGEST, _LARGEST + 1, (3, 256), generator=generator, dtype=torch.int8)
    weight = torch.randint(-_LARGEST, _LARGEST + 1, (64, 256), generator=generator, dtype=torch.int8)
    x[0], weight[0], weight[1] = _LARGEST, _LARGEST, -_LARGEST  # the largest sums there can be
    try:
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        got = multiplied(x, packed, torch.ones(64), torch.zeros(64, dtype=torch.int64))
    except (RuntimeError, NotImplementedError):
        return False
    return torch.equal(got, (x.long() @ weight.long().T).float())


def to_int8(model: DualDub) -> DualDub:
    """Give a model's steps weights of 8 bits, in place; heads, norms and what runs once a clip keep theirs.

    Args:
        model: on the CPU, in the dtype that what stays is computed in.

    Raises:
        ConfigError: this CPU or this torch cannot, or the model is on another device.
    """
    if model.heads.weight.device.type != "cpu":
        raise ConfigError(f"precision: int8 is for CPUs, the model is on {model.heads.weight.device}; use bf16")
    if not int8_is_exact():
        raise ConfigError("precision: this CPU or this torch has no exact int8 products; use bf16 or fp32")
    for part, names in (
        (model.aligner, ("from_background", "from_speech", "out")),
        *((block, ("qkv", "out", "gate_up", "down")) for block in model.llama.blocks),
    ):
        for name in names:
            setattr(part, name, Int8Linear(getattr(part, name)))
    return model
