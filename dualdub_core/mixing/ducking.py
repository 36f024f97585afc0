"""When somebody speaks, as a script knows it or as energy tells, and how the background yields to it.

Letters: C channels, N samples, M blocks of about a millisecond, the grid of the gains.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..scripts.measured import heard_span
from .envelopes import block_length, block_ms, per_sample

Spans = Sequence[tuple[float, float]]
"""Seconds from which to which somebody speaks."""

_WINDOW = 20  # blocks
_FLOOR_DB = -60.0
_RANGE_DB = 35.0
_AROUND = 0.005  # seconds; `heard_span` gives the middle of 10 ms, in all of which there may be sound


def heard_spans(speech: Tensor, sample_rate: int) -> list[tuple[float, float]]:
    """Where there is sound in the speech (C, N), from its energy alone.

    Sound is what is above -60 dBFS and within 35 dB of the loudest moment, so a breath of noise between the
    sentences does not hold the background down.
    """
    block = block_length(sample_rate)
    power = speech.square().mean(dim=0)
    power = F.pad(power, (0, -len(power) % block)).reshape(-1, block).mean(dim=1)
    window = 2 * (_WINDOW // 2) + 1
    power = F.avg_pool1d(power[None, None], window, stride=1, padding=window // 2)[0, 0]
    active = power > max(10 ** (_FLOOR_DB / 10), float(power.max()) * 10 ** (-_RANGE_DB / 10))
    edges = F.pad(active.int(), (1, 1)).diff()
    firsts, stops = ((edges == step).nonzero()[:, 0].tolist() for step in (1, -1))
    seconds = block / sample_rate
    return [(first * seconds, stop * seconds) for first, stop in zip(firsts, stops, strict=True)]


def narrowed(spans: Spans, speech: Tensor, sample_rate: int) -> list[tuple[float, float]]:
    """Known spans, each from its first to its last sound.

    A slot of a script is often wider than the line in it, and a line has pauses: the background shall yield to all
    of the line and to nothing else. A silent span is dropped.

    Args:
        spans: what is known, such as `Codes.spoken` or measured lines.
        speech: (C, N).
        sample_rate: Hz.

    Raises:
        InputError: a span has no start before its end.
    """
    level = speech.square().mean(dim=0).sqrt()
    found = []
    for start, end in spans:
        if not 0 <= start < end < math.inf:
            raise InputError(f"mix: got speech from {start} s to {end} s, expected a start before the end")
        first = round(start * sample_rate)
        heard = heard_span(level[first : round(end * sample_rate)], sample_rate)
        if heard is not None:
            begins, ends = first / sample_rate + heard[0] - _AROUND, first / sample_rate + heard[1] + _AROUND
            found.append((max(start, begins), min(end, ends)))
    return found


def ducking_gain(
    spans: Spans,
    num_samples: int,
    sample_rate: int,
    *,
    depth_db: float,
    attack_ms: float,
    hold_ms: float,
    release_ms: float,
) -> Tensor:
    """Gain of the background (N,) while others speak: raised-cosine ramps in dB.

    It is all the way down when a span begins and until `hold_ms` after it ends, so words close to each other do not
    pump.

    Args:
        spans: when somebody speaks.
        num_samples: N.
        sample_rate: Hz.
        depth_db: how much quieter.
        attack_ms: the way down, before a span.
        hold_ms: still down, after it.
        release_ms: the way back up.
    """
    block, length = block_length(sample_rate), block_ms(sample_rate)
    active = torch.zeros(-(-num_samples // block), dtype=torch.bool)
    for start, end in spans:
        first = round(start * sample_rate / block)
        active[first : max(first + 1, round(end * sample_rate / block))] = True
    if not bool(active.any()):
        return torch.ones(num_samples)
    index = torch.arange(len(active), dtype=torch.float64)
    far = torch.full_like(index, math.inf)
    attack, hold, release = attack_ms / length, hold_ms / length, release_ms / length  # blocks
    since = (index - torch.where(active, index, -far).cummax(dim=0).values - hold).clamp(min=0)
    until = torch.where(active, index, far).flip(0).cummin(dim=0).values.flip(0) - index
    depth = torch.maximum(1 - since / release, 1 - until / attack)
    curve_db = depth_db * (0.5 - 0.5 * torch.cos(math.pi * depth.clamp(min=0)))
    borders = torch.maximum(F.pad(curve_db, (1, 0)), F.pad(curve_db, (0, 1)))
    return per_sample(borders, block, num_samples).mul_(-math.log(10) / 20).exp_().float()
