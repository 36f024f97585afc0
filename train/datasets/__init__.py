"""Published data sets as they lie on disk after their own instructions: each file knows one layout."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .anim400k import anim400k_clips
from .clip import Clip
from .libritts import libritts_clips
from .v2c import v2c_clips
from .vggsound import vggsound_clips

LAYOUTS: Mapping[str, Callable[[Path], Iterator[Clip]]] = {
    "vggsound": vggsound_clips,
    "libritts": libritts_clips,
    "anim400k": anim400k_clips,
    "v2c": v2c_clips,
}
"""From a data set's folder to its clips, in an order that is always the same."""

__all__ = ["LAYOUTS", "Clip", "anim400k_clips", "libritts_clips", "v2c_clips", "vggsound_clips"]
