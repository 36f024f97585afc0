"""What made a file: model, seeds, script, voices, settings and graph, as one record that travels with the sound.

It has no date, so that equal takes stay equal files. Of the script it keeps only a hash; the graph, where ComfyUI
gives one, holds the words.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..config import from_dict
from ..errors import ConfigError, InputError, shortened
from ..files import problem_of
from ..scripts.script import Script
from ..version import VERSION

SOFTWARE = "DualDub"
GRAPH_KEY = "prompt"
"""The tag under which ComfyUI keeps a graph in a media file."""

# Of a large file so many blocks are read, spread evenly: training changes all of them, and reading all would take
# seconds a gigabyte.
_BLOCKS, _BLOCK = 64, 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class VoiceNote:
    """Whose voice is heard.

    Attributes:
        name: what the artist calls it.
        consent: who agreed to its use, as the artist wrote it down; empty where nothing was.
    """

    name: str = ""
    consent: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """What made a sound; empty values are not known.

    Attributes:
        version: of DualDub.
        model: name that the checkpoint gives itself.
        fingerprint: of the checkpoint's file, see `fingerprint`.
        task: "joint", "background" or "speech".
        seeds: by what they are for.
        script_sha256: see `script_hash`.
        voices: who speaks.
        recorded: streams, or parts of them, that are held to recordings and are not the model's own.
        settings: of sampling, decoder and mix.
        graph: ComfyUI's, node by node.
    """

    version: str = VERSION
    model: str = ""
    fingerprint: str = ""
    task: str = ""
    seeds: dict[str, int] = field(default_factory=dict)
    script_sha256: str = ""
    voices: tuple[VoiceNote, ...] = ()
    recorded: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    graph: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with what every reader should see first: who wrote it and that the sound is synthetic."""
        return {"software": SOFTWARE, "synthetic": True, **asdict(self)}

    def to_json(self, *, graph: bool = True) -> str:
        """One line of ASCII, which every kind of file can hold."""
        return json.dumps((self if graph else replace(self, graph=None)).as_dict(), sort_keys=True, default=str)

    def with_settings(self, **settings: Any) -> "Provenance":  # noqa: ANN401
        """The same, with settings added."""
        return replace(self, settings={**self.settings, **settings})


def from_values(values: Mapping[str, Any]) -> Provenance:
    """A record from what `as_dict` gave.

    Raises:
        ConfigError: it is none, or of a later version that knows more.
    """
    if values.get("software") != SOFTWARE:
        raise ConfigError("provenance: written by other software")
    unknown = set(values) - {"software", "synthetic", *(entry.name for entry in fields(Provenance))}
    if unknown:
        raise ConfigError(f"provenance: written by a later version, which says more: {', '.join(sorted(unknown))}")
    graph = values.get("graph")
    try:
        return Provenance(
            **{key: str(values.get(key, "")) for key in ("version", "model", "fingerprint", "task", "script_sha256")},
            seeds={str(name): int(seed) for name, seed in values.get("seeds", {}).items()},
            voices=tuple(from_dict(VoiceNote, note, "provenance.voices") for note in values.get("voices", ())),
            recorded=tuple(map(str, values.get("recorded", ()))),
            settings=dict(values.get("settings", {})),
            graph=dict(graph) if graph is not None else None,
        )
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigError(f"provenance: damaged ({shortened(error)})") from error


def from_json(text: str) -> Provenance | None:
    """The record that a text is; None for any other text."""
    try:
        values = json.loads(text)
        return from_values(values) if isinstance(values, dict) else None
    except (ValueError, RecursionError):  # a ConfigError is one of the first
        return None


def fingerprint(path: Path | str) -> str:
    """16 hexadecimal digits of a weights file.

    SHA-256 over its size, its beginning and 64 blocks of 64 KiB spread evenly over it; a file smaller than these
    counts whole. Tells trainings apart; it is no proof against someone who forges one.

    Raises:
        InputError: the file is missing.
    """
    path = Path(path)
    if problem := problem_of(path):
        raise InputError(f"{path}: {problem}")
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _BLOCKS * _BLOCK:
            digest.update(file.read())
        else:
            for index in range(_BLOCKS):
                file.seek((size - _BLOCK) * index // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()[:16]


def script_hash(script: str | Script) -> str:
    """SHA-256 of a script's words, times and names; empty for no script."""
    if isinstance(script, str):
        return hashlib.sha256(script.encode(errors="replace")).hexdigest() if script.strip() else ""
    lines = [[line.text, line.start, line.end, line.speaker] for line in script.lines]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def merged(parts: Mapping[str, Provenance | None]) -> Provenance | None:
    """What made a mix of sounds, by their names; those without a record count as recorded elsewhere.

    One record where all are the same; else both stand under `settings`. None where there is no record at all.
    """
    known = {name: part for name, part in parts.items() if part is not None}
    if not known:
        return None
    first = next(iter(known.values()))
    foreign = tuple(name for name in parts if name not in known and name not in first.recorded)
    if all(part == first for part in known.values()):
        return replace(first, recorded=(*first.recorded, *foreign))
    return Provenance(
        version=first.version,
        model=" + ".join(_distinct(part.model for part in known.values())),
        fingerprint=" + ".join(_distinct(part.fingerprint for part in known.values())),
        seeds={f"{name} ({stem})": seed for stem, part in known.items() for name, seed in part.seeds.items()},
        voices=tuple(dict.fromkeys(note for part in known.values() for note in part.voices)),
        recorded=foreign,
        settings={name: replace(part, graph=None).as_dict() for name, part in known.items()},
        graph=first.graph,
    )


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, texts)))
