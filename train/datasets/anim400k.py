"""Anim-400K: one annotation file, `anim400k_audio_clips/<xx>/<id>.mp3`, `anim400k_video_clips/<xx>/<id>.mp4`.

To be had under signed terms and an NDA. Texts are recognised, not transcribed; speakers are numbered within an
episode. There are no splits: whole shows are dealt out, so that no voice is in two.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from dualdub_core.errors import InputError
from dualdub_core.types import Task

from .clip import Clip, required, split_by

_LANGUAGE = "en"
"""Of the two sound tracks; the other is jp. The paper's scripts are English."""


def anim400k_clips(root: Path) -> Iterator[Clip]:
    """Clips of the English dub, show by show.

    Raises:
        InputError: no annotations.
    """
    # The documentation spells it anim400K_anntions.json.
    found = sorted(path for path in root.glob("*.json") if path.name.lower().startswith("anim400k"))
    if not found:
        raise InputError(f"{root}: no anim400K_*.json, expected Anim-400K's annotations beside its folders of clips")
    sounds = required(root / "anim400k_audio_clips", "Anim-400K's sounds")
    films = required(root / "anim400k_video_clips", "Anim-400K's films")
    shows: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    for show, facts in sorted(shows.items()):
        for episode, held in sorted(facts["episodes"].items()):
            for clip in held["clips"]:
                name = PurePosixPath(clip[f"{_LANGUAGE}_clip"]).name
                speakers = clip.get("speakers") or []
                yield Clip(
                    id=f"anim400k/{name}",
                    task=Task.JOINT,
                    split=split_by(f"anim400k/{show}"),
                    source="anim400k",
                    sound=sounds / name[:2] / f"{name}.mp3",
                    picture=films / name[:2] / f"{name}.mp4",
                    is_mix=True,
                    text=(clip.get(f"{_LANGUAGE}_text") or "").strip(),
                    speaker=f"anim400k/{show}/{episode}/{speakers[0]}" if len(speakers) == 1 else "",
                    lang=_LANGUAGE,
                )
