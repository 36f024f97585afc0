"""LibriTTS (and LibriTTS-R): `<part>/<speaker>/<chapter>/<speaker>_<chapter>_<n>_<n>.wav` beside `.normalized.txt`.

OpenSLR 60, CC BY 4.0, 24 kHz. Parts are named by their split: train-clean-100, dev-clean, test-other and so on.
"""

from collections.abc import Iterator
from pathlib import Path

from dualdub_core.errors import InputError
from dualdub_core.types import Task

from .clip import Clip

_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def libritts_clips(root: Path) -> Iterator[Clip]:
    """Clips part by part; one without a transcript has no text and will be left out for it.

    Args:
        root: holds the parts, or the folder LibriTTS that holds them.

    Raises:
        InputError: no parts.
    """
    folders = [folder for folder in (root, root / "LibriTTS", root / "LibriTTS_R") if folder.is_dir()]
    parts = sorted(
        part for folder in folders for part in folder.iterdir() if part.is_dir() and _split_of(part) is not None
    )
    if not parts:
        raise InputError(f"{root}: no parts such as train-clean-100, dev-clean; give the folder LibriTTS")
    for part in parts:
        for sound in sorted(part.glob("*/*/*.wav")):
            transcript = sound.with_suffix(".normalized.txt")
            yield Clip(
                id=f"libritts/{part.name}/{sound.stem}",
                task=Task.SPEECH,
                split=_SPLITS[part.name.split("-")[0]],
                source="libritts",
                sound=sound,
                text=transcript.read_text(encoding="utf-8").strip() if transcript.is_file() else "",
                speaker=f"libritts/{sound.parent.parent.name}",
            )


def _split_of(part: Path) -> str | None:
    return _SPLITS.get(part.name.split("-")[0]) if "-" in part.name else None
