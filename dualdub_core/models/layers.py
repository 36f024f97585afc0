"""Parts that more than one model is made of: rotary positions and attention.

Letters: B batch, T positions, D width; h heads and d their width only inside einops patterns.
"""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F


def rotary(positions: Tensor, head_width: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary position embeddings.

    Computed from integers at each call, so that a model can be built on the meta device.

    Args:
        positions: (..., T), any number type.
        head_width: even.
        base: the longest wavelength is about 2 pi base.

    Returns:
        two float32 tensors (..., T, head_width / 2).
    """
    exponents = torch.arange(0, head_width, 2, device=positions.device, dtype=torch.float32) / head_width
    angles = positions.float()[..., None] * base**-exponents
    return angles.cos(), angles.sin()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + d/2) of the last axis, as LLaMA's published weights expect.

    Args:
        x: (B, h, T, d).
        cos: broadcastable to (B, h, T, d/2).
        sin: likewise.
    """
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, D) to (B, h, T, d)."""
    return rearrange(x, "b t (h d) -> b h t d", h=num_heads)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, is_causal: bool = False) -> Tensor:
    """Scaled dot-product attention with the heads joined again.

    Args:
        q: (B, h, Tq, d).
        k: (B, h, Tk, d).
        v: (B, h, Tk, d).
        mask: True where a query may attend, broadcastable to (B, h, Tq, Tk).
        is_causal: query t sees keys up to t.

    Returns:
        (B, Tq, h d).
    """
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)
    return rearrange(out, "b h t d -> b t (h d)")
