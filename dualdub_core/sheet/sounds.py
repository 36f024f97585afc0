"""Sound as it is seen: waves with peaks and loudness, and spectrograms, each column a moment of one time axis.

Letters: C channels, N samples, T frames, M bands.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..audio import MelConfig, log_mel, to_mono, with_rate
from ..types import Audio
from .theme import Colour

MEL = MelConfig(sample_rate=24_000, n_fft=1024, hop_length=240, n_mels=96, floor=1e-5)
_RANGE = 7.5  # nepers below the loudest that are still seen, 65 dB
_QUIETEST = -6.5  # nepers; silence is not blown up
_PIECE = 60.0  # seconds transformed at a time, so that memory stays flat


def draw_wave(
    image: Image.Image, box: tuple[int, int, int, int], audio: Audio, *, full: float, soft: Colour, strong: Colour
) -> None:
    """The wave of one item (1, C, N) in a box (left, top, right, bottom): peaks softly, mean power strongly.

    Args:
        image: to draw on.
        box: in pixels; its width is the whole recording.
        audio: to draw.
        full: amplitude that fills the box.
        soft: colour of what the samples reach.
        strong: colour of their root mean square.
    """
    left, top, right, bottom = box
    draw, middle, half = ImageDraw.Draw(image), (top + bottom) / 2, (bottom - top) / 2
    samples = to_mono(audio).waveform[0, 0].float().cpu().numpy()
    edges = np.linspace(0, len(samples), right - left + 1).round().astype(int).clip(max=len(samples) - 1)
    for column, (first, last) in enumerate(pairwise(edges)):
        part = samples[first : max(last, first + 1)] / full
        x, power = left + column, math.sqrt(float(np.mean(np.square(part))))
        draw.line((x, middle - half * float(part.max()), x, middle - half * float(part.min())), fill=soft)
        draw.line((x, middle - half * power, x, middle + half * power), fill=strong)


def spectrogram(audio: Audio, size: tuple[int, int], colours: Sequence[Colour]) -> Image.Image:
    """Mel bands of one item (1, C, N), low ones below, from the first colour for silence to the last for the loudest.

    Args:
        audio: to draw.
        size: width and height in pixels; the width is the whole recording.
        colours: two or more, evenly spread over 65 dB.
    """
    width, height = size
    mono = with_rate(to_mono(audio), MEL.sample_rate).waveform[:1, 0].float().cpu()
    total, piece = mono.shape[1], round(_PIECE * MEL.sample_rate)
    seen = np.full((height, width), -1e9, dtype=np.float32)
    for first in range(0, total, piece):
        part = mono[:, first : first + piece]
        left, right = (round(edge / total * width) for edge in (first, first + part.shape[1]))
        if right > left and part.shape[1] > MEL.n_fft // 2:
            bands = log_mel(part, MEL)[0].T.flip(0).numpy()  # (M, T)
            painted = Image.fromarray(bands).resize((right - left, height), Image.Resampling.BOX)
            seen[:, left:right] = np.asarray(painted)
    shade = np.clip(1 + (seen - max(float(seen.max()), _QUIETEST)) / _RANGE, 0, 1)
    return Image.fromarray(_coloured(shade, colours))


def mel_height(hertz: float) -> float:
    """Where a frequency lies in a spectrogram, 0 below to 1 above."""
    return math.log10(1 + hertz / 700) / math.log10(1 + MEL.sample_rate / 2 / 700)


def peak_of(audio: Audio) -> float:
    """The largest sample of the mean of the channels, as it is drawn."""
    return float(to_mono(audio).waveform.abs().max())


def _coloured(shade: NDArray[np.float32], colours: Sequence[Colour]) -> NDArray[np.uint8]:
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(shade, stops, [colour[channel] for colour in colours]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
