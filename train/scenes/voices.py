"""Who speaks: the free voices of flite and speakers made from them by pitch and vocal-tract length.

Each was judged by `python -m train.scenes.judge` (an offline recogniser, digits and words in free order)
before it was let in.
"""

from dataclasses import dataclass
from typing import Literal

Base = Literal["kal16", "rms", "awb", "slt"]


@dataclass(frozen=True, slots=True)
class SpeakerSpec:
    """A speaker.

    Attributes:
        name: as the corpus calls it.
        base: the flite voice.
        warp: factor on every formant; above 1 a shorter vocal tract.
        f0: mean pitch in Hz asked of flite before the warp, or None for the voice's own (rms has no other).
        held_out: never in training or validation clips.
    """

    name: str
    base: Base
    warp: float
    f0: float | None
    held_out: bool = False


VOICES = (
    SpeakerSpec("kal-095", "kal16", 0.95, 100),
    SpeakerSpec("kal-100", "kal16", 1.00, None),
    SpeakerSpec("kal-104", "kal16", 1.04, 160, held_out=True),
    SpeakerSpec("kal-110", "kal16", 1.10, 110),
    SpeakerSpec("kal-114", "kal16", 1.14, 160),
    SpeakerSpec("rms-095", "rms", 0.95, None),
    SpeakerSpec("rms-100", "rms", 1.00, None),
    SpeakerSpec("rms-107", "rms", 1.07, None),
    SpeakerSpec("rms-121", "rms", 1.21, None, held_out=True),
    SpeakerSpec("rms-128", "rms", 1.28, None),
    SpeakerSpec("awb-096", "awb", 0.96, 105),
    SpeakerSpec("awb-100", "awb", 1.00, None),
    SpeakerSpec("awb-103", "awb", 1.03, 170, held_out=True),
    SpeakerSpec("awb-121", "awb", 1.21, 200),
    SpeakerSpec("slt-080", "slt", 0.80, 140),
    SpeakerSpec("slt-087", "slt", 0.87, 200),
    SpeakerSpec("slt-090", "slt", 0.90, 150, held_out=True),
    SpeakerSpec("slt-094", "slt", 0.94, None),
    SpeakerSpec("slt-100", "slt", 1.00, None),
    SpeakerSpec("slt-100h", "slt", 1.00, 215),
)
REJECTED = (
    SpeakerSpec("kal-090", "kal16", 0.90, 95),
    SpeakerSpec("awb-090", "awb", 0.90, None),
    SpeakerSpec("awb-114", "awb", 1.14, 175),
    SpeakerSpec("slt-110", "slt", 1.10, 200),
)
"""Heard too badly; they stay here so that the judge can be seen to reject them."""

HELD_OUT_VOICES = tuple(speaker for speaker in VOICES if speaker.held_out)
TRAINING_VOICES = tuple(speaker for speaker in VOICES if not speaker.held_out)
