"""The step of one frame: codes just written in, logits of the next frame out, everything on the device.

The same arithmetic as `DualDub`'s forward, in as few calls as torch allows: a step of a small model, or of any model
on a GPU, costs what its calls cost. Nothing here asks a tensor for its value, so a step can be captured as a graph.
Letters: R rows, D width, H heads, d their width, h its half, V codebook size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .state import State
from .weights import LayerWeights, Product, StepWeights


def advance(weights: StepWeights, state: State, codes: Tensor, span: int) -> None:
    """Read one frame more and leave the logits of the next in `state.logits`.

    Args:
        weights: of the model.
        state: with a past.
        codes: background and speech (R, 2), as stream inputs.
        span: columns of the cache to look at, at least those written after this step.
    """
    x = _fuse(weights, state, codes)
    past = state.past
    positions = past.column - state.padding if state.shape.is_padded else past.column
    cos, sin = (table.index_select(0, positions) for table in state.turns)
    past.open()
    bias, layers = past.views(span)
    for layer, (store, keys, values) in zip(weights.layers, layers, strict=True):
        x = _block(layer, x, cos, sin, store, past.column, keys, values, bias)
    past.close()
    hidden = weights.norm(x)
    flat = state.logits.view(x.shape[0], -1)
    if isinstance(weights.heads, Tensor):
        torch.mm(hidden, weights.heads, out=flat)
    else:
        flat.copy_(weights.heads(hidden))


def _fuse(weights: StepWeights, state: State, codes: Tensor) -> Tensor:
    """The aligner's slot of a frame (R, D)."""
    background, speech = codes.unbind(1)
    streams = torch.stack((weights.background.index_select(0, background), weights.speech.index_select(0, speech)), 1)
    streams = streams * state.has  # (R, 2, D)
    background, speech = streams.unbind(1)
    rows, width, fused = len(codes), streams.shape[2], state.fused
    mixed = torch.stack(
        (
            _times(weights.background_norm(background), weights.from_background).view(rows, 4, width),
            _times(weights.speech_norm(speech), weights.from_speech).view(rows, 4, width),
        ),
        2,
    )  # (R, 4, 2, D): queries to the other stream, keys, values, queries to the video, of both streams
    num_heads, head_width = state.video_k.shape[1], state.video_k.shape[3]
    cos, sin = (table.index_select(0, fused.column) for table in state.frame_turns)
    _turn(mixed.view(rows, 4, num_heads, 2, -1), cos, sin)
    heads = mixed.view(rows, 4, num_heads, 1, head_width)
    # What a stream asks is answered by the other one, so keys and values change sides.
    crossed = mixed.view(rows, 4, 2, -1, 1, head_width).narrow(1, 1, 2).flip(2)
    fused.open()
    bias, ((store, keys, values),) = fused.views(fused.capacity)
    store.view(rows, 2, 2, -1, *store.shape[3:]).index_copy_(4, fused.column, crossed)
    between = F.scaled_dot_product_attention(heads.select(1, 0), keys, values, attn_mask=bias)
    to_video = F.scaled_dot_product_attention(
        heads.select(1, 3), state.video_k, state.video_v, attn_mask=state.video_bias
    )
    fused.close()
    attended = torch.cat((between.reshape(rows, 2, width), to_video.reshape(rows, 2, width)), 1) * state.branches
    return _plus(streams.sum(1), attended.view(rows, -1), weights.aligner_out, twice=True)


def _block(
    layer: LayerWeights,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    store: Tensor,
    column: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor,
) -> Tensor:
    """One block of the language model (R, D)."""
    rows, width = x.shape
    qkv = _times(layer.attention_norm(x), layer.qkv)
    num_heads, head_width = keys.shape[1], keys.shape[3]
    _turn(qkv.view(rows, 3, num_heads, 2, -1).narrow(1, 0, 2), cos, sin)
    heads = qkv.view(rows, 3, num_heads, 1, head_width)
    store.index_copy_(3, column, heads.narrow(1, 1, 2))
    attended = F.scaled_dot_product_attention(heads.select(1, 0), keys, values, attn_mask=bias)
    x = _plus(x, attended.reshape(rows, width), layer.out)
    gate, up = _times(layer.mlp_norm(x), layer.gate_up).chunk(2, -1)
    return _plus(x, F.silu(gate).mul_(up), layer.down)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotate in place: halves on the axis before the last (R, n, H, 2, h)."""
    torch.addcmul(x * cos, x.flip(-2), sin, out=x)


def _times(x: Tensor, weight: Product) -> Tensor:
    return torch.mm(x, weight) if isinstance(weight, Tensor) else weight(x)


def _plus(x: Tensor, y: Tensor, weight: Product, *, twice: bool = False) -> Tensor:
    """The projection of `y` on top of `x`, or of `x` twice."""
    if isinstance(weight, Tensor):
        return torch.addmm(x, y, weight, beta=2 if twice else 1)
    return torch.add(weight(y), x, alpha=2 if twice else 1)
