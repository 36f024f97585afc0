"""Logits to codes: temperature, top-k and top-p, with noise that depends on the seed alone.

The noise of a take is drawn on the CPU from its own seed, one block of frames after the other, and added to the
logits' order statistics (Gumbel-max). So codes depend neither on the batch a take is in nor on the device.
Letters: B rows, V logits of a stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from .errors import ConfigError, InputError
from .limits import within

NOISE_BLOCK = 64
"""Frames of noise drawn at a time; changing it changes what every seed sounds like."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamSampling:
    """How one stream is sampled.

    Attributes:
        temperature: 0 takes the likeliest code always; 1 samples the model's own distribution.
        top_k: sample among this many likeliest codes; 0 means all.
        top_p: and among those, the fewest that hold this share of the probability.
    """

    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not within(self.temperature, 0, 10):
            raise ConfigError(f"sampling: got temperature {self.temperature}, expected a number from 0 to 10")
        if not within(self.top_k, 0, whole=True):
            raise ConfigError(f"sampling: got top_k {self.top_k}, expected a whole number; 0 means all codes")
        if not within(self.top_p, 0, 1) or self.top_p == 0:
            raise ConfigError(f"sampling: got top_p {self.top_p}, expected a number above 0 up to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How both streams are sampled, and how hard they are held to the conditions (1.0 = no guidance)."""

    speech: StreamSampling = field(default_factory=StreamSampling)
    background: StreamSampling = field(default_factory=StreamSampling)
    cfg_scale: float = 1.0

    def __post_init__(self) -> None:
        check_guidance(self.cfg_scale)

    def but(self, **given: float | None) -> "SamplingConfig":
        """The same with other values for what is given: `speech_temperature`, `background_top_k`, `cfg_scale`, ...

        None stands for what is not given.
        """
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        for stream in ("speech", "background"):
            own = {f.name: f"{stream}_{f.name}" for f in fields(StreamSampling)}
            values = {name: changed.pop(key) for name, key in own.items() if key in changed}
            changed[stream] = replace(getattr(self, stream), **values)
        return replace(self, **changed)


def check_guidance(cfg_scale: float) -> None:
    """Refuse a guidance scale that is no number from 0 to 20."""
    if not within(cfg_scale, 0, 20):
        raise ConfigError(f"sampling: got cfg_scale {cfg_scale}, expected a number from 0 to 20; 1.0 is off")


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeds:
    """One seed a stream, from 0 to 2**64 - 1; take b of a batch uses seed + b, and 0 follows the largest."""

    speech: int = 0
    background: int = 0

    def __post_init__(self) -> None:
        check_seed(self.speech)
        check_seed(self.background)

    def of_takes(self, count: int) -> list[list[int]]:
        """The seeds of `count` takes, for background and for speech."""
        return [[(seed + take) % 2**64 for take in range(count)] for seed in (self.background, self.speech)]


@dataclass(frozen=True, slots=True)
class Knobs:
    """Settings of S streams as tensors, where the logits are.

    Attributes:
        temperature: of each stream (S, 1).
        top_p: likewise.
        excluded: True at ranks that a stream does not choose from (S, K).
        uses_top_p: whether any does; told, so that no step asks a tensor.
    """

    temperature: Tensor
    top_p: Tensor
    excluded: Tensor
    uses_top_p: bool


def pick(logits: Tensor, noise: Tensor, knobs: Knobs) -> Tensor:
    """Draw one code a row and stream.

    Args:
        logits: (B, S, V); forbidden codes hold -inf.
        noise: by rank (B, S, K), -inf at excluded ranks.
        knobs: settings.

    Returns:
        (B, S) int64.
    """
    values, codes = logits.float().topk(noise.shape[-1], dim=-1)  # (B, S, K), descending
    values = values / knobs.temperature
    if knobs.uses_top_p:
        probability = values.masked_fill(knobs.excluded, -torch.inf).softmax(-1)
        before = probability.cumsum(-1) - probability
        values = values.masked_fill(before >= knobs.top_p, -torch.inf)
    best = (values + noise).argmax(-1, keepdim=True)
    return codes.gather(-1, best).squeeze(-1)


class CodeSampler:
    """Draws one code a row and stream from logits; streams are background, speech."""

    def __init__(
        self,
        streams: Sequence[StreamSampling],
        seeds: Sequence[Sequence[int]],
        *,
        num_logits: int,
        device: torch.device,
    ) -> None:
        """Fix settings and seeds for a run.

        Args:
            streams: settings of each stream.
            seeds: for each stream, one seed a row.
            num_logits: V, codes and EOS.
            device: where the logits are.
        """
        self._top_k = [1 if s.temperature == 0 else min(s.top_k or num_logits, num_logits) for s in streams]
        ranks = torch.arange(max(self._top_k))
        self.knobs = Knobs(
            temperature=torch.tensor([s.temperature or 1.0 for s in streams], device=device)[:, None],
            top_p=torch.tensor([s.top_p for s in streams], device=device)[:, None],
            excluded=torch.stack([ranks >= k for k in self._top_k]).to(device),
            uses_top_p=any(s.top_p < 1 for s in streams),
        )
        self._seeds = [[check_seed(seed) for seed in rows] for rows in seeds]
        self._device = device
        self._drawn = 0
        self._rewind()

    @property
    def num_candidates(self) -> int:
        """K, the most ranks that a stream chooses from."""
        return self.knobs.excluded.shape[1]

    def __call__(self, logits: Tensor, frame: int) -> Tensor:
        """Codes of one frame.

        Args:
            logits: (B, S, V); forbidden codes hold -inf.
            frame: index in the clip; noise belongs to frames, so a retake that starts later hears the same noise.

        Returns:
            (B, S) int64.
        """
        return pick(logits, self.noise(frame)[frame % NOISE_BLOCK], self.knobs)

    def noise(self, frame: int) -> Tensor:
        """Gumbel noise of the block that a frame lies in (NOISE_BLOCK, B, S, K), -inf at excluded ranks."""
        block = frame // NOISE_BLOCK
        if block < self._drawn - 1:
            self._rewind()
        while self._drawn <= block:
            self._draw()
        return self._noise

    def _rewind(self) -> None:
        self._generators = [[torch.Generator().manual_seed(seed) for seed in rows] for rows in self._seeds]
        self._noise, self._drawn = torch.empty(0), 0

    def _draw(self) -> None:
        noise = torch.full((NOISE_BLOCK, len(self._seeds[0]), len(self._top_k), self.num_candidates), -torch.inf)
        for stream, (generators, k) in enumerate(zip(self._generators, self._top_k, strict=True)):
            for row, generator in enumerate(generators):
                uniform = torch.rand(NOISE_BLOCK, k, generator=generator, dtype=torch.float64)
                noise[:, row, stream, :k] = -torch.log(-torch.log(uniform.clamp_(1e-12, 1 - 1e-12)))
        self._noise = noise.to(self._device)
        self._drawn += 1


def check_seed(seed: int) -> int:
    """Refuse a seed that is no whole number of 64 bits."""
    if not within(seed, 0, 2**64 - 1, whole=True):
        raise InputError(f"seed: got {seed!r}, expected a whole number from 0 to 2**64 - 1")
    return seed
