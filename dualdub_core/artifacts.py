"""Small files an artist keeps: codes and voices, each a safetensors file that says what it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .config import from_dict, to_dict
from .errors import ConfigError, InputError, shortened
from .files import problem_of, replacing
from .provenance.provenance import Provenance, VoiceNote, from_values
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
        "spoken": codes.spoken,
        "info": dict(info or {}),
        "made_by": None if codes.made_by is None else codes.made_by.as_dict(),
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
            spoken=None if values.get("spoken") is None else tuple((a, b) for a, b in values["spoken"]),
            made_by=_record(values),
        )
    except InputError as error:
        raise InputError(f"{Path(path).name}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:  # a ConfigError is one of the last
        raise InputError(f"{Path(path).name}: its header does not describe codes ({error}); save them again") from error


def save_voice(path: Path | str, voice: Voice) -> None:
    """Keep a voice."""
    values = {"model_id": voice.model_id, "name": voice.name, "consent": voice.consent}
    _save(path, "voice", {"embedding": voice.embedding}, values)


def load_voice(path: Path | str) -> Voice:
    """A voice kept by `save_voice`.

    Raises:
        InputError: missing, damaged, or not a voice.
    """
    tensors, values = _load(path, "voice")
    try:
        return Voice(
            embedding=tensors["embedding"],
            model_id=str(values["model_id"]),
            name=str(values["name"]),
            consent=str(values.get("consent", "")),
        )
    except InputError as error:
        raise InputError(f"{Path(path).name}: {error}") from error
    except KeyError as error:
        raise InputError(f"{Path(path).name}: its header does not describe a voice ({error}); save it again") from error


def read_values(path: Path | str) -> dict[str, Any]:
    """What a file of codes or a voice says of itself, without its tensors.

    Raises:
        InputError: missing, damaged, or another kind of file.
    """
    path = Path(path)
    if problem := problem_of(path):
        raise InputError(f"{path}: {problem}")
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {}).get(KIND_KEY, "{}"))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name}: damaged or truncated ({shortened(error)}); save it again") from error
    if not isinstance(values, dict) or values.get("kind") not in ("codes", "voice"):
        raise InputError(f"{path.name}: got another kind of file, expected codes or a voice saved by DualDub")
    return values


def read_record(path: Path | str) -> Provenance | None:
    """What made codes, or whose voice a voice is; None for weights, and for codes kept before there were records.

    Raises:
        InputError: damaged.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            is_ours = KIND_KEY in (file.metadata() or {})
    except SafetensorError as error:
        raise InputError(f"{path.name}: damaged or truncated ({shortened(error)}); get it again") from error
    if not is_ours:
        return None
    values = read_values(path)
    if values["kind"] == "voice":
        return Provenance(voices=(VoiceNote(name=values.get("name", ""), consent=values.get("consent", "")),))
    return _record(values)


def _record(values: Mapping[str, Any]) -> Provenance | None:
    try:
        return from_values(values.get("made_by") or {})
    except ConfigError:
        return None


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
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path.name}: damaged or truncated ({shortened(error)}); save it again") from error
