"""A host's layers in place of torch's own, so that it may keep weights elsewhere and stream them as they are used.

The host gives a namespace such as ComfyUI's `comfy.ops`: subclasses of torch's layers, of the same names, whose
forward fetches weight and bias to where its input is. They need no state of their own: a layer changes its class as
it stands, with its parameters and their names, whoever built it. What is not exactly one of torch's layers (a single
parameter, an LSTM, another package's variant) is small and stays on the device, where `settle` puts it.
"""

import torch
from torch import Tensor, nn

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def host(module: nn.Module, ops: object) -> nn.Module:
    """Give every layer of a model to the host that has its like; the model itself is returned.

    Args:
        module: loaded, of any of our models.
        ops: with some of Linear, Conv1d, Conv2d, ConvTranspose1d, Embedding, LayerNorm, GroupNorm and RMSNorm.
    """
    for part in module.modules():
        if type(part) in _LAYERS and any(True for _ in part.parameters(recurse=False)):
            layer = getattr(ops, type(part).__name__, None)
            if layer is not None:
                assert issubclass(layer, type(part)), f"{layer} cannot stand for {type(part)}"
                part.__class__ = layer
                part.is_hosted = True  # type: ignore[assignment]
                if not hasattr(part, "bias"):
                    # Of an embedding or a norm too ComfyUI asks for it.
                    part.bias = None  # type: ignore[assignment]
    if not isinstance(getattr(module, "place", None), Tensor):
        module.register_buffer("place", torch.empty(0), persistent=False)
    return module


def settle(module: nn.Module, device: torch.device | str) -> nn.Module:
    """Move to a device what no host streams: of a model without a host everything, as `module.to` does."""
    for part in module.modules():
        if getattr(part, "is_hosted", False):
            continue
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(parameter.data.to(device), requires_grad=parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, buffer.to(device))
    return module


def place_of(module: nn.Module) -> torch.device:
    """The device on which a model works; a hosted layer's weights may be on another."""
    place = getattr(module, "place", None)
    return place.device if isinstance(place, Tensor) else next(module.parameters()).device
