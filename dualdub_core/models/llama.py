"""A causal LLaMA over embeddings, with a preallocated key/value cache.

Source: paper, section 5.2 (24 layers, 16 heads, width 2048); the MLP width is LLaMA's own for that width.
Letters: B batch, S positions of the sequence, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from .layers import apply_rotary, attend, rotary, split_heads


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaConfig:
    """Sizes of the language model's trunk."""

    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ConfigError(f"llama: width {self.width} must give {self.num_heads} heads of an even width")


class KVCache:
    """Keys and values of all positions seen so far, in memory taken once.

    Not a module: it belongs to one run, not to the model.
    """

    def __init__(
        self, *, num_layers: int, batch_size: int, num_heads: int, length: int, head_width: int, like: Tensor
    ) -> None:
        shape = (2, num_layers, batch_size, num_heads, length, head_width)
        self._store = torch.empty(shape, dtype=like.dtype, device=like.device)
        self.length = 0

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write new keys and values (B, h, S, d) of a layer; return all so far, without copying them."""
        end = self.length + k.shape[2]
        store = self._store[:, layer]
        store[0, :, :, self.length : end] = k
        store[1, :, :, self.length : end] = v
        return store[0, :, :, :end], store[1, :, :, :end]

    def advance(self, steps: int) -> None:
        """Make the positions just written, in every layer, part of the past."""
        self.length += steps


class Llama(nn.Module):
    """Embeddings in, hidden states out; what they mean is the caller's affair."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(LlamaBlock(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-5)

    def forward(
        self, x: Tensor, positions: Tensor, *, mask: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """Hidden states of a stretch of the sequence.

        Args:
            x: (B, S, D), the next S positions.
            positions: (B, S) or (S,), for the rotary embedding.
            mask: (B, 1, S, S_total), True where attending is allowed; plain causal when None, for which the
                stretch must be the whole sequence or a single position.
            cache: the past; the stretch is appended to it.

        Returns:
            (B, S, D).
        """
        head_width = self.config.width // self.config.num_heads
        cos, sin = rotary(positions, head_width, self.config.rope_base)
        if positions.ndim == 2:
            cos, sin = cos[:, None], sin[:, None]  # one head axis
        for layer, block in enumerate(self.blocks):
            x = block(x, cos, sin, mask, layer, cache)
        if cache is not None:
            cache.advance(x.shape[1])
        hidden: Tensor = self.norm(x)
        return hidden

    def new_cache(self, batch_size: int, length: int) -> KVCache:
        """An empty cache for `length` positions, on the weights' device and in their dtype."""
        return KVCache(
            num_layers=self.config.num_layers,
            batch_size=batch_size,
            num_heads=self.config.num_heads,
            length=length,
            head_width=self.config.width // self.config.num_heads,
            like=self.norm.weight,
        )


class LlamaBlock(nn.Module):
    """Pre-norm attention and a gated MLP; projections that share an input are one matmul."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-5)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.mlp_norm = nn.RMSNorm(config.width, eps=1e-5)
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, layer: int, cache: KVCache | None
    ) -> Tensor:
        q, k, v = (split_heads(h, self.num_heads) for h in self.qkv(self.attention_norm(x)).chunk(3, dim=-1))
        q, k = apply_rotary(q, cos, sin), apply_rotary(k, cos, sin)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        x = x + self.out(attend(q, k, v, mask, is_causal=mask is None and q.shape[2] > 1))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.down(F.silu(gate) * up)
        return out
