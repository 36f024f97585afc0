"""VGGSound: `vggsound.csv` (YouTube id, start, label, split) and ten-second films `<id>_<start in six digits>.mp4`.

Annotations are CC BY 4.0, films stay with their owners. People may talk in any of them, so the sound is a mix, and
the background is what is left without the speech.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from dualdub_core.types import Task

from .clip import Clip, required


def vggsound_clips(root: Path) -> Iterator[Clip]:
    """Clips in the order of the list; films may lie in any folder below `root`, many are gone from YouTube.

    Raises:
        InputError: no list.
    """
    listed = required(root / "vggsound.csv", "VGGSound's list (YouTube id, start, label, split)")
    films = {path.stem: path for path in sorted(root.rglob("*.mp4"))}
    with listed.open(encoding="utf-8", newline="") as file:
        for youtube, start, _label, split in csv.reader(file):
            name = f"{youtube}_{int(start):06d}"
            film = films.get(name, root / f"{name}.mp4")
            yield Clip(
                id=f"vggsound/{name}",
                task=Task.BACKGROUND,
                split=split.strip(),
                source="vggsound",
                sound=film,
                picture=film,
                is_mix=True,
            )
