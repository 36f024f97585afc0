"""Drawing all pictures of a clip at once: soft-edged shapes whose place is an array over time.

Letters: F video frames, H W picture. Coordinates are pixels: x to the right, y down, (0, 0) the top left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Track = float | Floats
"""A number, or one per frame (F,)."""
Colour = tuple[float, float, float]
"""Red, green, blue in [0, 1]."""


@dataclass(slots=True)
class Canvas:
    """Pictures being painted.

    Attributes:
        pixels: (F, H, W, 3) in [0, 1]; shapes are blended into it.
    """

    pixels: Floats

    @classmethod
    def blank(cls, num_frames: int, size: int) -> "Canvas":
        """Black pictures."""
        return cls(np.zeros((num_frames, size, size, 3), dtype=np.float32))

    @property
    def num_frames(self) -> int:
        """F."""
        return int(self.pixels.shape[0])

    @property
    def size(self) -> int:
        """H and W."""
        return int(self.pixels.shape[1])

    def to_bytes(self) -> NDArray[np.uint8]:
        """The pictures, uint8 (F, H, W, 3)."""
        pixels: NDArray[np.uint8] = np.rint(self.pixels.clip(0, 1) * 255).astype(np.uint8)
        return pixels

    def disc(self, x: Track, y: Track, radius: Track, colour: Colour) -> None:
        """A filled circle."""
        self.ellipse(x, y, radius, radius, colour)

    def ellipse(self, x: Track, y: Track, radius_x: Track, radius_y: Track, colour: Colour) -> None:
        """A filled ellipse with upright axes."""
        x, y, a, b = (self._column(v) for v in (x, y, radius_x, radius_y))
        box = self._box(x - a, x + a, y - b, y + b)
        xs, ys = self._grid(box)
        dx, dy = (xs - x) / a, (ys - y) / b
        distance = (np.sqrt(dx * dx + dy * dy) - 1) * np.minimum(a, b)
        self._blend(box, distance, colour)

    def line(self, x0: Track, y0: Track, x1: Track, y1: Track, thickness: Track, colour: Colour) -> None:
        """A line with round ends."""
        x0, y0, x1, y1, w = (self._column(v) for v in (x0, y0, x1, y1, thickness))
        w = w / 2
        box = self._box(np.minimum(x0, x1) - w, np.maximum(x0, x1) + w, np.minimum(y0, y1) - w, np.maximum(y0, y1) + w)
        xs, ys = self._grid(box)
        dx, dy = x1 - x0, y1 - y0
        along = ((xs - x0) * dx + (ys - y0) * dy) / np.maximum(dx * dx + dy * dy, 1e-6)
        along = along.clip(0, 1)
        distance = np.hypot(xs - x0 - along * dx, ys - y0 - along * dy) - w
        self._blend(box, distance, colour)

    def box(self, left: Track, top: Track, right: Track, bottom: Track, colour: Colour) -> None:
        """A filled upright rectangle."""
        left, top, right, bottom = (self._column(v) for v in (left, top, right, bottom))
        box = self._box(left, right, top, bottom)
        xs, ys = self._grid(box)
        distance = np.maximum(np.maximum(left - xs, xs - right), np.maximum(top - ys, ys - bottom))
        self._blend(box, distance, colour)

    def _column(self, value: Track) -> Floats:
        return np.broadcast_to(np.asarray(value, dtype=np.float32), (self.num_frames,))[:, None, None]

    def _box(self, left: Floats, right: Floats, top: Floats, bottom: Floats) -> tuple[slice, slice]:
        """Rows and columns that the shape touches in any frame, so that the rest is left alone."""
        low = [int(np.clip(np.floor(v.min()) - 1, 0, self.size)) for v in (top, left)]
        high = [int(np.clip(np.ceil(v.max()) + 2, 0, self.size)) for v in (bottom, right)]
        return slice(low[0], max(high[0], low[0])), slice(low[1], max(high[1], low[1]))

    def _grid(self, box: tuple[slice, slice]) -> tuple[Floats, Floats]:
        rows, columns = (np.arange(s.start, s.stop, dtype=np.float32) + np.float32(0.5) for s in box)
        return columns[None, None, :], rows[None, :, None]

    def _blend(self, box: tuple[slice, slice], distance: Floats, colour: Colour) -> None:
        # Half a pixel on both sides of the edge: places finer than a pixel stay visible.
        alpha = (0.5 - distance).clip(0, 1)[..., None]
        region = self.pixels[:, box[0], box[1]]
        region += alpha * (np.asarray(colour, dtype=np.float32) - region)
