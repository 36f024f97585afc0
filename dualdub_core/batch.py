"""Many soundtracks in one run: items from a folder or a table, each whole or absent, the run to be continued.

An item's folder says in `item.json` what it was made of; it is skipped while its inputs and settings are the same, byte
by byte. One that fails is told in `batch.json`, which is written anew after every item, and the others go on.
"""

import csv
import hashlib
import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .errors import DualDubError, InputError, shortened
from .files import replacing, replacing_folder
from .media.muxing import CONTAINERS
from .progress import Progress, silent
from .scripts.formats import SCRIPT_SUFFIXES, read_text

STATE, ITEM = "batch.json", "item.json"
VIDEO_SUFFIXES = (*CONTAINERS, ".ts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".flv")
"""Files of a folder that are taken for videos."""

_VOICE_SUFFIXES = (".voice.safetensors", ".voice.wav", ".voice.flac", ".voice.mp3")
_FORBIDDEN = set('/\\:*?"<>|') | {chr(code) for code in range(32)}
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows has no files of these names
_MOST_SEEDS = 10_000
_MOST_DIGITS = 20  # of 2**64

Status = Literal["done", "kept", "failed"]


@dataclass(frozen=True, slots=True)
class Item:
    """One soundtrack to be made: its name, and what it sets otherwise than the others."""

    name: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of an item.

    Attributes:
        status: made now, kept from an earlier run, or failed.
        identity: of its inputs and settings.
        seconds: wall time.
        files: in its folder, with their sizes in bytes.
        error: one line; empty without one.
    """

    status: Status
    identity: str
    seconds: float = 0.0
    files: dict[str, int] = field(default_factory=dict)
    error: str = ""


def read_items(source: Path | str) -> list[Item]:
    """Items of a folder of videos, or of a table.

    In a folder, `clip.mp4` takes its script from `clip.srt`, `.vtt`, `.txt` or `.json` and its voice from
    `clip.voice.wav` where these lie beside it. A table is CSV with a header; each column is a setting, and paths in
    it count from the table's folder.

    Raises:
        InputError: neither, nothing in it, or names that do not tell items apart.
    """
    source = Path(source)
    if source.is_dir():
        items = _of_folder(source)
    elif source.is_file():
        items = parse_table(read_text(source), what=source.name)
    else:
        raise InputError(f"batch: {source}: no such file or folder")
    if not items:
        raise InputError(f"batch: {source.name}: got no items, expected videos ({', '.join(VIDEO_SUFFIXES)}) or rows")
    return items


def parse_table(text: str, *, what: str = "table") -> list[Item]:
    """Items of CSV text, divided by commas, semicolons or tabs.

    Raises:
        InputError: no header, a row with more cells than it, or a name that two rows have.
    """
    text = text.removeprefix("\ufeff")
    header = text.split("\n", maxsplit=1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    columns = [(column or "").strip().lower().replace("-", "_") for column in reader.fieldnames or ()]
    if not columns or not all(columns) or len(set(columns)) != len(columns):
        raise InputError(f"batch: {what}: got the header '{header.strip()}', expected a name for each column")
    reader.fieldnames = columns
    rows = []
    try:
        for row in reader:
            if None in row:
                raise InputError(
                    f"batch: {what}: line {reader.line_num} has more cells than the header; quote cells with commas"
                )
            rows.append({column: cell.strip() for column, cell in row.items() if cell and cell.strip()})
    except csv.Error as error:
        raise InputError(f"batch: {what}: line {reader.line_num} is not CSV ({error})") from error
    rows = [values for values in rows if values]
    return _named([(values.pop("name", "") or _stem(values.get("video", "")), values) for values in rows], what)


def with_seeds(items: Sequence[Item], seeds: Sequence[int]) -> list[Item]:
    """Every item once for each seed; `clip` becomes `clip_seed7`. As they are without seeds."""
    if not seeds:
        return list(items)
    return [Item(f"{item.name}_seed{seed}", {**item.values, "seed": str(seed)}) for item in items for seed in seeds]


def parse_seeds(text: str) -> list[int]:
    """Seeds from `1, 5, 9-12`; empty text is none.

    Raises:
        InputError: something else, the same seed twice, or too many.
    """
    found: list[int] = []
    for entry in filter(None, (part.strip() for part in text.replace("\n", ",").split(","))):
        first, dash, last = (part.strip() for part in entry.partition("-"))
        told = shortened(entry, 40)
        begin, stop = _number(first), _number(last if dash else first)
        if begin is None or stop is None or stop < begin:
            raise InputError(f"seeds: got '{told}', expected numbers below 2**64 and ranges such as 1, 5, 9-12")
        if stop >= 2**64 or stop - begin + len(found) >= _MOST_SEEDS:
            raise InputError(f"seeds: got '{told}', expected at most {_MOST_SEEDS} seeds, each below 2**64")
        found += range(begin, stop + 1)
    twice = [seed for seed, count in Counter(found).items() if count > 1]
    if twice:
        raise InputError(f"seeds: got {twice[0]} twice, expected each once")
    return found


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def safe_name(name: str) -> str:
    """A name that every system takes as that of a folder.

    Raises:
        InputError: it is not one.
    """
    name = name.strip()
    if not name or set(name) & _FORBIDDEN or name[0] == "." or name[-1] == "." or _RESERVED.fullmatch(name):
        raise InputError(f"batch: got the name '{name}', expected one without slashes, colons, * ? \" < > | or dots "
                         "at its ends")  # fmt: skip
    return name


def identity_of(settings: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    """16 digits that change when a setting or the content of a file does; where the files lie does not matter.

    Raises:
        InputError: a file is missing.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for role, path in sorted(files.items()):
        if not path.is_file():
            raise InputError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}")
        content = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(2**20):
                content.update(block)
        digest.update(f"{role} {content.hexdigest()}".encode())
    return digest.hexdigest()[:16]


def run_batch(
    items: Sequence[Item],
    out: Path | str,
    *,
    identity: Callable[[Item], str],
    make: Callable[[Item, Path], None],
    anew: bool = False,
    progress: Progress = silent,
) -> dict[str, Outcome]:
    """Make every item in a folder of its name.

    An item is made in a hidden folder that takes its name when it is whole, so that a folder with a name is never
    half done, also after a kill.

    Args:
        items: with different names.
        out: folder of the results; made if need be.
        identity: of an item's inputs and settings.
        make: makes an item in an empty folder.
        anew: make again what is done.
        progress: reports "batch" after each item; raising from it cancels.

    Returns:
        By name, in the order of the items; also what `batch.json` then holds.
    """
    out = Path(out)
    outcomes: dict[str, Outcome] = {}
    for number, item in enumerate(items, start=1):
        outcomes[item.name] = _one(item, out, identity, make, anew=anew)
        _write_state(out, outcomes, [later.name for later in items[number:]])
        progress("batch", number, len(items))
    return outcomes


def _one(
    item: Item, out: Path, identity: Callable[[Item], str], make: Callable[[Item, Path], None], *, anew: bool
) -> Outcome:
    started, own = time.perf_counter(), ""
    target = out / item.name
    try:
        own = identity(item)
        earlier = _earlier(target)
        if earlier is not None and not anew and earlier.identity == own and _sizes(target) == earlier.files:
            return replace(earlier, status="kept")
        with replacing_folder(target) as part:
            make(item, part)
            seconds = round(time.perf_counter() - started, 3)
            outcome = Outcome(status="done", identity=own, seconds=seconds, files=_sizes(part))
            with replacing(part / ITEM) as temporary:
                temporary.write_text(json.dumps(asdict(outcome), indent=1), encoding="utf-8")
    except (DualDubError, OSError, RuntimeError, MemoryError) as error:  # torch says "out of memory" by RuntimeError
        reason = str(error).split("\n", maxsplit=1)[0] or type(error).__name__
        return Outcome(status="failed", identity=own, seconds=round(time.perf_counter() - started, 3), error=reason)
    return outcome


def _earlier(target: Path) -> Outcome | None:
    """What a folder says of itself; it is replaced only if it is one of ours."""
    if not target.exists():
        return None
    try:
        return Outcome(**json.loads((target / ITEM).read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{target}: is there already and no batch made it; choose another folder or name") from error


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ITEM)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _write_state(out: Path, outcomes: Mapping[str, Outcome], waiting: Sequence[str]) -> None:
    counts = Counter(outcome.status for outcome in outcomes.values())
    items = {name: asdict(outcome) for name, outcome in outcomes.items()}
    with replacing(out / STATE) as temporary:
        text = json.dumps({"counts": counts, "items": items, "waiting": waiting}, indent=1, ensure_ascii=False)
        temporary.write_text(text, encoding="utf-8")


def _of_folder(folder: Path) -> list[Item]:
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")}
    videos = [path for path in files.values() if path.suffix.lower() in VIDEO_SUFFIXES]
    stems = Counter(path.stem.casefold() for path in videos)
    rows = []
    for path in videos:
        values = {"video": path.name}
        values |= _beside(path.stem, files, SCRIPT_SUFFIXES, "script", "@")
        values |= _beside(path.stem, files, _VOICE_SUFFIXES, "voice", "")
        is_alone = stems[path.stem.casefold()] == 1
        rows.append((path.stem if is_alone else path.name.replace(".", "_"), values))
    return _named(rows, folder.name)


def _beside(stem: str, files: Mapping[str, Path], suffixes: Sequence[str], key: str, mark: str) -> dict[str, str]:
    found = next((f"{stem}{suffix}" for suffix in suffixes if f"{stem}{suffix}" in files), None)
    return {} if found is None else {key: f"{mark}{found}"}


def _named(rows: Sequence[tuple[str, dict[str, str]]], what: str) -> list[Item]:
    counts = Counter(name.strip().casefold() for name, _ in rows)
    for name, _ in rows:
        if not name:
            raise InputError(f"batch: {what}: a row has neither a name nor a video; add the column 'name'")
        if counts[name.strip().casefold()] > 1:
            raise InputError(f"batch: {what}: two items are called '{name}'; tell them apart in the column 'name'")
    return [Item(safe_name(name), dict(values)) for name, values in rows]


def _stem(path: str) -> str:
    """The name of a file without its ending, whatever separators the path has."""
    return Path(re.split(r"[/\\]", path)[-1]).stem
