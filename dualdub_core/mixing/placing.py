"""Where a stem stands between left and right, and how it begins and ends.

Letters: C channels, N samples.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..limits import within

LONGEST_FADE = 600.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Of one stem; as it stands, it is left as it is.

    Attributes:
        pan: -1 left, 0 middle, 1 right, by constant power: the loudness stays the same wherever the stem stands.
        fade_in: seconds from silence to full level at the beginning; longer than the clip is as long as the clip.
        fade_out: seconds from full level to silence at the end, likewise.
    """

    pan: float = 0.0
    fade_in: float = 0.0
    fade_out: float = 0.0

    def __post_init__(self) -> None:
        if not within(self.pan, -1, 1):
            raise ConfigError(f"mix: got pan {self.pan}, expected -1 (left) to 1 (right)")
        for name, value in (("fade_in", self.fade_in), ("fade_out", self.fade_out)):
            if not within(value, 0, LONGEST_FADE):
                raise ConfigError(f"mix: got {name} {value} s, expected 0 to {LONGEST_FADE:g}")


def placed(stem: Tensor, sample_rate: int, placement: Placement, *, stereo: bool) -> Tensor:
    """A stem with its pan and fades.

    One channel goes to left and right as cos and sin of the same angle, 3 dB down in the middle; of two, the louder
    side rises by at most 3 dB while the other falls.

    Args:
        stem: (C, N).
        sample_rate: Hz.
        placement: what to do.
        stereo: two channels come out.

    Returns:
        (2, N) where `stereo`, else (C, N); `stem` itself where nothing is to be done.

    Raises:
        InputError: more than two channels are to become two.
    """
    if stereo:
        stem = _panned(stem, placement.pan)
    fades = {0: placement.fade_in, -1: placement.fade_out}
    for end, seconds in fades.items():
        count = min(stem.shape[-1], round(seconds * sample_rate))
        if count:
            ramp = (torch.arange(count, dtype=torch.float64) / count * (math.pi / 2)).sin().square().to(stem)
            curve = stem.new_ones(stem.shape[-1])
            if end:
                curve[-count:] = ramp.flip(0)
            else:
                curve[:count] = ramp
            stem = stem * curve
    return stem


def _panned(stem: Tensor, pan: float) -> Tensor:
    channels = stem.shape[0]
    if channels > 2:
        raise InputError(f"mix: got {channels} channels, expected 1 or 2 to make stereo of; mix them down")
    angle = (pan + 1) * math.pi / 4
    sides = torch.tensor([[math.cos(angle)], [math.sin(angle)]], dtype=torch.float64)
    if channels == 1:
        return stem * sides.to(stem)
    if pan == 0:
        return stem
    return stem * (sides * math.sqrt(2)).to(stem)
