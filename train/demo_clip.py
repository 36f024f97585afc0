"""Draws the example clip of the templates: a ball that bounces and a face that talks, silent.

python -m train.demo_clip workflows/assets/demo.mp4
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image, ImageDraw

from dualdub_core.files import replacing


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """Size and events of the clip; times in seconds."""

    duration: float = 4.0
    fps: int = 25
    width: int = 320
    height: int = 180
    bounce_period: float = 0.8
    speech_start: float = 0.6
    speech_end: float = 3.2
    syllable_period: float = 0.24
    sample_rate: int = 24_000

    @property
    def num_frames(self) -> int:
        """Pictures in the clip."""
        return round(self.duration * self.fps)


def bounce_times(config: ClipConfig) -> list[float]:
    """Seconds at which the ball touches the ground."""
    count = math.ceil(config.duration / config.bounce_period)
    return [
        config.bounce_period * (i + 0.5) for i in range(count) if config.bounce_period * (i + 0.5) < config.duration
    ]


def write_clip(path: Path, config: ClipConfig) -> None:
    """Write the clip as H.264 without a sound track, whole or not at all."""
    with replacing(path) as temporary, av.open(temporary, "w") as container:
        stream = container.add_stream("libx264", rate=config.fps, options={"crf": "20", "preset": "slow", "g": "25"})
        stream.width, stream.height, stream.pix_fmt = config.width, config.height, "yuv420p"
        for index, picture in enumerate(draw_frames(config)):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = index, Fraction(1, config.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def draw_frames(config: ClipConfig) -> Iterator[Image.Image]:
    """The pictures in order."""
    for index in range(config.num_frames):
        yield draw_frame(config, index / config.fps)


def draw_frame(config: ClipConfig, seconds: float) -> Image.Image:
    """The picture at one time; drawn at four times the size and reduced, so that edges are smooth."""
    scale = 4
    picture = Image.new("RGB", (config.width * scale, config.height * scale), (38, 52, 74))
    pen = ImageDraw.Draw(picture)
    ground = round(config.height * 0.82) * scale
    pen.rectangle((0, ground, picture.width, picture.height), fill=(92, 74, 60))
    _draw_ball(pen, config, seconds, ground, scale)
    _draw_face(pen, config, seconds, scale)
    return picture.resize((config.width, config.height), Image.Resampling.LANCZOS)


def _draw_ball(pen: ImageDraw.ImageDraw, config: ClipConfig, seconds: float, ground: int, scale: int) -> None:
    phase = (seconds / config.bounce_period) % 1.0
    height = 1.0 - (1.0 - abs(2.0 * phase - 1.0)) ** 2
    radius = 18 * scale
    x = config.width * scale * 0.24
    y = ground - radius - height * (config.height * 0.5) * scale
    squash = 1.0 - 0.25 * max(0.0, 1.0 - height * 6.0)
    shadow = radius * (1.0 - 0.5 * height)
    pen.ellipse((x - shadow, ground + 4 * scale, x + shadow, ground + 12 * scale), fill=(66, 52, 44))
    top = y + radius - 2.0 * radius * squash
    pen.ellipse((x - radius / squash, top, x + radius / squash, y + radius), fill=(230, 96, 64))


def _draw_face(pen: ImageDraw.ImageDraw, config: ClipConfig, seconds: float, scale: int) -> None:
    x, y, radius = config.width * scale * 0.68, config.height * scale * 0.42, 52 * scale
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(240, 204, 160))
    blink = 0.15 if 1.9 < seconds < 2.04 else 1.0
    for side in (-1, 1):
        eye_x, eye_y = x + side * 19 * scale, y - 14 * scale
        pen.ellipse(
            (eye_x - 6 * scale, eye_y - 8 * scale * blink, eye_x + 6 * scale, eye_y + 8 * scale * blink),
            fill=(40, 34, 40),
        )
    opening = 1.5 + 13.0 * _mouth(config, seconds)
    mouth_y, half_width = y + 22 * scale, (20.0 - 4.0 * _mouth(config, seconds)) * scale
    pen.ellipse(
        (x - half_width, mouth_y - opening * scale, x + half_width, mouth_y + opening * scale),
        fill=(132, 38, 48),
    )


def _mouth(config: ClipConfig, seconds: float) -> float:
    """How far the mouth is open, 0 to 1."""
    if not config.speech_start <= seconds < config.speech_end:
        return 0.0
    return math.sin(math.pi * (seconds - config.speech_start) / config.syllable_period) ** 2


def write_bed(path: Path, config: ClipConfig) -> None:
    """Write the sound of the ball and of a quiet room, mono, as long as the clip."""
    rng = np.random.default_rng(0)
    times = np.arange(round(config.duration * config.sample_rate)) / config.sample_rate
    bed = 0.004 * np.convolve(rng.standard_normal(times.size), np.ones(24) / 5.0, mode="same")
    for bounce in bounce_times(config):
        since = np.maximum(times - bounce, 0.0)
        bed += (
            0.5
            * (times >= bounce)
            * np.exp(-since * 28.0)
            * np.sin(2.0 * np.pi * (90.0 * since + 2.0 * (1 - np.exp(-since * 40))))
        )
    with replacing(path) as temporary:
        soundfile.write(temporary, bed, config.sample_rate, subtype="PCM_16")


def main() -> None:
    """Write both files to the folder given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    write_clip(folder / "demo.mp4", ClipConfig())
    write_bed(folder / "bed.flac", ClipConfig())


if __name__ == "__main__":
    main()
