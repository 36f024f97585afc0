"""The cross-modal aligner: four cross-attentions that fuse both streams and the picture into one sequence.

Source: paper, section 3.3 and Fig. 2b. All four read the original embeddings, in parallel:

    H = (E_b + CA1(E_b, E_s | causal)) + (E_s + CA2(E_s, E_b | causal)) + (E_b + CA3(E_b, V)) + (E_s + CA4(E_s, V))

Positions and norms are ours, the paper is silent: RoPE by frame index on all queries and keys (without it video
cannot align in time), one RMSNorm an input inside the branches, no biases, so a black video adds exactly zero.
Letters: B batch, T frames at the codec's rate, D width; h heads, d their width.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from ..errors import ConfigError
from .layers import apply_rotary, attend, rotary, split_heads
from .llama import KVCache


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignerConfig:
    """Sizes of the aligner."""

    width: int
    num_heads: int
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ConfigError(f"aligner: width {self.width} must give {self.num_heads} heads of an even width")


@dataclass(frozen=True, slots=True)
class VideoKeys:
    """The picture's side of CA3 and CA4, computed once a clip: keys and values (B, 2h, T, d)."""

    k: Tensor
    v: Tensor


class CrossModalAligner(nn.Module):
    """Fuses the streams' embeddings with each other's past and with the whole video.

    The heads of CA1 and CA2 lie side by side in one attention call, as do those of CA3 and CA4; the sum of the
    four branches is one output projection.
    """

    def __init__(self, config: AlignerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.background_norm = nn.RMSNorm(width, eps=1e-5)
        self.speech_norm = nn.RMSNorm(width, eps=1e-5)
        self.video_norm = nn.RMSNorm(width, eps=1e-5)
        self.from_background = nn.Linear(width, 4 * width, bias=False)  # queries 1, keys 2, values 2, queries 3
        self.from_speech = nn.Linear(width, 4 * width, bias=False)  # queries 2, keys 1, values 1, queries 4
        self.from_video = nn.Linear(width, 4 * width, bias=False)  # keys 3, keys 4, values 3, values 4
        self.out = nn.Linear(4 * width, width, bias=False)

    def forward(self, background: Tensor, speech: Tensor, video: Tensor, present: Tensor) -> Tensor:
        """Fuse a whole clip.

        Args:
            background: embeddings of the background inputs (B, T, D).
            speech: embeddings of the speech inputs (B, T, D).
            video: projected video features at the codec's frame rate (B, T, D).
            present: 1 for a stream that takes part, 0 for a masked one: background, speech (B, 2).

        Returns:
            (B, T, D); slot t depends on both streams up to t and on all of the video.
        """
        return self.fuse(background, speech, self.watch(video), present)

    def watch(self, video: Tensor) -> VideoKeys:
        """Keys and values of the video (B, T, D), which no step changes."""
        k3, k4, v3, v4 = self.from_video(self.video_norm(video)).chunk(4, dim=-1)
        k = self._heads(k3, k4)
        cos, sin = self._rotary(0, video.shape[1], video.device)
        return VideoKeys(k=apply_rotary(k, cos, sin), v=self._heads(v3, v4))

    def fuse(
        self,
        background: Tensor,
        speech: Tensor,
        video: VideoKeys,
        present: Tensor,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Fuse the next frames: all of them without a cache, or those that follow the cache's past.

        With a past, one frame at a time.
        """
        start = 0 if cache is None else cache.length
        num_frames = background.shape[1]
        assert start == 0 or num_frames == 1, f"{start=} {num_frames=}"
        present = present.to(background.dtype)
        has_background, has_speech = present[:, :1, None], present[:, 1:, None]  # (B, 1, 1)
        background, speech = background * has_background, speech * has_speech

        q1, k2, v2, q3 = self.from_background(self.background_norm(background)).chunk(4, dim=-1)
        q2, k1, v1, q4 = self.from_speech(self.speech_norm(speech)).chunk(4, dim=-1)
        cos, sin = self._rotary(start, num_frames, background.device)
        k, v = apply_rotary(self._heads(k1, k2), cos, sin), self._heads(v1, v2)
        if cache is not None:
            k, v = cache.append(0, k, v)
            cache.advance(num_frames)
        between = attend(apply_rotary(self._heads(q1, q2), cos, sin), k, v, is_causal=num_frames > 1)
        to_video = attend(apply_rotary(self._heads(q3, q4), cos, sin), video.k, video.v)

        # A masked stream's branches vanish: its own, and the other's view of it.
        both = has_background * has_speech
        branches = torch.cat((both, both, has_background, has_speech), dim=-1)  # (B, 1, 4)
        attended = rearrange(torch.cat((between, to_video), dim=-1), "b t (n d) -> b t n d", n=4) * branches[..., None]
        fused: Tensor = 2 * (background + speech) + self.out(attended.flatten(-2))
        return fused

    def new_cache(self, batch_size: int, num_frames: int, like: Tensor | None = None) -> KVCache:
        """An empty cache for the causal branches, of the device and dtype of `like` or else of the weights."""
        return KVCache(
            num_layers=1,
            batch_size=batch_size,
            num_heads=2 * self.config.num_heads,
            length=num_frames,
            head_width=self.config.width // self.config.num_heads,
            like=self.video_norm.weight if like is None else like,
        )

    def _heads(self, first: Tensor, second: Tensor) -> Tensor:
        return split_heads(torch.cat((first, second), dim=-1), 2 * self.config.num_heads)

    def _rotary(self, start: int, num_frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
        positions = torch.arange(start, start + num_frames, device=device)
        return rotary(positions, self.config.width // self.config.num_heads, self.config.rope_base)
