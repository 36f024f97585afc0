"""What a run keeps between frames, in fixed memory that every step reads and writes in place.

Fixed addresses are what lets a step be captured once and replayed. Letters: P rows of conditions, R rows that run
(each condition in as many takes), T frames, L columns of the sequence; H heads, d their width, h its half.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.aligner import VideoKeys
from ..models.dualdub import STREAMS, Conditions, DualDub
from ..models.layers import rotary

_GRAIN = 32  # columns by which the part of the cache that a step reads grows


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What the memory of a run depends on.

    Attributes:
        rows: R.
        num_frames: the most frames, T.
        length: the most columns, L: speaker, text and frames.
        is_padded: whether rows differ in text length.
    """

    rows: int
    num_frames: int
    length: int
    is_padded: bool

    def rounded(self, grain: int) -> "Shape":
        """With room up to the next multiple, so that clips of about one length share it."""
        return Shape(
            rows=self.rows,
            num_frames=-(-self.num_frames // grain) * grain,
            length=-(-self.length // grain) * grain,
            is_padded=self.is_padded,
        )


class State:
    """The memory of one run.

    Attributes:
        shape: what it was made for.
        past: the language model's cache.
        fused: the aligner's cache; its column is the frame that is fused next.
        video_k: the picture's keys (R, 2H, T, d).
        video_v: the picture's values.
        video_bias: 0 at the clip's frames, -inf at those after its end (1, 1, 1, T).
        has: 1 for a stream that takes part (R, 2, 1).
        branches: which of the aligner's branches count (R, 4, 1).
        padding: columns before each row's first (R,).
        frame_turns: rotary cosines and sines of frames, for the aligner's queries, keys and values.
        turns: of positions, for the language model.
        logits: of the frame that comes next (R, 2, V + 1).
    """

    def __init__(self, model: DualDub, shape: Shape, device: torch.device) -> None:
        config = model.config
        like = model.heads.weight.new_empty(0, device=device)
        self.shape = shape
        self.past = model.llama.new_cache(shape.rows, shape.length, like)
        self.fused = model.aligner.new_cache(shape.rows, shape.num_frames, like)
        heads, width = 2 * config.aligner.num_heads, config.aligner.width // config.aligner.num_heads
        self.video_k = like.new_zeros(shape.rows, heads, shape.num_frames, width)
        self.video_v = torch.zeros_like(self.video_k)
        self.video_bias = like.new_zeros(1, 1, 1, shape.num_frames)
        self.has = like.new_ones(shape.rows, len(STREAMS), 1)
        self.branches = like.new_ones(shape.rows, 4, 1)
        self.padding = torch.zeros(shape.rows, dtype=torch.int64, device=device)
        cos, sin = _turns(shape.num_frames, width, config.aligner.rope_base, device)
        # Values are turned by nothing, so that one call turns all of them: queries, keys, values, queries.
        cos, sin = cos.repeat(1, 4, 1, 1, 1), sin.repeat(1, 4, 1, 1, 1)
        cos[:, 2], sin[:, 2] = 1, 0
        self.frame_turns = cos, sin
        width = config.llama.width // config.llama.num_heads
        self.turns = _turns(shape.length, width, config.llama.rope_base, device)
        self.logits = like.new_empty(shape.rows, len(STREAMS), config.codebook_size + 1)

    def start(self, conditions: Conditions, video: VideoKeys, num_prefix: int) -> None:
        """Begin a run of these P conditions; what an earlier run left is forgotten.

        Args:
            conditions: of a clip of at most T frames.
            video: the aligner's view of it.
            num_prefix: columns before the first frame.
        """
        num_frames = video.k.shape[2]
        assert num_frames <= self.shape.num_frames, f"{num_frames=} {self.shape=}"
        assert num_prefix + num_frames <= self.shape.length, f"{num_prefix=} {self.shape=}"
        for cache in (self.past, self.fused):
            cache.length = 0
            cache.column.zero_()
            cache.bias.fill_(-torch.inf)
        self._rows(self.video_k[:, :, :num_frames], video.k)
        self._rows(self.video_v[:, :, :num_frames], video.v)
        self.video_bias.fill_(-torch.inf)[..., :num_frames] = 0
        present = conditions.present.to(self.has)[..., None]  # (P, 2, 1)
        both = present[:, :1] * present[:, 1:]
        self._rows(self.has, present)
        self._rows(self.branches, torch.cat((both, both, present), dim=1))
        self._rows(self.padding, num_prefix - 1 - conditions.text_lengths)

    def span(self) -> int:
        """How many columns the next step has to look at, a little more at a time."""
        return min(self.shape.length, -(-(self.past.length + 1) // _GRAIN) * _GRAIN)

    def _rows(self, into: Tensor, of: Tensor) -> None:
        """Copy P rows to R, each as many times as there are takes of it."""
        into.view(of.shape[0], -1, *into.shape[1:]).copy_(of[:, None])


def _turns(length: int, width: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines (n, 1, 1, 1, h) and sines of both halves (n, 1, 1, 2, h), the first's negative."""
    cos, sin = rotary(torch.arange(length, device=device), width, base)
    return cos[:, None, None, None], torch.stack((-sin, sin), dim=1)[:, None, None]
