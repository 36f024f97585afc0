"""Published CLIP weights: the picture tower in the names of Hugging Face or of OpenAI and open_clip.

All sizes but the number of heads are read off the tensors' shapes. Neither the activation nor the kind of
weights can be: OpenAI's, which the paper uses, are assumed unless the caller says otherwise.
"""

import math
import re
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..checkpoint import build, fill, read_published
from ..errors import CheckpointError, ConfigError, some_of
from ..models.clip import ClipConfig, ClipVideoEncoder, open_clip_values

_HEAD_WIDTH = 64  # of every published tower of these two namings
# The text tower and what belongs to both.
_HF_DROPPED = re.compile(r"text_model\..+|text_projection\.weight|logit_scale|vision_model\.embeddings\.position_ids")
_OPENAI_DROPPED = re.compile(
    r"(?:transformer|text)\..+|token_embedding\.weight|positional_embedding|text_projection|ln_final\.(?:weight|bias)"
    r"|attn_mask|logit_scale|logit_bias|input_resolution|context_length|vocab_size"
)
_LAYER = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.(.+)")
_LAYER_NAMES = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
_LAYER_NAMES["attn.out_proj"] = "self_attn.out_proj"
_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.proj": "visual_projection.weight",
} | {
    f"visual.{theirs}.{leaf}": f"vision_model.{ours}.{leaf}"
    for theirs, ours in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm"))
    for leaf in ("weight", "bias")
}


def load_clip(
    path: Path | str,
    *,
    activation: Literal["quick_gelu", "gelu"] | None = None,
    num_heads: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ClipVideoEncoder:
    """The picture tower in a published file, in evaluation mode without gradients.

    Args:
        path: `.safetensors`, or `.pt`/`.bin` with plain tensors; a text tower beside is dropped.
        activation: quick_gelu when None, as OpenAI trained; LAION's and most other weights need gelu, which no
            file of theirs says in its tensors.
        num_heads: width / 64 when None, which holds for every published tower.
        device: where the tensors go.
        dtype: of the tensors.

    Raises:
        CheckpointError: the file is damaged, hostile, incomplete or not such a tower.
    """
    what = Path(path).name
    published = read_published(path)
    if "visual.conv1.weight" in published:
        state = _renamed(published, what)
    elif "vision_model.embeddings.patch_embedding.weight" in published:
        state = {name: tensor for name, tensor in published.items() if not _HF_DROPPED.fullmatch(name)}
    else:
        some = some_of(sorted(published)) or "none"
        raise CheckpointError(f"{what}: not a CLIP picture tower, its tensors are {some}; expected ViT-B/32 or its kin")
    broken = sorted(name for name, tensor in state.items() if not torch.isfinite(tensor).all())
    if broken:
        raise CheckpointError(f"{what}: NaN or infinite weights in {broken[0]}; get the file again")
    config = _config_of(state, activation or "quick_gelu", num_heads, what)
    encoder = build("video_encoder", config)
    # Copied, since slices and memory-mapped tensors would keep more than themselves alive.
    fill(encoder, {name: tensor.to(device, dtype, copy=True).contiguous() for name, tensor in state.items()}, what)
    assert isinstance(encoder, ClipVideoEncoder)
    return encoder


def load_open_clip(
    name: str, path: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> ClipVideoEncoder:
    """Another tower by open_clip's own layers.

    Args:
        name: of open_clip's model, such as "ViT-H-14-378-quickgelu".
        path: its published weights.
        device: where the tensors go.
        dtype: of the tensors.

    Raises:
        ConfigError: open_clip is not installed or knows no such model.
        CheckpointError: the weights are damaged or not those of this model.
    """
    what = Path(path).name
    state = {key: tensor for key, tensor in read_published(path).items() if not _OPENAI_DROPPED.fullmatch(key)}
    encoder = build("video_encoder", open_clip_config(name))
    fill(encoder, {key: tensor.to(device, dtype, copy=True) for key, tensor in state.items()}, what)
    assert isinstance(encoder, ClipVideoEncoder)
    return encoder


def open_clip_config(name: str) -> ClipConfig:
    """The configuration of one of open_clip's towers; its sizes are open_clip's where it names them."""
    values = open_clip_values(name)
    vision = values["vision_cfg"]
    width, layers = vision.get("width", 768), vision.get("layers", 12)
    return ClipConfig(
        width=width,
        num_layers=layers if isinstance(layers, int) else sum(layers),
        num_heads=width // vision.get("head_width", 64),
        mlp_width=int(width * vision.get("mlp_ratio", 4.0)),
        patch_size=vision.get("patch_size", 16),
        image_size=vision.get("image_size", 224),
        projection_dim=values["embed_dim"],
        activation="quick_gelu" if values.get("quick_gelu") else "gelu",
        backend="open_clip",
        open_clip_name=name,
    )


def _renamed(published: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    """From OpenAI's names to Hugging Face's; unknown names stay as they are, to be refused."""
    state: dict[str, Tensor] = {}
    for name, tensor in published.items():
        if _OPENAI_DROPPED.fullmatch(name):
            continue
        if not (match := _LAYER.fullmatch(name)):
            state[_NAMES.get(name, name)] = tensor.T if name == "visual.proj" and tensor.ndim == 2 else tensor
            continue
        layer, (part, _, leaf) = f"vision_model.encoder.layers.{match[1]}", match[2].rpartition(".")
        if match[2] in ("attn.in_proj_weight", "attn.in_proj_bias"):
            if len(tensor) % 3:
                raise CheckpointError(f"{what}: {name} is {tuple(tensor.shape)}, expected three stacked projections")
            for projection, third in zip("qkv", tensor.chunk(3), strict=True):
                state[f"{layer}.self_attn.{projection}_proj.{name.rpartition('_')[2]}"] = third
        else:
            state[f"{layer}.{_LAYER_NAMES.get(part, part)}.{leaf}"] = tensor
    return state


def _config_of(
    state: dict[str, Tensor], activation: Literal["quick_gelu", "gelu"], num_heads: int | None, what: str
) -> ClipConfig:
    def shape(name: str, ndim: int) -> torch.Size:
        tensor = state.get(name)
        if tensor is None or tensor.ndim != ndim:
            raise CheckpointError(f"{what}: missing {name}, or of a wrong shape; the file is incomplete")
        return tensor.shape

    width, _, _, patch_size = shape("vision_model.embeddings.patch_embedding.weight", 4)
    positions, _ = shape("vision_model.embeddings.position_embedding.weight", 2)
    layers = {name.split(".")[3] for name in state if name.startswith("vision_model.encoder.layers.")}
    if num_heads is None and width % _HEAD_WIDTH:
        raise CheckpointError(f"{what}: its width {width} is not a multiple of {_HEAD_WIDTH}; give num_heads")
    try:
        return ClipConfig(
            width=width,
            num_layers=len(layers),
            num_heads=num_heads or width // _HEAD_WIDTH,
            mlp_width=shape("vision_model.encoder.layers.0.mlp.fc1.weight", 2)[0],
            patch_size=patch_size,
            image_size=patch_size * math.isqrt(positions - 1),
            projection_dim=shape("visual_projection.weight", 2)[0],
            activation=activation,
            backend="transformers",
            open_clip_name=None,
        )
    except ConfigError as error:
        raise CheckpointError(f"{what}: not a CLIP picture tower: {error}") from error
