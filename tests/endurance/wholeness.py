"""Whether files are whole, and whether two folders hold the same: by bytes, but for what a clock says."""

import hashlib
import json
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import soundfile
from PIL import Image
from safetensors import safe_open

# Of JSON files: seconds that stages took, and whether an item or window was made now or kept from before.
CLOCKED = {"seconds", "status", "counts", "is_kept"}
TEMPORARY = "*.part"


def digest(path: Path) -> str:
    """Equal for files that say the same."""
    content = path.read_bytes()
    if path.suffix == ".json":
        content = json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        # A report's size changes with the digits of its seconds.
        return {k: "" if k in CLOCKED or k == "report.json" else _timeless(v) for k, v in value.items()}
    return [_timeless(entry) for entry in value] if isinstance(value, list) else value


def problem(path: Path) -> str:
    """Why a file is not whole by its own kind, read to its end; empty where it is."""
    try:
        _READERS.get(path.suffix, _any)(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}".split("\n")[0]
    return ""


def _lines(path: Path) -> None:
    content = path.read_text()
    for line in content.splitlines():
        json.loads(line)
    if content and not content.endswith("\n"):
        raise ValueError("the last line does not end")


def _sound(path: Path) -> None:
    samples, _ = soundfile.read(path)
    if len(samples) != soundfile.info(path).frames:
        raise ValueError("shorter than its header says")


def _film(path: Path) -> None:
    with av.open(str(path)) as container:
        if not [packet for packet in container.demux() if packet.size]:
            raise ValueError("no packets")


def _tensors(path: Path) -> None:
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118, it is no dict
            file.get_tensor(name)


def _any(path: Path) -> None:
    if not path.stat().st_size:
        raise ValueError("empty")


_READERS = {
    ".json": lambda path: json.loads(path.read_bytes()),
    ".jsonl": _lines,
    ".wav": _sound,
    ".flac": _sound,
    ".mp4": _film,
    ".mkv": _film,
    ".safetensors": _tensors,
    ".parquet": pq.read_table,
    ".png": lambda path: Image.open(path).load(),
}


def files_in_place(folder: Path, ignored: Collection[str] = ()) -> dict[str, Path]:
    """By name from the folder, without what is hidden and what is ignored."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: path
        for name, path in found.items()
        if not any(part.startswith(".") for part in name.split("/")) and not any(fnmatch(name, i) for i in ignored)
    }


def leftovers(folder: Path) -> list[str]:
    """What is named as temporary."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(TEMPORARY))


def digests(folder: Path, ignored: Collection[str] = ()) -> dict[str, str]:
    """Of all files in place."""
    return {name: digest(path) for name, path in files_in_place(folder, ignored).items()}
