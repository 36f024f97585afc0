"""Provenance in files and back: the INFO texts of WAV, tags of video, the header of codes and voices."""

import json
from dataclasses import replace
from pathlib import Path

from ..artifacts import read_record
from ..errors import InputError
from ..files import problem_of
from ..media.containers import opened
from ..media.riff import append_chunk, info_list, info_texts
from .provenance import GRAPH_KEY, SOFTWARE, Provenance, from_json

TAG = "dualdub"
"""The tag that holds a record in video files; AVI, which knows only names of its own, has it as the comment."""


def stamp_wav(path: Path, record: Provenance) -> None:
    """Write a record into a whole WAV file that is not yet in its place."""
    texts = {"ISFT": f"{SOFTWARE} {record.version}", "ICMT": record.to_json()}
    append_chunk(path, b"LIST", info_list(texts))


def video_tags(record: Provenance, suffix: str) -> dict[str, str]:
    """Tags for `mux`: the record, and the graph where ComfyUI itself looks for it.

    Args:
        record: what made the sound.
        suffix: of the video file.
    """
    if suffix.lower() == ".avi":
        return {"comment": record.to_json(graph=False)}
    graph = {} if record.graph is None else {GRAPH_KEY: json.dumps(record.graph)}
    return {TAG: record.to_json(graph=False), **graph}


def read_provenance(path: Path | str) -> Provenance | None:
    """What made a file, as DualDub wrote it down; None for files of other origin.

    Args:
        path: WAV, video, codes or a voice.

    Raises:
        InputError: missing, damaged, or none of these.
    """
    path = Path(path)
    if problem := problem_of(path):
        raise InputError(f"{path}: {problem}")
    if path.suffix.lower() == ".safetensors":
        return read_record(path)
    told = (from_json(text) for key, text in info_texts(path) if key == "ICMT")
    return next((record for record in told if record is not None), None) or _of_video(path)


def _of_video(path: Path) -> Provenance | None:
    with opened(path) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    record = from_json(tags.get(TAG, "")) or from_json(tags.get("comment", ""))
    if record is None or GRAPH_KEY not in tags:
        return record
    try:
        graph = json.loads(tags[GRAPH_KEY])
    except (ValueError, RecursionError):
        return record
    return replace(record, graph=graph if isinstance(graph, dict) else None)
