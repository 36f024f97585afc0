"""A take as a picture: what was seen, each stem's wave, the mix's spectrogram, and where sound and picture have peaks.

Letters: N samples, F pictures, T frames, M bands, H W picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..audio import MelConfig, log_mel, to_mono, with_rate
from ..types import Audio, VideoFrames
from .av_align import Moments

Colour = tuple[int, int, int]

WIDTH = 900
_TITLE, _WAVE, _SPECTROGRAM, _SHOWN, _TICK = 16, 54, 96, 12, 9
_INK, _PAPER, _QUIET = (20, 20, 20), (255, 255, 255), (236, 236, 236)
_COLOURS = {"speech": (60, 110, 220), "background": (40, 150, 90), "mix": (110, 110, 110)}
_MOVES, _SOUNDS = (190, 0, 190), (220, 40, 40)
_MEL = MelConfig.mini()
_RANGE = 8.0  # nepers below the loudest that are still drawn, 70 dB


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """What is painted of one take.

    Attributes:
        title: in one line.
        duration: seconds across the picture.
        sounds: waves to draw, by the names speech, background and mix.
        mix: whose spectrogram is drawn.
        frames: pictures of the video, or None.
        moments: peaks of sound and picture, or None.
    """

    title: str
    duration: float
    sounds: dict[str, Audio] = field(default_factory=dict)
    mix: Audio
    frames: VideoFrames | None = None
    moments: Moments | None = None


def paint(drawing: Drawing) -> Image.Image:
    """The picture, WIDTH across.

    Violet: the picture moves most; red: an onset is heard.
    """
    strip = 0 if drawing.frames is None else WIDTH // _SHOWN
    height = _TITLE + strip + _WAVE * len(drawing.sounds) + _SPECTROGRAM + _TITLE
    image = Image.new("RGB", (WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(image)
    # The built-in font knows Latin letters only.
    draw.text((4, 2), drawing.title.encode("latin-1", "replace").decode("latin-1"), fill=_INK)
    if drawing.frames is not None:
        _film(image, drawing.frames, strip)
    top = _TITLE + strip
    for name, sound in drawing.sounds.items():
        _wave(draw, sound, drawing.duration, top, _COLOURS[name])
        draw.text((4, top), name, fill=_INK)
        top += _WAVE
    image.paste(_spectrogram(drawing.mix, drawing.duration), (0, top))
    _peaks(draw, drawing, _TITLE + strip, top + _SPECTROGRAM)
    legend = "violet: the picture moves most    red: an onset is heard" if drawing.moments else ""
    draw.text((4, top + _SPECTROGRAM + 2), f"{drawing.duration:.2f} s    {legend}", fill=_INK)
    return image


def to_tensor(image: Image.Image) -> torch.Tensor:
    """A picture (1, H, W, 3) from 0 to 1, as ComfyUI's IMAGE is."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None]


def _film(image: Image.Image, frames: VideoFrames, side: int) -> None:
    """Each picture stands where its time is on the axis of the waves below."""
    for column in range(_SHOWN):
        at = (column + 0.5) / _SHOWN * frames.duration
        nearest = int((frames.times - at).abs().argmin())
        picture = Image.fromarray(frames.pixels[nearest].permute(1, 2, 0).numpy()).resize((side - 2, side - 2))
        image.paste(picture, (column * side, _TITLE))


def _wave(draw: ImageDraw.ImageDraw, audio: Audio, duration: float, top: int, colour: Colour) -> None:
    samples = to_mono(audio).waveform[0, 0].float().cpu().numpy()
    draw.line((0, top + _WAVE / 2, WIDTH, top + _WAVE / 2), fill=_QUIET)
    loudest = max(1.0, float(np.abs(samples).max()))  # full scale, so that levels can be compared
    edges = np.linspace(0, duration * audio.sample_rate, WIDTH + 1).round().astype(int)
    for x, (first, last) in enumerate(pairwise(edges)):
        part = samples[first : max(last, first + 1)] / loudest
        if part.size:
            high, low = (top + _WAVE / 2 * (1 - float(v)) for v in (part.max(), part.min()))
            draw.line((x, high, x, max(low, high + 1)), fill=colour)


def _spectrogram(audio: Audio, duration: float) -> Image.Image:
    """Mel bands, low ones below; as wide as the part of the clip that has sound."""
    mono = with_rate(to_mono(audio), _MEL.sample_rate).waveform[:1, 0].float().cpu()
    bands = log_mel(mono, _MEL)[0].T.flip(0).numpy()  # (M, T)
    loudness = np.clip(1 + (bands - max(float(bands.max()), -6.0)) / _RANGE, 0, 1)
    colours = np.stack([loudness**1.2, loudness**2.2 * 0.85, 0.35 + 0.3 * np.sin(np.pi * loudness)], axis=-1)
    colours[loudness == 0] = 0
    width = max(1, min(WIDTH, round(mono.shape[1] / _MEL.sample_rate / duration * WIDTH)))
    painted = Image.fromarray((colours * 255).astype(np.uint8)).resize((width, _SPECTROGRAM))
    whole = Image.new("RGB", (WIDTH, _SPECTROGRAM), _QUIET)
    whole.paste(painted, (0, 0))
    return whole


def _peaks(draw: ImageDraw.ImageDraw, drawing: Drawing, top: int, bottom: int) -> None:
    if drawing.moments is None:
        return
    for x in _columns(drawing.moments.video_peaks, drawing.duration):
        draw.line((x, top, x, bottom), fill=_MOVES)
    for x in _columns(drawing.moments.audio_peaks, drawing.duration):
        draw.polygon((x - 4, bottom, x + 4, bottom, x, bottom - _TICK), fill=_SOUNDS)


def _columns(times: Sequence[float], duration: float) -> list[float]:
    return [time / duration * WIDTH for time in times]
