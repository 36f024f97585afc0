"""Initial weights that depend on the data: every convolution's output gets a deviation of 1 (LSUV, Mishkin 2015).

Sound is quiet: with torch's default, activations shrink from layer to layer until ELU and snake are all but linear,
and a linear network cannot see a magnitude. The codec's encoder then learns nothing for hundreds of updates.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_SMALLEST = 1e-6


@torch.no_grad()
def scale_to_unit(module: nn.Module, run: Callable[[], object]) -> None:
    """Scale the convolutions of `module`, in the order in which `run` calls them."""
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    done: set[int] = set()

    def scale(layer: nn.Module, _: Any, output: Tensor) -> Tensor | None:  # noqa: ANN401
        if id(layer) in done:
            return None
        done.add(id(layer))
        size = output.std().clamp(min=_SMALLEST)
        for parameter in layer.parameters():
            parameter.div_(size)
        return output.div(size)

    handles = [layer.register_forward_hook(scale) for layer in convolutions]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
