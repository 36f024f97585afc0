"""What a file is and what made it, for people: checkpoints, published weights, codes, voices, media."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint
from ..artifacts import KIND_KEY, load_codes, load_voice, read_values
from ..errors import InputError
from ..files import problem_of
from ..media.sound import probe, read_audio
from ..provenance.credentials import read_credentials
from ..provenance.provenance import Provenance
from ..provenance.stamps import read_provenance
from ..types import Stream

_WEIGHTS = {".ckpt", ".pt", ".pth", ".bin"}


def describe(path: Path | str) -> dict[str, Any]:
    """A file's kind and facts as plain values.

    Raises:
        InputError: it is missing, or neither weights nor media.
        CheckpointError: it is weights, but damaged.
    """
    path = Path(path)
    if problem := problem_of(path):
        raise InputError(f"{path}: {problem}")
    if path.suffix in _WEIGHTS:
        return _published(path)
    if path.suffix != ".safetensors":
        return _media(path)
    return {"codes": _codes, "voice": _voice, "checkpoint": _checkpoint, "other": _published}[kind_of(path)](path)


def kind_of(path: Path | str) -> str:
    """What a safetensors file is: "checkpoint", "codes", "voice", or "other" for weights of another origin.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    metadata = checkpoint.read_metadata(path)
    if KIND_KEY in metadata:
        return str(read_values(path)["kind"])
    return "checkpoint" if "dualdub_format" in metadata else "other"


def _media(path: Path) -> dict[str, Any]:
    try:
        return {"kind": "video", **asdict(probe(path)), **_origin(path)}
    except InputError as no_video:
        try:
            audio = read_audio(path)
        except InputError:
            raise no_video from None
    rate, channels = audio.sample_rate, audio.waveform.shape[1]
    return {"kind": "sound", "duration": audio.duration, "sample_rate": rate, "channels": channels, **_origin(path)}


def _origin(path: Path) -> dict[str, Any]:
    """What made a media file, and what was signed of it."""
    record, signed = read_provenance(path), read_credentials(path)
    return {**_shown(record), **({} if signed is None else {"content_credentials": signed})}


def _shown(record: Provenance | None) -> dict[str, Any]:
    if record is None:
        return {}
    graph = None if record.graph is None else f"{len(record.graph)} nodes"
    return {"made_by": {**record.as_dict(), "graph": graph}}


def _checkpoint(path: Path) -> dict[str, Any]:
    header = checkpoint.read_header(path)
    counts = dict.fromkeys(header.configs, 0)
    for name, shape in header.shapes.items():
        counts[name.split(".", 1)[0]] += torch.Size(shape).numel()
    return {
        "kind": "checkpoint",
        "info": header.info,
        "parameters": counts,
        "config": {name: asdict(config) for name, config in header.configs.items()},
    }


def _published(path: Path) -> dict[str, Any]:
    tensors = checkpoint.read_published(path)
    first = sorted(tensors)[:5]
    return {
        "kind": "weights of another origin",
        "tensors": len(tensors),
        "parameters": sum(t.numel() for t in tensors.values()),
        "first": {name: list(tensors[name].shape) for name in first},
    }


def _codes(path: Path) -> dict[str, Any]:
    codes = load_codes(path)
    return {
        "kind": "codes",
        "streams": [s.value for s in Stream if codes.stream(s) is not None],
        "takes": codes.batch_size,
        "frames": codes.num_frames,
        "duration": codes.duration,
        "frame_rate": codes.clock.frame_rate,
        "codebook_size": codes.codebook_size,
        **_shown(codes.made_by),
    }


def _voice(path: Path) -> dict[str, Any]:
    voice = load_voice(path)
    facts = {"name": voice.name, "model_id": voice.model_id, "width": voice.embedding.numel()}
    return {"kind": "voice", **facts, "consent": voice.consent}
