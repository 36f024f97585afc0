"""Two stems to one soundtrack: gains, places, ducking, balance, loudness, and a limiter that both stems share.

Every gain that is applied to the sum is applied to both stems alike, so the delivered stems add up to the
delivered mix to the last bit. B batch, C channels, N samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..limits import within
from ..types import Audio, Soundtrack, check_finite
from .ducking import Spans, ducking_gain, heard_spans, narrowed
from .envelopes import factor
from .k_weighting import GATE_LUFS, lufs_over
from .limiting import limit
from .loudness import MIN_SECONDS, integrated_lufs, true_peak_db
from .placing import Placement, placed

REACHED_WITHIN = 0.1
"""LU off the target that still count as reached."""

_SANE_PEAK = 2.0**10  # samples beyond are scaled down first, else sums and filters could overflow
_CLOSE = 0.02  # LU; nearer need not be tried for
_MOST_TRIES = 10
_OPTIONAL = ("target_lufs", "speech_over_bed")
_LEAST_SLOPE = 0.2  # LU that a dB into the limiter gains, at the least; less would make huge steps


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
        duck_hold_ms: how long the background stays down after speech before it comes back.
        speech_over_bed: LU by which the speech is louder than the ducked background while somebody speaks, reached by
            the background's level; None leaves it.
        target_over: what `target_lufs` is measured over, all of the programme or the moments in which somebody speaks.
        drive_db: how much further the sum may be turned up to make up for what the limiter takes from the target.
        stereo: two channels come out, of one or two; a pan does the same.
        speech: where the speech stands and how it fades.
        background: likewise.
    """

    speech_gain_db: float = 0.0
    background_gain_db: float = 0.0
    ducking_db: float = 0.0
    duck_attack_ms: float = 50.0
    duck_release_ms: float = 250.0
    target_lufs: float | None = None
    ceiling_db: float = -1.0
    duck_hold_ms: float = 0.0
    speech_over_bed: float | None = None
    target_over: Literal["programme", "speech"] = "programme"
    drive_db: float = 0.0
    stereo: bool = False
    speech: Placement = field(default_factory=Placement)
    background: Placement = field(default_factory=Placement)

    def __post_init__(self) -> None:
        limits = {
            "speech_gain_db": (-120, 60),
            "background_gain_db": (-120, 60),
            "ducking_db": (0, 120),
            "duck_attack_ms": (1, 10_000),
            "duck_hold_ms": (0, 10_000),
            "duck_release_ms": (1, 10_000),
            "speech_over_bed": (-40, 60),
            "target_lufs": (-70, 0),
            "ceiling_db": (-60, 0),
            "drive_db": (0, 24),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not (within(value, low, high) or (value is None and name in _OPTIONAL)):
                raise ConfigError(f"mix: got {name} {value}, expected {low} to {high}")
        if self.target_over not in ("programme", "speech"):
            raise ConfigError(f"mix: got target_over '{self.target_over}', expected 'programme' or 'speech'")

    @property
    def is_stereo(self) -> bool:
        """Whether two channels come out whatever goes in."""
        return self.stereo or self.speech.pan != 0 or self.background.pan != 0


@dataclass(frozen=True, kw_only=True, slots=True)
class MixedItem:
    """What was done to one item of a batch.

    Attributes:
        spoken: seconds in which somebody is heard.
        is_known: whether those come from what the caller knew; else from energy.
        speech_gain_db: all that was applied to the whole speech, limiter apart.
        background_gain_db: likewise.
        ducking_db: the most that the background went down anywhere.
        unreached: why the loudness, or the balance, is not what was asked; empty where it is.
    """

    spoken: tuple[tuple[float, float], ...]
    is_known: bool
    speech_gain_db: float
    background_gain_db: float
    ducking_db: float
    unreached: tuple[str, ...]


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
        items: what was done to each.
    """

    speech: Audio
    background: Audio
    mix: Audio
    lufs: Tensor
    true_peak_db: Tensor
    gain_reduction_db: Tensor
    items: tuple[MixedItem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pair:
    """Both stems (C, N) of one item on their way, with what is to be told of them."""

    speech: Tensor
    background: Tensor
    told: MixedItem
    reduction_db: float = 0.0

    def louder(self, *, speech_db: float = 0.0, background_db: float = 0.0) -> "_Pair":
        """With more gain on the stems."""
        told = replace(
            self.told,
            speech_gain_db=self.told.speech_gain_db + speech_db,
            background_gain_db=self.told.background_gain_db + background_db,
        )
        stems = (self.speech * factor(speech_db), self.background * factor(background_db))
        return _Pair(*stems, told, self.reduction_db)

    def but(self, reason: str) -> "_Pair":
        """With a reason why a wish is not met."""
        return replace(self, told=replace(self.told, unreached=(*self.told.unreached, reason)))


def mix(soundtrack: Soundtrack, config: MixConfig, *, spoken: Sequence[Spans | None] | None = None) -> Mixed:
    """Mix the items of a batch, each on its own.

    Where the sum stays below the ceiling the limiter changes no bit. Silence stays silence, and sound too
    short or too quiet to have a loudness keeps its level. Results are float32 and lie in main memory.

    Args:
        soundtrack: the stems.
        config: what to do.
        spoken: seconds in which somebody may speak, for each item or once for all, such as `[codes.spoken]`; the
            background yields from the first to the last sound in each. None: found by energy.

    Raises:
        InputError: a stem is empty or has samples that are not finite, spans do not fit, or more than two channels
            are to become two.
    """
    check_finite(soundtrack.speech, "speech")
    check_finite(soundtrack.background, "background")
    rate = soundtrack.sample_rate
    stems = [stem.waveform.float().cpu() for stem in (soundtrack.speech, soundtrack.background)]
    known = _for_each(spoken, stems[0].shape[0])
    pairs = [_mix_item(a, b, rate, config, spans) for a, b, spans in zip(*stems, known, strict=True)]
    speech = Audio(torch.stack([pair.speech for pair in pairs]), rate)
    background = Audio(torch.stack([pair.background for pair in pairs]), rate)
    total = Audio(speech.waveform + background.waveform, rate)
    return Mixed(
        speech=speech,
        background=background,
        mix=total,
        lufs=integrated_lufs(total),
        true_peak_db=true_peak_db(total),
        gain_reduction_db=torch.tensor([pair.reduction_db for pair in pairs], dtype=torch.float64),
        items=tuple(pair.told for pair in pairs),
    )


def _for_each(spoken: Sequence[Spans | None] | None, count: int) -> list[Spans | None]:
    known: list[Spans | None] = [None] if spoken is None else list(spoken)
    if len(known) not in (1, count):
        raise InputError(f"mix: got spans of speech for {len(known)} items, expected 1 or {count}, as many as stems")
    return known if len(known) == count else known * count


def _mix_item(speech: Tensor, background: Tensor, sample_rate: int, config: MixConfig, known: Spans | None) -> _Pair:
    """Stems (C, N) to stems as they leave."""
    loudest = max(float(speech.abs().max()), float(background.abs().max()))
    sane = _SANE_PEAK / loudest if loudest > _SANE_PEAK else 1.0
    speech = speech * (sane * factor(config.speech_gain_db))
    background = background * (sane * factor(config.background_gain_db))
    spans: list[tuple[float, float]] = []
    if bool(speech.any()):
        spans = heard_spans(speech, sample_rate) if known is None else narrowed(known, speech, sample_rate)
    speech = placed(speech, sample_rate, config.speech, stereo=config.is_stereo)
    background = placed(background, sample_rate, config.background, stereo=config.is_stereo)
    ducked = 0.0
    if config.ducking_db > 0 and spans:
        gain = ducking_gain(
            spans,
            speech.shape[-1],
            sample_rate,
            depth_db=config.ducking_db,
            attack_ms=config.duck_attack_ms,
            hold_ms=config.duck_hold_ms,
            release_ms=config.duck_release_ms,
        )
        background, ducked = background * gain, -20 * math.log10(float(gain.min()))
    told = MixedItem(
        spoken=tuple(spans),
        is_known=known is not None,
        speech_gain_db=config.speech_gain_db,
        background_gain_db=config.background_gain_db,
        ducking_db=ducked,
        unreached=(),
    )
    pair = _balanced(_Pair(speech, background, told), sample_rate, config)
    pair = _finished(pair, sample_rate, config)
    return replace(pair, reduction_db=pair.reduction_db - 20 * math.log10(sane))


def _balanced(pair: _Pair, sample_rate: int, config: MixConfig) -> _Pair:
    """The background as far below the speech as wished, measured while somebody speaks."""
    if config.speech_over_bed is None:
        return pair
    spans = pair.told.spoken
    if not spans:
        return pair.but("balance: nobody is heard to speak")
    speech, bed = (lufs_over(stem, sample_rate, spans) for stem in (pair.speech, pair.background))
    for name, lufs in (("speech", speech), ("background", bed)):
        if lufs < GATE_LUFS:
            return pair.but(f"balance: the {name} is silent while somebody speaks")
    return pair.louder(background_db=speech - bed - config.speech_over_bed)


def _finished(pair: _Pair, sample_rate: int, config: MixConfig) -> _Pair:
    """At the loudness that is wished, as far as the ceiling lets it."""
    target = config.target_lufs
    if target is None:
        return _limited(pair, sample_rate, config)
    lufs = _loudness(pair, sample_rate, config)
    if lufs == -math.inf:
        return _limited(pair, sample_rate, config).but(_why_immeasurable(pair, sample_rate, config))
    gain, most, slope = target - lufs, target - lufs + config.drive_db, 1.0
    best = _limited(pair.louder(speech_db=gain, background_db=gain), sample_rate, config)
    lufs = _loudness(best, sample_rate, config)
    for _ in range(_MOST_TRIES):
        wanted = min(gain + (target - lufs) / slope, most)
        if config.drive_db == 0 or abs(target - lufs) <= _CLOSE or wanted == gain:
            break
        best = _limited(pair.louder(speech_db=wanted, background_db=wanted), sample_rate, config)
        found = _loudness(best, sample_rate, config)
        slope = min(1.0, max(_LEAST_SLOPE, (found - lufs) / (wanted - gain)))
        gain, lufs = wanted, found
    if abs(target - lufs) <= REACHED_WITHIN:
        return best
    why = f"the ceiling is {config.ceiling_db:g} dBTP" if best.reduction_db else "quiet parts pass the gate now"
    return best.but(f"loudness: {lufs:.1f} LUFS instead of {target:.1f}, {why}")


def _limited(pair: _Pair, sample_rate: int, config: MixConfig) -> _Pair:
    speech, background, reduction = limit(pair.speech, pair.background, sample_rate, config.ceiling_db)
    return _Pair(speech, background, pair.told, reduction)


def _loudness(pair: _Pair, sample_rate: int, config: MixConfig) -> float:
    total = pair.speech + pair.background
    if config.target_over == "speech":
        lufs = lufs_over(total, sample_rate, pair.told.spoken)
        return lufs if lufs >= GATE_LUFS else -math.inf
    return float(integrated_lufs(Audio(total[None], sample_rate)))


def _why_immeasurable(pair: _Pair, sample_rate: int, config: MixConfig) -> str:
    if not bool((pair.speech + pair.background).any()):
        return "loudness: silent, there is nothing to turn up"
    if config.target_over == "speech" and not pair.told.spoken:
        return "loudness: nobody is heard to speak, so dialogue has none"
    if pair.speech.shape[-1] < MIN_SECONDS * sample_rate:
        return f"loudness: too short, it takes {MIN_SECONDS} s to measure it"
    return f"loudness: never above {GATE_LUFS:g} LUFS, which is silence to the standard"
