"""From logits to a written frame on the device: guidance, ends, noise, locks, in fixed memory like the step's.

Letters: N takes, R rows that run (twice N with guidance), T frames, K candidates, V codebook size.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..models.dualdub import STREAMS
from ..sampling import NOISE_BLOCK, CodeSampler, Knobs, pick

FREE = -1
"""In forced codes: this frame is sampled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawShape:
    """What the memory and the calls of drawing depend on.

    Attributes:
        takes: N.
        num_frames: the most frames, T.
        candidates: K, of the likeliest codes.
        eos: V, the logit that ends a row.
        is_guided: whether the second half of the rows runs without conditions.
        until_eos: whether the speech head may end a row.
        is_locked: whether any code is forced.
        uses_top_p: whether a stream cuts off by share of probability.
    """

    takes: int
    num_frames: int
    candidates: int
    eos: int
    is_guided: bool
    until_eos: bool
    is_locked: bool
    uses_top_p: bool

    def rounded(self, num_frames: int) -> "DrawShape":
        """With room for so many frames and for the next power of two of candidates, so that settings share it."""
        candidates = min(self.eos + 1, 1 << (self.candidates - 1).bit_length())
        return replace(self, num_frames=num_frames, candidates=candidates)


class Draw:
    """The memory of one run's codes.

    Attributes:
        shape: what it was made for.
        codes: background and speech (N, 2, T).
        forced: what locks hold them to (N, 2, T), `FREE` where they do not.
        lengths: frames of each row, as far as is known (N,).
        frame: the next to be written (1,).
        noise: of the block of frames that is being written (NOISE_BLOCK, N, 2, K).
        knobs: of the sampler.
        cfg_scale: of guidance (1,).
    """

    def __init__(self, shape: DrawShape, device: torch.device) -> None:
        self.shape = shape
        num_streams = len(STREAMS)
        self.codes = torch.zeros(shape.takes, num_streams, shape.num_frames, dtype=torch.int64, device=device)
        self.forced = torch.full_like(self.codes, FREE)
        self.lengths = torch.zeros(shape.takes, dtype=torch.int64, device=device)
        self.frame = torch.zeros(1, dtype=torch.int64, device=device)
        self.noise = torch.zeros(NOISE_BLOCK, shape.takes, num_streams, shape.candidates, device=device)
        self.knobs = Knobs(
            temperature=torch.ones(num_streams, 1, device=device),
            top_p=torch.ones(num_streams, 1, device=device),
            excluded=torch.zeros(num_streams, shape.candidates, dtype=torch.bool, device=device),
            uses_top_p=shape.uses_top_p,
        )
        self.cfg_scale = torch.ones(1, device=device)

    def start(self, sampler: CodeSampler, forced: Tensor | None, num_frames: int, cfg_scale: float) -> None:
        """Begin a run; what an earlier one left is forgotten."""
        self.codes.zero_()
        self.forced.fill_(FREE)
        if forced is not None:
            self.forced[..., :num_frames] = forced
        self.lengths.fill_(num_frames)
        self.cfg_scale.fill_(cfg_scale)
        knobs, used = sampler.knobs, sampler.num_candidates
        self.knobs.temperature.copy_(knobs.temperature)
        self.knobs.top_p.copy_(knobs.top_p)
        self.knobs.excluded.fill_(True)[:, :used] = knobs.excluded

    def seek(self, frame: int, sampler: CodeSampler) -> None:
        """The next frame to be written, with its noise."""
        self.frame.fill_(frame)
        self.listen(frame, sampler)

    def listen(self, frame: int, sampler: CodeSampler) -> None:
        """The noise of the block that a frame lies in."""
        self.noise[..., : sampler.num_candidates] = sampler.noise(frame)
        self.noise[..., sampler.num_candidates :] = -torch.inf


def draw(d: Draw, logits: Tensor) -> Tensor:
    """Write one frame.

    Args:
        d: where.
        logits: of that frame (R, 2, V + 1); those of EOS may be overwritten.

    Returns:
        its codes as the step reads them (R, 2).
    """
    shape = d.shape
    if shape.is_guided:
        logits, empty = logits.float().chunk(2)
        logits = empty + d.cfg_scale * (logits - empty)  # `flow.guide` with a scale that a graph can be given anew
    # Only speech ends a row, and only if it may.
    (logits[:, 0] if shape.until_eos else logits)[..., shape.eos].fill_(-torch.inf)
    noise = d.noise.index_select(0, d.frame.remainder(NOISE_BLOCK)).squeeze(0)
    written = pick(logits, noise, d.knobs)
    if shape.is_locked:
        forced = d.forced.index_select(2, d.frame).squeeze(2)
        written = torch.where(forced == FREE, written, forced)
    if shape.until_eos:
        ended = torch.where(written[:, 1] == shape.eos, d.frame, d.lengths)
        torch.minimum(d.lengths, ended, out=d.lengths)
        written = written.masked_fill((d.lengths <= d.frame)[:, None], 0)
    d.codes.index_copy_(2, d.frame, written[..., None])
    d.frame.add_(1)
    return torch.cat((written, written)) if shape.is_guided else written
