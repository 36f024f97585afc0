"""The speaker encoder: a reference recording to one global embedding.

Source: paper, section 3.2 (mel spectrogram, encoder, average pooling; 3 s of reference in training). The blocks
are ours: a convolution, then pre-norm self-attention blocks without positions, since who speaks does not depend
on when. Letters: B batch, N samples, T mel frames, M mel bands, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..audio import MelConfig
from ..errors import ConfigError
from .layers import attend, split_heads


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeakerEncoderConfig:
    """Sizes of the speaker encoder; `out_width` is the language model's width."""

    mel: MelConfig
    width: int
    num_layers: int
    num_heads: int
    out_width: int

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ConfigError(f"speaker encoder: width {self.width} is not divisible by {self.num_heads} heads")


class SpeakerEncoder(nn.Module):
    """Log-mel frames in, one embedding out; silence of the padding has no say."""

    def __init__(self, config: SpeakerEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.Conv1d(config.mel.n_mels, config.width, kernel_size=5, padding=2)
        self.blocks = nn.ModuleList(SpeakerBlock(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-5)
        # Bias-free, so that the zero embedding of "no speaker" stays outside what this layer shifts.
        self.proj = nn.Linear(config.width, config.out_width, bias=False)

    def forward(self, mel: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """Embed references.

        Args:
            mel: log-mel (B, T, M).
            num_frames: valid frames of each item (B,); all of them when None.

        Returns:
            (B, D).
        """
        lengths = mel.new_full((mel.shape[0],), mel.shape[1]) if num_frames is None else num_frames
        valid = torch.arange(mel.shape[1], device=mel.device) < lengths[:, None]  # (B, T)
        x = F.gelu(self.conv((mel * valid[..., None]).transpose(1, 2)).transpose(1, 2))  # (B, T, D)
        for block in self.blocks:
            x = block(x, valid[:, None, None])
        x = self.norm(x) * valid[..., None]
        embedding: Tensor = self.proj(x.sum(1) / valid.sum(1, keepdim=True))
        return embedding


class SpeakerBlock(nn.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, config: SpeakerEncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-5)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.mlp_norm = nn.RMSNorm(config.width, eps=1e-5)
        self.up = nn.Linear(config.width, 4 * config.width, bias=False)
        self.down = nn.Linear(4 * config.width, config.width, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (split_heads(h, self.num_heads) for h in self.qkv(self.attention_norm(x)).chunk(3, dim=-1))
        x = x + self.out(attend(q, k, v, mask))
        out: Tensor = x + self.down(F.gelu(self.up(self.mlp_norm(x))))
        return out
