"""The room a clip happens in: seen as its walls, heard as its reverberation, the same in both stems.

Letters: N samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .canvas import Colour
from .impacts import band_noise

FloatArray = NDArray[np.float32]

_FIRST_REFLECTION = 0.006


@dataclass(frozen=True, slots=True)
class Room:
    """A room.

    Attributes:
        name: as the corpus calls it.
        reverberation: seconds to decay by 60 dB; 0 is outdoors.
        direct_db: how much louder the direct sound is than all reflections together.
        wall: colour.
        floor: colour.
    """

    name: str
    reverberation: float
    direct_db: float
    wall: Colour
    floor: Colour


ROOMS = (
    Room("dry", 0.0, 0.0, (0.66, 0.78, 0.88), (0.42, 0.62, 0.36)),
    Room("small", 0.2, 10.0, (0.85, 0.76, 0.62), (0.55, 0.4, 0.28)),
    Room("medium", 0.4, 14.0, (0.6, 0.56, 0.66), (0.36, 0.34, 0.36)),
    Room("hall", 0.8, 18.0, (0.3, 0.32, 0.42), (0.2, 0.2, 0.24)),
)


def impulse_response(room: Room, *, sample_rate: int, rng: np.random.Generator) -> FloatArray:
    """The room's answer to a click, float32 (N,); it begins with the direct sound, so nothing comes late."""
    response = np.zeros(1 + round(room.reverberation * sample_rate), dtype=np.float32)
    if room.reverberation:
        delay = round(_FIRST_REFLECTION * sample_rate)
        time = np.arange(len(response) - delay) / sample_rate
        tail = band_noise(len(time), (150, 5000), sample_rate=sample_rate, rng=rng)
        tail = tail * np.exp(-6.91 / room.reverberation * time)
        response[delay:] = tail / np.sqrt((tail**2).sum()) * 10 ** (-room.direct_db / 20)
    response[0] = 1
    return response


def reverberate(sound: FloatArray, response: FloatArray) -> FloatArray:
    """`sound` (N,) in the room of `response`, cut to N samples."""
    if len(response) == 1:
        return sound
    size = 1 << (len(sound) + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(sound, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(sound)].astype(np.float32)
