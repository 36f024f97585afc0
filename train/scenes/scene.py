"""What a video shows: a room, perhaps a thing that sounds, rain, a face, and something that moves silently.

Letters: F video frames, H W picture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas, Colour
from .config import CorpusConfig, Kind, Split
from .face import Face
from .impacts import Event
from .rain import Rain
from .rooms import ROOMS, Room
from .sources import SOURCES, Source
from .splits import layout_key, split_of_layout


@dataclass(frozen=True, slots=True)
class Distractor:
    """A cloud that drifts and makes no sound.

    Attributes:
        x: at time 0, pixels of 64.
        y: likewise.
        speed: pixels a second.
        radius: pixels.
        colour: of it.
    """

    x: float
    y: float
    speed: float
    radius: float
    colour: Colour

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Distractor":
        """One at random."""
        colour = tuple(rng.uniform(0.3, 1, 3).tolist())
        x, y, speed, radius = rng.uniform((0, 3, -18, 2), (64, 18, 18, 5)).tolist()
        return cls(x, y, speed, radius, (colour[0], colour[1], colour[2]))

    def paint(self, canvas: Canvas, times: NDArray[np.float64]) -> None:
        """It leaves on one side and comes back on the other."""
        scale = canvas.size / 64
        x = (self.x + self.speed * times) % 76 - 6
        canvas.disc(x * scale, self.y * scale, self.radius * scale, self.colour)


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene.

    Attributes:
        source: the name of the thing that sounds, or "rain" alone.
        thing: that thing, if any.
        rain: if any.
        face: if any.
        distractor: if any.
        room: around them.
        x: of the thing, pixels of 64.
        floor: height of the floor, pixels of 64.
        tint: factor on the colours of the room (red, green, blue).
    """

    source: str
    thing: Source | None
    rain: Rain | None
    face: Face | None
    distractor: Distractor | None
    room: Room
    x: float
    floor: float
    tint: Colour

    @property
    def events(self) -> tuple[Event, ...]:
        """What is seen and heard, in order of time."""
        return self.thing.events if self.thing else ()

    @property
    def layout(self) -> str:
        """What decides which split it belongs to."""
        if self.thing is None and self.rain is not None:
            return layout_key(self.source, self.rain.knots)
        return layout_key(self.source, [event.time for event in self.events])


def draw_scene(rng: np.random.Generator, config: CorpusConfig, kind: Kind, split: Split, duration: float) -> Scene:
    """A scene at random whose event layout belongs to the split."""
    while True:
        scene = _draw(rng, config, kind, duration)
        if split_of_layout(scene.layout) is split and (scene.events or scene.thing is None):
            return scene


def paint(scene: Scene, times: NDArray[np.float64], opening: NDArray[np.float64], *, size: int) -> NDArray[np.uint8]:
    """The pictures at `times` in seconds (F,), with the mouth so far open (F,); uint8 (F, H, W, 3)."""
    canvas = Canvas.blank(len(times), size)
    scale = size / 64
    wall, ground = (
        tuple(min(1.0, c * t) for c, t in zip(colour, scene.tint, strict=True))
        for colour in (scene.room.wall, scene.room.floor)
    )
    canvas.box(-2, -2, size + 2, size + 2, (wall[0], wall[1], wall[2]))
    canvas.box(-2, (scene.floor - 6) * scale, size + 2, size + 2, (ground[0], ground[1], ground[2]))
    if scene.distractor:
        scene.distractor.paint(canvas, times)
    if scene.thing:
        scene.thing.paint(canvas, times, x=scene.x * scale, floor=scene.floor * scale, scale=scale)
    if scene.face:
        scene.face.paint(canvas, opening)
    if scene.rain:
        scene.rain.paint(canvas, times)
    return canvas.to_bytes()


def _draw(rng: np.random.Generator, config: CorpusConfig, kind: Kind, duration: float) -> Scene:
    is_empty = kind is Kind.V2A and rng.random() < config.empty_probability
    source = "rain" if is_empty else tuple(SOURCES)[rng.integers(len(SOURCES))]
    has_face = kind is Kind.JOINT or rng.random() < config.silent_face_probability
    is_left = bool(rng.random() < 0.5)
    x = float(rng.uniform(43, 47)) if has_face else float(rng.uniform(20, 44))
    tint = rng.uniform(0.88, 1.08, 3).tolist()
    return Scene(
        source=source,
        thing=None if is_empty else SOURCES[source].draw(rng, duration),
        rain=Rain.draw(rng, duration) if is_empty or rng.random() < config.rain_probability else None,
        face=Face.draw(rng, is_left=is_left) if has_face else None,
        distractor=Distractor.draw(rng) if rng.random() < config.distractor_probability else None,
        room=ROOMS[rng.integers(len(ROOMS))],
        x=x if is_left or not has_face else 64 - x,
        floor=float(rng.uniform(55, 59)),
        tint=(tint[0], tint[1], tint[2]),
    )
