"""Published Oobleck weights, Stable Audio's VAE and its kin, in either of their two namings."""

import math
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import fill, read_published
from ..errors import CheckpointError, ConfigError, some_of
from ..models.oobleck import Oobleck, OobleckConfig

SAMPLE_RATES = {2048: 44_100, 1920: 48_000}
"""Hop length -> Hz: Stable Audio 2.0 and Open 1.0, ACE-Step 1.5. The files do not say their rate."""

WRAPPERS: dict[str, tuple[str, ...]] = {
    "": (),
    "model.": (),
    "pretransform.model.": ("model.", "conditioner."),
    "vae.": ("model.", "text_encoders."),
    "autoencoder.": ("autoencoder_ema.", "discriminator.", "losses_", "sdstft.", "lrstft."),
}
"""Prefix of the autoencoder -> prefixes of what lies beside it and is dropped; anything else is refused.

In this order: the autoencoder alone, a pretransform, a whole Stable Audio checkpoint, a bundle saved by
ComfyUI, a training run of stable-audio-tools.
"""

_PARTS = {
    "encoder": ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1"),
    "decoder": ("snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3"),
}
_UNIT_PARTS = ("snake1", "conv1", "snake2", "conv2")
_FIRST_PARTS = ("layers", "block", "conv1")
_DOWN = re.compile(r"encoder\.layers\.(\d+)\.layers\.4\.")


def load_oobleck(
    path: Path | str,
    *,
    sample_rate: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Oobleck:
    """Load published weights; sizes are read from the shapes, weight norm is folded in.

    Args:
        path: `.safetensors`, `.ckpt`, `.pt` or `.bin` in the naming of stable-audio-tools (and ComfyUI) or
            of diffusers, alone or inside one of `WRAPPERS`.
        sample_rate: Hz; by the hop length (`SAMPLE_RATES`) when None.
        device: where the tensors go.
        dtype: of the tensors.

    Raises:
        CheckpointError: the file is damaged, hostile, incomplete or another architecture, or its sample rate
            is neither known nor given.
    """
    path = Path(path)
    state = {_older_weight_norm(str(name)): tensor for name, tensor in read_published(path).items()}
    state = _unwrapped(state, path.name)
    if any(name.startswith("encoder.layers.") for name in state):
        state = _renamed(state, path.name)
    state = {name: tensor.to(device, dtype) for name, tensor in _folded(state, path.name).items()}
    config = _config_of(state, sample_rate, path.name)
    with torch.device("meta"):
        vae = Oobleck(config)
    fill(vae, state, path.name)
    return vae


def _unwrapped(state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Only the autoencoder, without its prefix."""
    for prefix, dropped in WRAPPERS.items():
        marks = tuple(f"{prefix}{side}.{part}." for side, part in product(_PARTS, _FIRST_PARTS))
        if not any(name.startswith(marks) for name in state):
            continue
        kept = {name for name in state if name.startswith((f"{prefix}encoder.", f"{prefix}decoder."))}
        foreign = sorted(name for name in set(state) - kept if not name.startswith(dropped))
        if foreign:
            raise CheckpointError(f"{what}: unexpected {some_of(foreign)}; the file belongs to another model")
        return {name.removeprefix(prefix): state[name] for name in kept}
    raise CheckpointError(
        f"{what}: not an Oobleck autoencoder, its tensors are {some_of(sorted(state)) or 'none'}; "
        "expected Stable Audio's VAE as stable-audio-tools, ComfyUI or diffusers store it"
    )


def _older_weight_norm(name: str) -> str:
    """The name that torch gave before parametrizations; ComfyUI saves the newer ones."""
    name = name.replace(".parametrizations.weight.original0", ".weight_g")
    return name.replace(".parametrizations.weight.original1", ".weight_v")


def _renamed(state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """From the numbered layers of stable-audio-tools to our names."""
    names = _layer_names(len({match[1] for match in map(_DOWN.match, state) if match}))
    split = {name: name.rpartition(".") for name in state}
    foreign = sorted(name for name, (layer, _, _) in split.items() if layer not in names)
    if foreign:
        raise CheckpointError(f"{what}: unexpected {some_of(foreign)}; the file belongs to another model")
    return {f"{names[layer]}.{leaf}": state[name] for name, (layer, _, leaf) in split.items()}


def _layer_names(num_blocks: int) -> dict[str, str]:
    """Layer of stable-audio-tools -> ours."""
    names = {}
    for side, parts in _PARTS.items():
        names[f"{side}.layers.0"] = f"{side}.conv1"
        names[f"{side}.layers.{num_blocks + 1}"] = f"{side}.snake1"
        names[f"{side}.layers.{num_blocks + 2}"] = f"{side}.conv2"
        for block, (number, part) in product(range(num_blocks), enumerate(parts)):
            theirs, ours = f"{side}.layers.{block + 1}.layers.{number}", f"{side}.block.{block}.{part}"
            if part.startswith("res_unit"):
                names.update({f"{theirs}.layers.{i}": f"{ours}.{unit}" for i, unit in enumerate(_UNIT_PARTS)})
            else:
                names[theirs] = ours
    return names


def _folded(state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Plain weights in place of weight norm's pairs, and flat snakes."""
    layers = {name.rpartition(".")[0] for name in state if name.endswith((".weight_g", ".weight_v"))}
    folded = {}
    for layer in sorted(layers):
        pair = f"{layer}.weight_g", f"{layer}.weight_v"
        missing = [name for name in pair if name not in state]
        if missing or f"{layer}.weight" in state:
            problem = f"missing {missing[0]}" if missing else f"unexpected {layer}.weight beside {pair[0]}"
            raise CheckpointError(f"{what}: {problem}; the file belongs to another model or is incomplete")
        folded[f"{layer}.weight"] = _fold(state[pair[0]], state[pair[1]], f"{what}: {layer}")
    for name, tensor in state.items():
        if name.endswith((".alpha", ".beta")) and tensor.shape == (1, tensor.numel(), 1):
            folded[name] = tensor.flatten()
        elif not name.endswith((".weight_g", ".weight_v")):
            folded[name] = tensor
    return folded


def _fold(g: Tensor, v: Tensor, what: str) -> Tensor:
    """The weight that a pair stands for: a length for each index of dimension 0.

    In a transposed convolution that dimension is the IN channels.
    """
    if v.ndim != 3 or g.shape != (v.shape[0], 1, 1):
        raise CheckpointError(
            f"{what}: weight_g is {tuple(g.shape)} and weight_v {tuple(v.shape)}, expected (n, 1, 1) and "
            "(n, m, k); the file belongs to another model"
        )
    g, v = g.float(), v.float()
    norm: Tensor = torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True)
    return v * (g / norm)


def _config_of(state: Mapping[str, Tensor], sample_rate: int | None, what: str) -> OobleckConfig:
    num_blocks = len({name.split(".")[2] for name in state if name.startswith("encoder.block.")})
    downs = [_shape(state, f"encoder.block.{i}.conv1.weight", what) for i in range(num_blocks)]
    channels, audio_channels, _ = _shape(state, "encoder.conv1.weight", what)
    if not channels or any(width % channels or kernel % 2 for width, _, kernel in downs):
        raise CheckpointError(
            f"{what}: down-sampling weights are {downs}, expected multiples of {channels} channels and even "
            "kernels; the file belongs to another model"
        )
    strides = tuple(kernel // 2 for _, _, kernel in downs)
    sample_rate = SAMPLE_RATES.get(math.prod(strides)) if sample_rate is None else sample_rate
    if sample_rate is None:
        raise CheckpointError(
            f"{what}: got a hop of {math.prod(strides)} samples, whose sample rate is not known (those of "
            f"{sorted(SAMPLE_RATES)} are); give sample_rate in Hz"
        )
    try:
        return OobleckConfig(
            sample_rate=sample_rate,
            audio_channels=audio_channels,
            channels=channels,
            latent_channels=_shape(state, "decoder.conv1.weight", what)[1],
            channel_multiples=tuple(width // channels for width, _, _ in downs),
            strides=strides,
            decodes_full_length=False,
        )
    except ConfigError as error:
        raise CheckpointError(f"{what}: not an Oobleck autoencoder ({error})") from error


def _shape(state: Mapping[str, Tensor], name: str, what: str) -> tuple[int, int, int]:
    if name not in state:
        raise CheckpointError(f"{what}: missing {name}; the file belongs to another model or is incomplete")
    if state[name].ndim != 3:
        raise CheckpointError(f"{what}: {name} is {tuple(state[name].shape)}, expected three dimensions")
    out_width, width, kernel = state[name].shape
    return out_width, width, kernel
