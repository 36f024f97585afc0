"""Pieces of sound for the trainers of codec and VAE, and pieces of codes with latents for the flow's.

Letters: B rows, C channels, N samples, T code frames, T' latent frames, Z latent channels.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dualdub_core.audio import resample
from dualdub_core.errors import InputError
from dualdub_core.timing import FrameClock, num_samples
from dualdub_core.types import Stream

from .config import DataConfig
from .data import Rows, bucketed, draw_seed
from .rows import from_halves, open_rows, sound

_STREAMS = (Stream.SPEECH.value, Stream.BACKGROUND.value)


@dataclass(frozen=True, slots=True)
class SoundBatch:
    """Pieces of stems: waveform (B, C, N)."""

    name: str
    seed: int
    waveform: Tensor


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """Pieces of stems: codes (B, T), latents (B, Z, T'), mask (B, T') True where there is sound."""

    name: str
    seed: int
    codes: Tensor
    latents: Tensor
    mask: Tensor


class SoundCorpus:
    """Both stems of a corpus, a random piece of each in an epoch."""

    def __init__(self, folder: str, config: DataConfig, *, sample_rate: int, channels: int, hop_length: int) -> None:
        self._config = config
        self._sample_rate, self._channels = sample_rate, channels
        samples = num_samples(config.seconds, sample_rate)
        self._num_samples = -(-samples // hop_length) * hop_length
        columns = [f"{stream}_flac" for stream in _STREAMS]
        self._rows = open_rows(Path(folder), ["task", *columns], config.cache)
        wanted = {"joint": (0, 1), "speech": (0,), "background": (1,)}
        self._items = [row * 2 + stream for row, task in enumerate(self._rows["task"]) for stream in wanted[task]]

    def epoch(self, rng: np.random.Generator) -> list[Rows]:
        keys = dict.fromkeys(self._items, 0)
        return bucketed(keys, rng, micro_batch=self._config.micro_batch, lengths=keys, cap=0)

    def batch(self, rows: Rows, rng: np.random.Generator) -> SoundBatch:
        waveforms = torch.stack([self._piece(self.waveform(item), rng) for item in rows])
        return SoundBatch("sound", draw_seed(rng), waveforms[:, None].repeat(1, self._channels, 1))

    def some(self, seed: int) -> Tensor:
        """A micro-batch's waveforms (B, C, N), to initialise a network with."""
        rng = np.random.default_rng([seed, 3])
        return self.batch(self.epoch(rng)[0], rng).waveform

    def waveform(self, item: int) -> Tensor:
        """A whole stem (N,) at this corpus' rate."""
        waveform, rate = sound(self._rows[item // 2][f"{_STREAMS[item % 2]}_flac"])
        return resample(waveform, rate, self._sample_rate)

    def _piece(self, waveform: Tensor, rng: np.random.Generator) -> Tensor:
        spare = waveform.shape[0] - self._num_samples
        start = int(rng.integers(spare + 1)) if spare > 0 else 0
        piece = waveform[start : start + self._num_samples]
        return F.pad(piece, (0, self._num_samples - piece.shape[0]))


class LatentCorpus:
    """Codes and latents of both stems, a random piece of each in an epoch."""

    def __init__(self, folder: str, config: DataConfig, *, codes: FrameClock, latents: FrameClock) -> None:
        self._config, self._clocks = config, (codes, latents)
        columns = [f"{what}_{stream}" for what in ("codes", "latents") for stream in _STREAMS]
        self._rows = open_rows(Path(folder), ["task", "latent_channels", *columns], config.cache)
        wanted = {"joint": (0, 1), "speech": (0,), "background": (1,)}
        self._items = [row * 2 + stream for row, task in enumerate(self._rows["task"]) for stream in wanted[task]]
        self._num_codes = codes.num_frames(config.seconds)
        self._num_latents = latents.num_frames(codes.duration(self._num_codes))
        # A piece may start only where a code and a latent frame start together.
        code_span, latent_span = codes.hop_length * latents.sample_rate, latents.hop_length * codes.sample_rate
        common = math.lcm(code_span, latent_span)
        self._grid = common // code_span, common // latent_span

    def epoch(self, rng: np.random.Generator) -> list[Rows]:
        keys = dict.fromkeys(self._items, 0)
        return bucketed(keys, rng, micro_batch=self._config.micro_batch, lengths=keys, cap=0)

    def batch(self, rows: Rows, rng: np.random.Generator) -> LatentBatch:
        pieces = [self._piece(item, rng) for item in rows]
        codes = torch.stack([F.pad(c, (0, self._num_codes - c.shape[0])) for c, _ in pieces])
        latents = torch.stack([F.pad(z, (0, self._num_latents - z.shape[1])) for _, z in pieces])
        lengths = torch.tensor([z.shape[1] for _, z in pieces])
        mask = torch.arange(self._num_latents) < lengths[:, None]
        return LatentBatch("flow", draw_seed(rng), codes, latents, mask)

    def statistics(self, num_stems: int = 512) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents by channel (Z,), over stems spread evenly over the corpus."""
        step = max(1, len(self._items) // num_stems)
        latents = torch.cat([self._stem(item)[1] for item in self._items[::step]], dim=1)
        return latents.mean(1), latents.std(1).clamp(min=1e-3)

    def _piece(self, item: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        codes, latents = self._stem(item)
        spare = max(0, codes.shape[0] - self._num_codes)
        step = int(rng.integers(spare // self._grid[0] + 1))
        first_code, first_latent = step * self._grid[0], step * self._grid[1]
        return (
            codes[first_code : first_code + self._num_codes],
            latents[:, first_latent : first_latent + self._num_latents],
        )

    def _stem(self, item: int) -> tuple[Tensor, Tensor]:
        row, stream = self._rows[item // 2], _STREAMS[item % 2]
        if row[f"codes_{stream}"] is None or row[f"latents_{stream}"] is None:
            raise InputError(f"the {stream} of a row has no codes or latents; run train.precompute with codec and VAE")
        codes = torch.tensor(row[f"codes_{stream}"], dtype=torch.int64)
        return codes, from_halves(row[f"latents_{stream}"], row["latent_channels"])
