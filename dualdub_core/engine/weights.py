"""The weights that a step reads, found once a run: a module costs more to ask than a small layer to compute.

Letters: D width, V codebook size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..models.dualdub import DualDub

Product = Tensor | Callable[[Tensor], Tensor]
"""A projection without bias: its weights turned (in, out), or what computes it (int8, or a host that streams)."""

Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """Of one block of the language model."""

    attention_norm: Norm
    qkv: Product
    out: Product
    mlp_norm: Norm
    gate_up: Product
    down: Product


@dataclass(frozen=True, slots=True)
class StepWeights:
    """Of everything that a step does."""

    background: Tensor
    speech: Tensor
    background_norm: Norm
    speech_norm: Norm
    from_background: Product
    from_speech: Product
    aligner_out: Product
    layers: tuple[LayerWeights, ...]
    norm: Norm
    heads: Product

    @property
    def products(self) -> list[Product]:
        """All projections."""
        blocks = [p for layer in self.layers for p in (layer.qkv, layer.out, layer.gate_up, layer.down)]
        return [self.from_background, self.from_speech, self.aligner_out, *blocks, self.heads]

    @property
    def nbytes(self) -> int:
        """What a step reads of them."""
        return sum(int(product.nbytes) for product in self.products if hasattr(product, "nbytes"))

    @property
    def are_tensors(self) -> bool:
        """Whether all projections are plain weights, with nothing that computes in between."""
        return all(isinstance(product, Tensor) for product in self.products)

    @classmethod
    def of(cls, model: DualDub, device: torch.device) -> "StepWeights":
        """Those of a model that runs on `device`."""
        aligner, llama = model.aligner, model.llama
        product, norm = partial(_product, device=device), partial(_norm, device=device)
        return cls(
            background=model.background_embedding.weight.to(device),
            speech=model.speech_embedding.weight.to(device),
            background_norm=norm(aligner.background_norm),
            speech_norm=norm(aligner.speech_norm),
            from_background=product(aligner.from_background),
            from_speech=product(aligner.from_speech),
            aligner_out=product(aligner.out),
            layers=tuple(
                LayerWeights(
                    attention_norm=norm(block.get_submodule("attention_norm")),
                    qkv=product(block.get_submodule("qkv")),
                    out=product(block.get_submodule("out")),
                    mlp_norm=norm(block.get_submodule("mlp_norm")),
                    gate_up=product(block.get_submodule("gate_up")),
                    down=product(block.get_submodule("down")),
                )
                for block in llama.blocks
            ),
            norm=norm(llama.norm),
            heads=product(model.heads),
        )


def _product(linear: nn.Module, *, device: torch.device) -> Product:
    if isinstance(linear, nn.Linear) and linear.weight.device == device:
        return linear.weight.t()
    return linear


def _norm(norm: nn.Module, *, device: torch.device) -> Norm:
    assert isinstance(norm, nn.RMSNorm)
    assert norm.eps is not None
    weight = norm.weight.to(device)
    if device.type != "cpu" or weight.dtype != torch.float32:
        return partial(torch.rms_norm, normalized_shape=tuple(weight.shape), weight=weight, eps=norm.eps)
    # On a CPU torch composes this norm of many small calls; as a division by a length it is four.
    scaled = weight * math.sqrt(weight.numel())
    least = torch.full((1, 1), math.sqrt(norm.eps * weight.numel()))

    def by_length(x: Tensor) -> Tensor:
        length = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), least)
        return (x / length).mul_(scaled)

    return by_length
