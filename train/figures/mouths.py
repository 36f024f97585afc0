"""Does the speech start where the mouth opens?"""

from collections.abc import Sequence

import numpy as np

from dualdub_core.dualbench.intervals import mean
from dualdub_core.types import Stream
from train.scenes.face import sound_onset

from .clips import EvalClip
from .compose import Made
from .table import Figure, Gate

GATE = Gate(bound=0.100)
ORIGINALS, ANOTHER, MIDDLE = "originals", "another video", "always the mean start"


def speech_start(made: Made) -> float:
    """Seconds at which a made speech is first heard; its end where it is silent."""
    speech = made.stems[Stream.SPEECH]
    if not np.any(speech):
        return len(speech) / made.sample_rate
    return sound_onset(speech, sample_rate=made.sample_rate)


def mouth_figure(clips: Sequence[EvalClip], made: Sequence[Made]) -> Figure:
    """The mean distance of the speech's start from the mouth's first opening, in seconds."""
    spoken = [(clip.mouth, clip, one) for clip, one in zip(clips, made, strict=True) if clip.mouth is not None]
    seen = [mouth for mouth, _, _ in spoken]
    heard = [speech_start(one) for _, _, one in spoken]
    originals = [speech_start(Made(clip.stems, clip.sample_rate)) for _, clip, _ in spoken]
    middle = float(np.mean(seen)) if seen else 0.0

    def error(one: Sequence[float], other: Sequence[float]) -> list[float]:
        return [abs(a - b) for a, b in zip(one, other, strict=True)]

    return Figure(
        key="joint.mouth.error",
        title="joint: speech starts where the mouth starts, mean error, s",
        better="lower",
        estimate=mean(error(heard, seen)),
        controls={
            ORIGINALS: mean(error(originals, seen)),
            ANOTHER: mean(error(heard, seen[1:] + seen[:1])),
            MIDDLE: mean(error([middle] * len(seen), seen)),
        },
        chance=(ANOTHER, MIDDLE),
        gate=GATE,
    )
