"""Small files an artist keeps: codes and voices, each a safetensors file that says what it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .config import from_dict, to_dict
from .errors import ConfigError, InputError
from .files import replacing
from .timing import FrameClock
from .types import Codes, Voice

FORMAT = "1"
KIND_KEY = "dualdub"
"""The metadata key that holds what such a file says of itself."""


def save_codes(path: Path | str, codes: Codes, *, info: Mapping[str, Any] | None = None) -> None:
    """Keep codes, for decoding again or for a retake; `info` is free provenance."""
    tensors = {"speech": codes.speech, "background": codes.background}
    values = {
        "duration": codes.duration,
        "clock": to_dict(codes.clock),
        "codebook_size": codes.codebook_size,
        "lengths": codes.lengths,
        "info": dict(info or {}),
    }
    _save(path, "codes", {name: t for name, t in tensors.items() if t is not None}, values)


def load_codes(path: Path | str) -> Codes:
    """Codes kept by `save_codes`.

    Raises:
        InputError: missing, damaged, or not codes.
    """
    tensors, values = _load(path, "codes")
    try:
        return Codes(
            speech=tensors.get("speech"),
            background=tensors.get("background"),
            duration=values["duration"],
            clock=from_dict(FrameClock, values["clock"]),
            codebook_size=values["codebook_size"],
            lengths=None if values["lengths"] is None else tuple(values["lengths"]),
        )
    except (KeyError, ConfigError) as error:
        raise InputError(f"{Path(path).name}: its header does not describe codes ({error}); save them again") from error


def save_voice(path: Path | str, voice: Voice) -> None:
    """Keep a voice."""
    _save(path, "voice", {"embedding": voice.embedding}, {"model_id": voice.model_id, "name": voice.name})


def load_voice(path: Path | str) -> Voice:
    """A voice kept by `save_voice`.

    Raises:
        InputError: missing, damaged, or not a voice.
    """
    tensors, values = _load(path, "voice")
    try:
        return Voice(embedding=tensors["embedding"], model_id=values["model_id"], name=values["name"])
    except KeyError as error:
        raise InputError(f"{Path(path).name}: its header does not describe a voice ({error}); save it again") from error


def read_values(path: Path | str) -> dict[str, Any]:
    """What a file of codes or a voice says of itself, without its tensors.

    Raises:
        InputError: missing, damaged, or another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {}).get(KIND_KEY, "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{path.name}: damaged or truncated ({error}); save it again") from error
    if not isinstance(values, dict) or values.get("kind") not in ("codes", "voice"):
        raise InputError(f"{path.name}: got another kind of file, expected codes or a voice saved by DualDub")
    return values


def _save(path: Path | str, kind: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    # One key: the order of several changes from write to write, and equal takes shall be equal files.
    metadata = {KIND_KEY: json.dumps({"kind": kind, "format": FORMAT, **values})}
    with replacing(Path(path)) as temporary:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary, metadata=metadata)


def _load(path: Path | str, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    path = Path(path)
    values = read_values(path)
    if values["kind"] != kind or values.get("format") != FORMAT:
        raise InputError(f"{path.name}: got {values['kind']}, expected {kind} saved by DualDub")
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118
