"""Two stems to one soundtrack: gains, ducking, loudness, and a limiter that both stems share.

Every gain that is applied to the sum is applied to both stems alike, so the delivered stems add up to the
delivered mix to the last bit. C channels, N samples, M blocks of about a millisecond, the grid of the gains.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ConfigError
from .loudness import block_peaks, integrated_lufs, true_peak_db
from .types import Audio, Soundtrack, check_finite

_LOOK_AHEAD = 5  # blocks
_RELEASE_DB_PER_MS = 0.03
_MARGIN = 1e-6  # of the ceiling, for the rounding of float32 samples

_SPEECH_WINDOW = 20  # blocks
_SPEECH_FLOOR_DB = -60.0
_SPEECH_RANGE_DB = 35.0

_SANE_PEAK = 2.0**10  # samples beyond are scaled down first, else sums and filters could overflow


@dataclass(frozen=True, kw_only=True, slots=True)
class MixConfig:
    """How the stems are put together; as it stands, added and kept below the ceiling.

    Attributes:
        speech_gain_db: of the speech.
        background_gain_db: of the background.
        ducking_db: how much quieter the background is while somebody speaks; 0 is off.
        duck_attack_ms: from full level down, done when the speech begins.
        duck_release_ms: back to full level, from where the speech ends.
        target_lufs: integrated loudness of the sum before the limiter; None leaves it.
        ceiling_db: true peak that the mix does not exceed, dBTP.
    """

    speech_gain_db: float = 0.0
    background_gain_db: float = 0.0
    ducking_db: float = 0.0
    duck_attack_ms: float = 50.0
    duck_release_ms: float = 250.0
    target_lufs: float | None = None
    ceiling_db: float = -1.0

    def __post_init__(self) -> None:
        limits = {
            "speech_gain_db": (-120, 60),
            "background_gain_db": (-120, 60),
            "ducking_db": (0, 120),
            "duck_attack_ms": (1, 10_000),
            "duck_release_ms": (1, 10_000),
            "target_lufs": (-70, 0),
            "ceiling_db": (-60, 0),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"mix: got {name} {value}, expected {low} to {high}")


@dataclass(frozen=True, slots=True)
class Mixed:
    """A finished soundtrack; `mix` is exactly `speech + background`.

    Attributes:
        speech: the stem (B, C, N) as it lies in the mix.
        background: likewise.
        mix: their sum.
        lufs: integrated loudness of the mix, after limiting, float64 (B,); -inf for silence.
        true_peak_db: of the mix, dBTP, float64 (B,); -inf for silence.
        gain_reduction_db: the most that the limiter took away anywhere, float64 (B,); 0 where it did nothing.
    """

    speech: Audio
    background: Audio
    mix: Audio
    lufs: Tensor
    true_peak_db: Tensor
    gain_reduction_db: Tensor


def mix(soundtrack: Soundtrack, config: MixConfig) -> Mixed:
    """Mix the items of a batch, each on its own.

    Where the sum stays below the ceiling the limiter changes no bit. Silence stays silence, and sound too
    short or too quiet to have a loudness keeps its level. Results are float32 and lie in main memory.

    Raises:
        InputError: a stem is empty or has samples that are not finite.
    """
    check_finite(soundtrack.speech, "speech")
    check_finite(soundtrack.background, "background")
    rate = soundtrack.sample_rate
    stems = (stem.waveform.float().cpu() for stem in (soundtrack.speech, soundtrack.background))
    items = [_mix_item(speech, background, rate, config) for speech, background in zip(*stems, strict=True)]
    speech = Audio(torch.stack([item[0] for item in items]), rate)
    background = Audio(torch.stack([item[1] for item in items]), rate)
    total = Audio(speech.waveform + background.waveform, rate)
    return Mixed(
        speech=speech,
        background=background,
        mix=total,
        lufs=integrated_lufs(total),
        true_peak_db=true_peak_db(total),
        gain_reduction_db=torch.tensor([item[2] for item in items], dtype=torch.float64),
    )


def _mix_item(speech: Tensor, background: Tensor, sample_rate: int, config: MixConfig) -> tuple[Tensor, Tensor, float]:
    """Stems (C, N) to stems as they leave and the limiter's largest reduction in dB."""
    loudest = max(float(speech.abs().max()), float(background.abs().max()))
    sane = _SANE_PEAK / loudest if loudest > _SANE_PEAK else 1.0
    speech = speech * (sane * _factor(config.speech_gain_db))
    background = background * (sane * _factor(config.background_gain_db))
    if config.ducking_db > 0 and bool(speech.any()):
        background = background * _ducking_gain(speech, sample_rate, config)
    if config.target_lufs is not None:
        lufs = float(integrated_lufs(Audio((speech + background)[None], sample_rate)))
        if lufs > -math.inf:
            speech, background = (stem * _factor(config.target_lufs - lufs) for stem in (speech, background))
    speech, background, reduction = _limit(speech, background, sample_rate, config.ceiling_db)
    return speech, background, reduction - 20 * math.log10(sane)


def _limit(speech: Tensor, background: Tensor, sample_rate: int, ceiling_db: float) -> tuple[Tensor, Tensor, float]:
    """Keep the true peak of `speech + background` at or below a ceiling, by one gain for both stems.

    It looks ahead, so the gain is already down when a peak comes, and recovers steadily afterwards.

    Args:
        speech: (C, N).
        background: (C, N).
        sample_rate: Hz.
        ceiling_db: dBTP.

    Returns:
        Both stems and the largest reduction in dB; untouched and 0 where nothing exceeds the ceiling.
    """
    ceiling = _factor(ceiling_db)
    num_samples = speech.shape[-1]
    block = _block(sample_rate)
    peaks = block_peaks(speech + background, block)
    if float(peaks.max()) <= ceiling:
        return speech, background, 0.0

    excess_db = 20 * (peaks.double() / ceiling).clamp(min=1).log10()  # (M,)
    release_db = _RELEASE_DB_PER_MS * _milliseconds(block, sample_rate)
    curve_db = _look_ahead(excess_db, _LOOK_AHEAD, release_db)
    reduction_db = float(curve_db.max())
    envelope = _per_sample(curve_db, block, num_samples).mul_(-math.log(10) / 20).exp_().float()
    speech, background = speech * envelope, background * envelope

    # A gain that moves bends the curve between the samples a little: what that leaves is taken off the whole.
    # The margin grows, so that it ends even where huge stems cancel and rounding is all there is.
    margin = _MARGIN
    while (peak := float(block_peaks(speech + background, num_samples).max())) > ceiling:
        rest = ceiling / peak * (1 - margin)
        speech, background, reduction_db = (
            speech * rest,
            background * rest,
            reduction_db - 20 * math.log10(rest),
        )
        margin = min(0.5, 2 * margin)
    return speech, background, reduction_db


def _look_ahead(excess_db: Tensor, look_ahead: int, release_db: float) -> Tensor:
    """Gain reduction (M + 1,) at the borders of blocks that each need `excess_db` (M,).

    At both borders of a block it is at least what the block needs. It rises for `look_ahead` blocks before,
    and falls by `release_db` a block afterwards.
    """
    # Held for one more block on either side, since a filter's view of a peak reaches beyond its block.
    padded = F.pad(excess_db, (look_ahead + 2, look_ahead + 2))
    needed = padded.unfold(0, look_ahead + 4, 1).amax(dim=1)
    fall = release_db * torch.arange(len(needed), dtype=needed.dtype)
    held = (needed + fall).cummax(dim=0).values - fall
    return held.unfold(0, look_ahead + 1, 1).mean(dim=1)


def _ducking_gain(speech: Tensor, sample_rate: int, config: MixConfig) -> Tensor:
    """Gain of the background (N,) that follows the speech (C, N): raised-cosine ramps in dB."""
    block = _block(sample_rate)
    active = _is_speaking(speech, sample_rate)
    if not bool(active.any()):
        return speech.new_ones(speech.shape[-1])
    length = _milliseconds(block, sample_rate)
    index = torch.arange(len(active), dtype=torch.float64)
    far = torch.full_like(index, math.inf)
    attack, release = config.duck_attack_ms / length, config.duck_release_ms / length  # blocks
    since = index - torch.where(active, index, -far).cummax(dim=0).values
    until = torch.where(active, index, far).flip(0).cummin(dim=0).values.flip(0) - index
    depth = torch.maximum(1 - since / release, 1 - until / attack)
    depth_db = config.ducking_db * (0.5 - 0.5 * torch.cos(math.pi * depth.clamp(min=0)))
    borders = torch.maximum(F.pad(depth_db, (1, 0)), F.pad(depth_db, (0, 1)))
    return _per_sample(borders, block, speech.shape[-1]).mul_(-math.log(10) / 20).exp_().float()


def _is_speaking(speech: Tensor, sample_rate: int) -> Tensor:
    """Which blocks of the speech (C, N) have sound in them, bool (M,).

    Sound is what is above -60 dBFS and within 35 dB of the loudest moment, so a breath of noise between the
    sentences does not hold the background down.
    """
    block = _block(sample_rate)
    power = speech.square().mean(dim=0)
    power = F.pad(power, (0, -len(power) % block)).reshape(-1, block).mean(dim=1)
    window = 2 * (_SPEECH_WINDOW // 2) + 1
    power = F.avg_pool1d(power[None, None], window, stride=1, padding=window // 2)[0, 0]
    threshold = max(10 ** (_SPEECH_FLOOR_DB / 10), float(power.max()) * 10 ** (-_SPEECH_RANGE_DB / 10))
    return power > threshold


def _per_sample(borders: Tensor, block: int, num_samples: int) -> Tensor:
    """Values (N,) on straight lines between the values (M + 1,) at the borders of blocks."""
    weight = (torch.arange(block, dtype=borders.dtype) + 0.5) / block
    return torch.lerp(borders[:-1, None], borders[1:, None], weight).reshape(-1)[:num_samples]


def _block(sample_rate: int) -> int:
    return max(1, round(sample_rate / 1000))


def _milliseconds(block: int, sample_rate: int) -> float:
    return 1000 * block / sample_rate


def _factor(decibels: float) -> float:
    return float(10 ** (decibels / 20))
