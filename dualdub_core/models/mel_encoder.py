"""An encoder without weights: a code stands for a log-mel frame.

A small learned encoder finds the frame's own code for one frame in four, and words do not survive that; the frames
themselves are there to be computed. The codec's decoder hears each frame among its neighbours.
Letters: B batch, N samples, T frames, D bands = width of a codebook entry.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..audio import MelConfig, log_mel

_FLOOR = 1e-2
_SCALE = 2.0
"""Log-mel frames at this floor lie between -4.6 and 6; so scaled their deviation is about 1."""
_FULL_SHARE, _TOP_WEIGHT = 0.7, 0.4
"""Bands above the first share count less and less in a distance: words are told apart below 5 kHz."""


class MelEncoder(nn.Module):
    """Scaled log-mel frames of a waveform, in place of a network's embeddings."""

    def __init__(self, *, sample_rate: int, hop_length: int, num_bands: int) -> None:
        super().__init__()
        # A window of four hops, as the codec's own spectra have, smears words beyond recognition once rounded.
        self.config = MelConfig(
            sample_rate=sample_rate, n_fft=2 * hop_length, hop_length=hop_length, n_mels=num_bands, floor=_FLOOR
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Frames (B, D, T) float32 of a waveform (B, 1, N); T = ceil(N / hop_length).

        Frame t is centred on the samples that code t covers.
        """
        config = self.config
        hop, num_bands = config.hop_length, config.n_mels
        padded = F.pad(waveform[:, 0].float(), (0, -waveform.shape[-1] % hop))
        with torch.autocast(waveform.device.type, enabled=False):  # spectra do not survive bfloat16
            frames = log_mel(padded[:, hop // 2 :], config)
        full = round(_FULL_SHARE * num_bands)
        weights = torch.cat([torch.ones(full), torch.linspace(1.0, _TOP_WEIGHT, num_bands - full)])
        return frames.mT * (weights.to(frames) / _SCALE)[:, None]
