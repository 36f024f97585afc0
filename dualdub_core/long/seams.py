"""How loud the joints of a sound are, compared with the material beside them.

A click is a jump from one sample to the next that its surroundings do not make. So at each joint the largest jump is
compared with the largest beside it; where it is not larger, nobody can point at the joint.

Letters: B batch, C channels, N samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import Audio

_AT = 0.001  # seconds around a joint that belong to it
_FLOOR = 1e-5  # of full scale: -100 dB, below which no jump is heard


@dataclass(frozen=True, kw_only=True, slots=True)
class Seam:
    """One joint.

    Attributes:
        time: seconds.
        jump_db: energy of its largest jump over the mean energy of the jumps beside it.
        excess_db: energy of its largest jump over that of the largest beside it; above 0 it stands out.
    """

    time: float
    jump_db: float
    excess_db: float


def measure_seams(audio: Audio, joints: Sequence[float], *, beside: float = 0.05) -> tuple[Seam, ...]:
    """The seams of a sound (B, C, N), over all its channels and items.

    Args:
        audio: the sound.
        joints: seconds at which it is joined; those at its ends are left out.
        beside: seconds before and after a joint that it is compared with.
    """
    found = []
    for joint in joints:
        middle = round(joint * audio.sample_rate)
        if not 0 < middle < audio.num_samples:
            continue
        near, wide = (max(1, round(seconds * audio.sample_rate)) for seconds in (_AT, beside))
        first = max(0, middle - wide)
        jumps = _jumps(audio.waveform[..., first : middle + wide])
        place = middle - first
        own = jumps[..., max(0, place - near) : place + near]
        others = torch.cat((jumps[..., : max(0, place - near)], jumps[..., place + near :]), dim=-1)
        found.append(
            Seam(
                time=joint,
                jump_db=_db(own.max(), others.square().mean().sqrt() if others.numel() else own.new_zeros(())),
                excess_db=_db(own.max(), others.max() if others.numel() else own.new_zeros(())),
            )
        )
    return tuple(found)


def _jumps(waveform: Tensor) -> Tensor:
    """From the sample before, as sizes; entry n is the jump to sample n."""
    return torch.nn.functional.pad(waveform.double().diff(dim=-1).abs(), (1, 0))


def _db(value: Tensor, reference: Tensor) -> float:
    return 20 * math.log10(max(float(value), _FLOOR) / max(float(reference), _FLOOR))
