"""The extension `token_condition` of the flow decoder: all codes at their own rate, as a second input.

Not in the paper: its nearest neighbour from 40 Hz to 21.5 Hz never reads nearly half of the codes.
Letters: B batch, T code frames, T' latent frames, K slots, D width.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from ..timing import FrameClock, num_overlapping, overlapping_frames


class TokenCondition(nn.Module):
    """Each latent frame reads the codes that sound during it, in order.

    Slot k of a latent frame holds its k-th overlapping code's embedding, weighted by the share of the frame
    that the code covers. So no code is skipped, order within a frame survives (a mean would lose it), and the
    weights tell where codes begin. Context beyond the frame is the transformer's work.
    """

    def __init__(self, *, codebook_size: int, code_clock: FrameClock, latent_clock: FrameClock, width: int) -> None:
        super().__init__()
        self.clocks = (code_clock, latent_clock)
        self.embedding = nn.Embedding(codebook_size, width)
        self.proj = nn.Linear(num_overlapping(code_clock, latent_clock) * width, width)
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, codes: Tensor, num_latent_frames: int) -> Tensor:
        """Codes (B, T) to (B, T', D)."""
        index, weight = overlapping_frames(*self.clocks, num_source=codes.shape[1], num_target=num_latent_frames)
        embedded = self.embedding(codes[:, index.to(codes.device)])  # (B, T', K, D)
        weight = weight.to(embedded.dtype).to(embedded.device)[..., None]
        condition: Tensor = self.proj(rearrange(embedded * weight, "b t k d -> b t (k d)"))
        return condition
