"""BEATs, the encoder of both branches of CASP: a transformer over patches of a spectrogram.

Source: Chen et al. 2022, arXiv:2212.09058, and its published checkpoints (unilm/beats, MIT), whose names and arithmetic
these are, with two liberties. The table of relative positions, which a checkpoint repeats in every layer, is kept once.
In a padded batch a patch counts only if the row's own sound fills it, so that a row sounds the same alone; upstream
also counts part of the last column, as a reshape deals its mask out.

Letters: B batch, N samples, T patches (in order of time, bands of one column together), D width.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint import fill, read_published, read_published_values
from ..errors import CheckpointError, ConfigError, InputError
from ..models.layers import attend, split_heads
from .frontends import beats_fbank

_BANDS = 128
_WINDOW, _HOP = 400, 160  # samples at 16 kHz, of `beats_fbank`
_TABLE = ".self_attn.relative_attention_bias.weight"
_CLASSIFIER = "predictor."  # AudioSet's classes, in fine-tuned checkpoints
_SHARES = 8  # parts of a head that its gate is summed from, four for each of two
_SAME = {
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "deep_norm": True,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
    "conv_bias": False,
}
"""Switches of the original that every published checkpoint has in this position; the others are not built here."""
_SIZES = {
    "patch_size": "input_patch_size",
    "patch_width": "embed_dim",
    "width": "encoder_embed_dim",
    "mlp_width": "encoder_ffn_embed_dim",
    "num_layers": "encoder_layers",
    "num_heads": "encoder_attention_heads",
    "position_kernel": "conv_pos",
    "position_groups": "conv_pos_groups",
    "num_buckets": "num_buckets",
    "max_distance": "max_distance",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BeatsConfig:
    """Sizes.

    Attributes:
        patch_size: frames, and bands, of a patch; divides 128.
        patch_width: of a patch's embedding before it is widened.
        width: D.
        mlp_width: inside a layer.
        num_layers: layers.
        num_heads: of the attention.
        position_kernel: patches that the convolution over positions sees.
        position_groups: of that convolution.
        num_buckets: of relative positions, half for either direction.
        max_distance: patches; all that is further apart shares a bucket.
        dropout: share of a layer's output, in training only.
    """

    patch_size: int
    patch_width: int
    width: int
    mlp_width: int
    num_layers: int
    num_heads: int
    position_kernel: int
    position_groups: int
    num_buckets: int
    max_distance: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in _SIZES}
        if min(sizes.values()) < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(f"BEATs: {sizes} must be positive and {self.dropout=} in [0, 1)")
        if self.width % self.num_heads or self.width % self.position_groups or _BANDS % self.patch_size:
            raise ConfigError(
                f"BEATs: {self.width=} must be a multiple of {self.num_heads=} and {self.position_groups=}, "
                f"{_BANDS} bands of {self.patch_size=}"
            )
        if self.num_buckets % 4 or self.max_distance <= self.num_buckets // 4:
            raise ConfigError(
                f"BEATs: {self.num_buckets=} must be a multiple of 4, a quarter of it less than {self.max_distance=}"
            )

    @classmethod
    def paper(cls) -> "BeatsConfig":
        """The published network, 90 M parameters."""
        return cls(
            patch_size=16,
            patch_width=512,
            width=768,
            mlp_width=3072,
            num_layers=12,
            num_heads=12,
            position_kernel=128,
            position_groups=16,
            num_buckets=320,
            max_distance=800,
        )

    @classmethod
    def mini(cls) -> "BeatsConfig":
        """The same shape, 0.3 M parameters."""
        return cls(
            patch_size=16,
            patch_width=64,
            width=96,
            mlp_width=384,
            num_layers=2,
            num_heads=4,
            position_kernel=32,
            position_groups=4,
            num_buckets=64,
            max_distance=160,
            dropout=0.1,
        )

    @classmethod
    def from_published(cls, values: Mapping[str, Any]) -> "BeatsConfig":
        """The sizes that a published checkpoint states in its `cfg`.

        Raises:
            CheckpointError: one is missing, or a switch is in a position that no published BEATs has.
        """
        missing = sorted(name for name in (*_SAME, *_SIZES.values()) if name not in values)
        if missing:
            raise CheckpointError(f"BEATs: its cfg lacks {', '.join(missing[:3])}; expected a file of unilm/beats")
        other = {name: values[name] for name, expected in _SAME.items() if values[name] != expected}
        if other:
            raise CheckpointError(f"BEATs: its cfg has {other}, expected { ({name: _SAME[name] for name in other}) }")
        sizes = {ours: int(values[theirs]) for ours, theirs in _SIZES.items()}
        return cls(dropout=float(values.get("dropout", 0.0)), **sizes)

    @property
    def shortest(self) -> int:
        """Samples of one column of patches, the least that is heard: 175 ms with patches of 16 frames."""
        return _WINDOW + (self.patch_size - 1) * _HOP

    def num_patches(self, lengths: Tensor) -> Tensor:
        """Patches that so many samples fill, int64 of the same shape; at least one column."""
        frames = (lengths - _WINDOW).div(_HOP, rounding_mode="floor") + 1
        return (frames // self.patch_size).clamp(min=1) * (_BANDS // self.patch_size)


@dataclass(frozen=True, slots=True)
class Patches:
    """What the network says of each patch.

    Attributes:
        features: (B, T, D); where the mask is False they mean nothing.
        mask: (B, T) bool, True where the row's own sound is; at least one column of every row.
    """

    features: Tensor
    mask: Tensor


class Beats(nn.Module):
    """Recordings at 16 kHz to features of their patches."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        size = config.patch_size
        self.patch_embedding = nn.Conv2d(1, config.patch_width, kernel_size=size, stride=size, bias=False)
        self.layer_norm = nn.LayerNorm(config.patch_width)
        is_wide = config.patch_width == config.width
        self.post_extract_proj = nn.Identity() if is_wide else nn.Linear(config.patch_width, config.width)
        self.encoder = BeatsEncoder(config)

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Patches:
        """Listen.

        Args:
            waveform: (B, N) at 16 kHz, in [-1, 1]; extended with silence to one column.
            lengths: samples of each row's own sound (B,), the rest is not heard; N when None.

        Raises:
            InputError: a length is not between 1 and N.
        """
        waveform, lengths = self._own(waveform, lengths)
        bands = beats_fbank(waveform)
        patches: Tensor = self.patch_embedding(bands[:, None])  # (B, D, columns, bands of each)
        patches = self.post_extract_proj(self.layer_norm(patches.flatten(2).mT))
        mask = torch.arange(patches.shape[1], device=patches.device) < self.config.num_patches(lengths)[:, None]
        return Patches(self.encoder(patches, mask), mask)

    def _own(self, waveform: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Silence after each row's own sound, and at least one column."""
        num_samples = waveform.shape[-1]
        if lengths is None:
            lengths = torch.full(waveform.shape[:1], num_samples, device=waveform.device)
        if num_samples == 0 or not bool(((lengths >= 1) & (lengths <= num_samples)).all()):
            raise InputError(f"BEATs: got lengths {lengths.tolist()} of {num_samples} samples, expected 1 to as many")
        is_padding = torch.arange(num_samples, device=waveform.device) >= lengths[:, None]
        waveform = waveform.masked_fill(is_padding, 0.0)
        return F.pad(waveform, (0, max(0, self.config.shortest - num_samples))), lengths


class BeatsEncoder(nn.Module):
    """Positions by a convolution, then the layers."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(
            PositionConvolution(config.width, kernel=config.position_kernel, groups=config.position_groups)
        )
        self.layer_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(BeatsLayer(config, has_table=index == 0) for index in range(config.num_layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Patches (B, T, D) of which those in the mask (B, T) are heard; features (B, T, D)."""
        x = x.masked_fill(~mask[..., None], 0.0)
        x = self.dropout(self.layer_norm(x + self.pos_conv(x)))
        first = self.layers[0]
        assert isinstance(first, BeatsLayer)
        nearness = first.self_attn.nearness(x.shape[1])
        for layer in self.layers:
            x = layer(x, mask, nearness)
        return x


class BeatsLayer(nn.Module):
    """Attention and a feed-forward part, each normalised after a residual that counts more (DeepNorm)."""

    def __init__(self, config: BeatsConfig, *, has_table: bool) -> None:
        super().__init__()
        self.self_attn = BeatsAttention(config, has_table=has_table)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.residual = (2 * config.num_layers) ** 0.25

    def forward(self, x: Tensor, mask: Tensor, nearness: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        attended = self.dropout(self.self_attn(x, mask, nearness))
        x = self.self_attn_layer_norm(self.residual * x + attended)
        hidden = self.dropout(self.fc2(F.gelu(self.fc1(x))))
        x = self.final_layer_norm(self.residual * x + hidden)
        return x


class BeatsAttention(nn.Module):
    """Attention with relative positions, whose weight each query decides (WavLM's gate)."""

    def __init__(self, config: BeatsConfig, *, has_table: bool) -> None:
        super().__init__()
        self.num_heads, self.max_distance = config.num_heads, config.max_distance
        self.k_proj = nn.Linear(config.width, config.width)
        self.v_proj = nn.Linear(config.width, config.width)
        self.q_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)
        self.grep_linear = nn.Linear(config.width // config.num_heads, _SHARES)
        self.grep_a = nn.Parameter(torch.ones(1, config.num_heads, 1, 1))
        if has_table:
            self.relative_attention_bias = nn.Embedding(config.num_buckets, config.num_heads)

    def nearness(self, num_patches: int) -> Tensor:
        """What the table adds for each pair of patches, (h, T, T)."""
        table = self.relative_attention_bias.weight
        buckets = position_buckets(num_patches, num_buckets=table.shape[0], max_distance=self.max_distance)
        added: Tensor = self.relative_attention_bias(buckets.to(table.device))
        return added.permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor, nearness: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        q, k, v = (split_heads(project(x), self.num_heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        shares = self.grep_linear(q).unflatten(-1, (2, _SHARES // 2)).sum(-1).sigmoid()  # (B, h, T, 2)
        update, reset = shares.chunk(2, dim=-1)
        gate = update * (reset * self.grep_a - 1) + 2
        bias = (gate * nearness).masked_fill(~mask[:, None, None, :], -math.inf)
        attended: Tensor = self.out_proj(attend(q, k, v, bias.to(q.dtype)))
        return attended


class PositionConvolution(nn.Module):
    """A grouped convolution over positions whose taps are each of a learned size (weight normalisation), then GELU."""

    def __init__(self, width: int, *, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight_g = nn.Parameter(torch.ones(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.ones(width, width // groups, kernel))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        out = F.conv1d(x.mT, weight, self.bias, padding=weight.shape[-1] // 2, groups=self.groups)
        return F.gelu(out[..., : x.shape[1]]).mT  # an even kernel makes one position too many


def position_buckets(num_positions: int, *, num_buckets: int, max_distance: int) -> Tensor:
    """Which bucket the way from each position to each other falls into: one for each small step, then logarithmic.

    Returns:
        int64 (from, to); half of the buckets are for what lies after.
    """
    positions = torch.arange(num_positions)
    way = positions[None, :] - positions[:, None]
    half = num_buckets // 2
    exact = half // 2
    steps = way.abs()
    # In float32, as upstream: the edges of buckets are where its rounding puts them.
    growth = (steps.clamp(min=1).float() / exact).log() / math.log(max_distance / exact) * (half - exact)
    far = (exact + growth.long()).clamp(max=half - 1)
    return (way > 0).long() * half + torch.where(steps < exact, steps, far)


def init_beats(module: Beats) -> None:
    """Initial weights for training from scratch: BERT's, and DeepNorm's gains for what the residual outweighs."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, PositionConvolution):
            width, _, kernel = part.weight_v.shape
            nn.init.normal_(part.weight_v, std=math.sqrt(4 / (kernel * width)))
            part.weight_g.data = part.weight_v.data.norm(dim=(0, 1), keepdim=True)
    small = (8 * module.config.num_layers) ** -0.25
    for layer in module.encoder.layers:
        assert isinstance(layer, BeatsLayer)
        attention = layer.self_attn
        for linear in (attention.q_proj, attention.k_proj):
            nn.init.xavier_normal_(linear.weight)
        for linear in (attention.v_proj, attention.out_proj, layer.fc1, layer.fc2):
            nn.init.xavier_normal_(linear.weight, gain=small)


def load_beats(path: Path | str, *, device: torch.device | str = "cpu") -> Beats:
    """A network from a published file such as BEATs_iter3_plus_AS2M.pt; a fine-tuned one loses its classifier.

    Args:
        path: of the `.pt` with `cfg` and `model`.
        device: where the tensors go.

    Raises:
        CheckpointError: the file is missing, damaged, of another network, or says nothing of its sizes.
    """
    name = Path(path).name
    config = BeatsConfig.from_published(read_published_values(path, "cfg"))
    state = {key: tensor for key, tensor in read_published(path).items() if not key.startswith(_CLASSIFIER)}
    tables = [key for key in (f"encoder.layers.{i}{_TABLE}" for i in range(config.num_layers)) if key in state]
    copies = tables[1:]
    different = [copy for copy in copies if not torch.equal(state[copy], state[tables[0]])]
    if different:
        raise CheckpointError(f"{name}: {different[0]} is not the table of the first layer; expected one for all")
    with torch.device("meta"):
        beats = Beats(config)
    kept = {key: tensor.to(device, torch.float32, copy=True) for key, tensor in state.items() if key not in copies}
    fill(beats, kept, name)
    return beats
