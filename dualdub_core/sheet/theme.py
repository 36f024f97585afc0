"""What a sheet is drawn with: colours for light and dark, and a pen that fits words into places."""

from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

from .fonts import lettered

Colour = tuple[int, int, int]
Theme = Literal["light", "dark"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Palette:
    """Colours by what they mean."""

    paper: Colour
    panel: Colour
    line: Colour
    ink: Colour
    muted: Colour
    speech: Colour
    speech_soft: Colour
    background: Colour
    background_soft: Colour
    bright: Colour
    onset: Colour
    move: Colour
    cue: Colour


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        paper=(252, 252, 251),
        panel=(240, 241, 243),
        line=(218, 220, 224),
        ink=(26, 28, 32),
        muted=(104, 109, 118),
        speech=(38, 92, 186),
        speech_soft=(158, 187, 232),
        background=(22, 122, 88),
        background_soft=(148, 206, 182),
        bright=(14, 20, 34),
        onset=(206, 56, 44),
        move=(148, 62, 172),
        cue=(196, 112, 8),
    ),
    "dark": Palette(
        paper=(22, 24, 28),
        panel=(34, 37, 43),
        line=(58, 62, 70),
        ink=(232, 234, 238),
        muted=(152, 158, 168),
        speech=(116, 168, 255),
        speech_soft=(52, 84, 142),
        background=(92, 208, 160),
        background_soft=(40, 104, 80),
        bright=(252, 252, 250),
        onset=(255, 112, 92),
        move=(214, 132, 236),
        cue=(246, 178, 72),
    ),
}


class Pen:
    """Draws on one picture; places are in pixels."""

    def __init__(self, image: Image.Image, palette: Palette) -> None:
        self.image, self.palette = image, palette
        self.draw = ImageDraw.Draw(image)

    def text(
        self,
        place: tuple[float, float],
        text: str,
        *,
        size: int = 15,
        colour: Colour | None = None,
        width: float | None = None,
        anchor: str = "la",
    ) -> float:
        """Write one line, shortened to `width` with an ellipsis; how wide it became."""
        shown = text if width is None else shortened(text, size, width)
        drawn, font = lettered(shown, size)
        self.draw.text(place, drawn, fill=colour or self.palette.ink, font=font, anchor=anchor)
        return font.getlength(drawn)

    def triangle(self, x: float, y: float, size: float, colour: Colour, *, down: bool) -> None:
        """With its point at `(x, y)`, pointing up or down."""
        far = y - size if down else y + size
        self.draw.polygon([(x - size * 0.6, far), (x + size * 0.6, far), (x, y)], fill=colour)


def width_of(text: str, size: int) -> float:
    """Pixels of one line."""
    drawn, font = lettered(text, size)
    return font.getlength(drawn)


def shortened(text: str, size: int, width: float) -> str:
    """As much of a text as has room, with an ellipsis for the rest; empty if not even that has room."""
    if width_of(text, size) <= width:
        return text
    fits, more = 0, len(text)
    while fits < more:
        half = (fits + more + 1) // 2
        fits, more = (half, more) if width_of(f"{text[:half].rstrip()}…", size) <= width else (fits, half - 1)
    return f"{text[:fits].rstrip()}…" if fits else ""


def wrapped(text: str, size: int, width: float, rows: int) -> list[str]:
    """A text in at most so many rows of at most that width; the last is shortened."""
    found: list[str] = []
    # Chinese and Japanese have no spaces to break at.
    words = text.split() if " " in text else list(text)
    glue = " " if " " in text else ""
    while words and len(found) < rows:
        count = 1
        while count < len(words) and width_of(glue.join(words[: count + 1]), size) <= width:
            count += 1
        if len(found) == rows - 1:
            count = len(words)
        found.append(shortened(glue.join(words[:count]), size, width))
        words = words[count:]
    return [row for row in found if row]
