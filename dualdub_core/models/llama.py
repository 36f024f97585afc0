"""A causal LLaMA over embeddings, with a key/value cache in fixed memory.

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

    A stretch is written by `append` and `advance`, a single position by `write` between `open` and `close`: those
    read where they are from a tensor, so that they can be captured, and leave `length` to the caller. Not a module: it
    belongs to one run, not to the model.

    Attributes:
        bias: 0 where a column may be attended to, else -inf (B, 1, 1, L).
        column: the next to be written (1,) int64, on the device.
        length: the same, on the host.
    """

    def __init__(
        self, *, num_layers: int, batch_size: int, num_heads: int, length: int, head_width: int, like: Tensor
    ) -> None:
        # Zeros: what is not yet written has weight 0, and 0 times what happens to lie there might be NaN.
        self._store = like.new_zeros(num_layers, batch_size, 2, num_heads, length, head_width)
        self.bias = like.new_full((batch_size, 1, 1, length), -torch.inf)
        self.column = torch.zeros(1, dtype=torch.int64, device=like.device)
        self.length = 0
        self._views: tuple[int, Tensor, list[tuple[Tensor, Tensor, Tensor]]] | None = None

    @property
    def capacity(self) -> int:
        """L, the most positions it holds."""
        return self._store.shape[4]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write new keys and values of a layer; return all so far, without copying them.

        Args:
            layer: its number.
            k: (P, h, S, d); where P is less than B, each row becomes as many rows one after the other.
            v: likewise.
        """
        end = self.length + k.shape[2]
        store = self._store[layer].view(k.shape[0], -1, *self._store.shape[2:])
        store[:, :, 0, :, self.length : end] = k[:, None]
        store[:, :, 1, :, self.length : end] = v[:, None]
        if self.length == 0:
            return k, v
        return self._store[layer, :, 0, :, :end], self._store[layer, :, 1, :, :end]

    def advance(self, steps: int) -> None:
        """Make the positions just written, in every layer, part of the past."""
        self.bias[..., self.length : self.length + steps] = 0
        self.length += steps
        self.column.fill_(self.length)

    def hide(self, padding: Tensor) -> None:
        """Nobody attends to the first columns, as many as `padding` (B,) says."""
        columns = torch.arange(self.capacity, device=padding.device)
        self.bias.masked_fill_((columns < padding[:, None])[:, None, None], -torch.inf)

    def rewind(self, length: int) -> None:
        """Forget what was written from there on."""
        assert length <= self.length, f"{length=} {self.length=}"
        self.bias[..., length:] = -torch.inf
        self.length = length
        self.column.fill_(length)

    def open(self) -> None:
        """The column about to be written may be attended to."""
        self.bias.index_fill_(3, self.column, 0)

    def close(self) -> None:
        """It is written."""
        self.column.add_(1)

    def views(self, span: int) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
        """The first columns, made once for many steps.

        Returns:
            the bias (B, 1, 1, span); of each layer its whole store, and keys and values (B, h, span, d).
        """
        if self._views is None or self._views[0] != span:
            layers = [(kv, kv[:, 0, :, :span], kv[:, 1, :, :span]) for kv in self._store.unbind(0)]
            self._views = span, self.bias[..., :span], layers
        return self._views[1:]


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

    def new_cache(self, batch_size: int, length: int, like: Tensor | None = None) -> KVCache:
        """An empty cache for `length` positions, of the device and dtype of `like` or else of the weights."""
        return KVCache(
            num_layers=self.config.num_layers,
            batch_size=batch_size,
            num_heads=self.config.num_heads,
            length=length,
            head_width=self.config.width // self.config.num_heads,
            like=self.norm.weight if like is None else like,
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
