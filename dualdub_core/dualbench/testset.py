"""A DualBench set on disk: silent videos, what is said in them and by whom, and the real stems to be judged against.

    SET/manifest.jsonl    one clip a line: id, video, script, voice, speech, background, duration, speaker, source,
                          events (seconds at which something is known to sound, or null), sha256 of each file;
                          paths are relative to SET and stay inside
    SET/set.json          name, where it comes from, counts, every clip left out and why, sha256 of the manifest

Section 4.2 of the paper; `train.testset` makes sets.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..files import replacing
from ..progress import Progress, silent

FORMAT = 1
MANIFEST, CARD = "manifest.jsonl", "set.json"
SHIPPED = Path(__file__).parent / "sets"
"""Where a set that comes with the package lies, named as its folder."""

FILES = ("video", "voice", "speech", "background")
_TEXTS = ("id", "script", "speaker", "source", "voice_of", *FILES)
_KEYS = {*_TEXTS, "duration", "events", "sha256"}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchClip:
    """One clip of a set.

    Attributes:
        id: letters, digits, `_` and `-`: also the name of files made for it.
        video: silent, as it is watched.
        voice: a recording of the speaker.
        voice_of: the clip that the recording is of; `id` itself where the speaker says nothing else.
        speech: the real stem.
        background: the real stem.
        script: what is said.
        duration: seconds of the video and of both stems.
        speaker: who says it; "" where unknown.
        source: the data set.
        events: seconds at which something in the picture sounds, where the maker of the set knows; else None.
        sha256: of each of `FILES`.
    """

    id: str
    video: Path
    voice: Path
    voice_of: str
    speech: Path
    background: Path
    script: str
    duration: float
    speaker: str
    source: str
    events: tuple[float, ...] | None
    sha256: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BenchSet:
    """A set as it was read.

    Attributes:
        name: of the set.
        folder: where it lies.
        sha256: of its manifest, which names the hash of every file: equal for equal sets.
        clips: in the manifest's order.
        card: `set.json`.
    """

    name: str
    folder: Path
    sha256: str
    clips: tuple[BenchClip, ...]
    card: Mapping[str, Any]


def read_set(where: Path | str, *, limit: int | None = None, progress: Progress = silent) -> BenchSet:
    """Read a set and check every file that it names.

    Args:
        where: the set's folder, its manifest, or the name of a set that is shipped.
        limit: only the first clips.
        progress: reports "check".

    Raises:
        InputError: no set, a damaged line, an id that is there twice, or a file that is missing, outside of the
            set or not the one that the manifest was written for.
    """
    folder = _folder(Path(where))
    manifest = folder / MANIFEST
    content = manifest.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    card = _card(folder, digest)
    try:
        lines = [line for line in content.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{manifest}: is not UTF-8 text ({error.reason}); make the set again") from error
    clips: dict[str, BenchClip] = {}
    for number, line in enumerate(lines, start=1):
        clip = _clip(line, folder, f"{manifest.name}, line {number}")
        # Files of two such clips would be one file where names differ in case only to people.
        if clip.id.casefold() in clips:
            raise InputError(f"{manifest.name}, line {number}: the id {clip.id!r} is there twice; make the set again")
        clips[clip.id.casefold()] = clip
    if not clips or (limit is not None and limit < 1):
        raise InputError(f"{manifest}: got no clips to judge, expected at least one")
    chosen = tuple(clips.values())[:limit]
    for done, clip in enumerate(chosen, start=1):
        _check_files(clip, folder)
        progress("check", done, len(chosen))
    return BenchSet(str(card.get("name", folder.name)), folder, digest, chosen, card)


def write_set(folder: Path, lines: Iterable[Mapping[str, Any]], card: Mapping[str, Any]) -> None:
    """Write the manifest and `set.json` of files that lie there already; `set.json` comes last."""
    manifest = "".join(json.dumps(dict(line), ensure_ascii=False) + "\n" for line in lines).encode()
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_bytes(manifest)
    written = {"format": FORMAT, **card, "manifest_sha256": hashlib.sha256(manifest).hexdigest()}
    with replacing(folder / CARD) as temporary:
        temporary.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def clip_id(name: str) -> str:
    """An id from any name: what ids may not hold becomes `_`; equal names only give equal ids.

    A name that had to be changed gets a few characters of its hash, as two could become one.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-") or "clip"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def sha256_of(path: Path) -> str:
    """The hash of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _folder(where: Path) -> Path:
    named = where if where.exists() else SHIPPED / where
    folder = named.parent if named.name == MANIFEST else named
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{where}: no DualBench set (a folder with {MANIFEST}); make one: python -m train.testset --help"
        )
    return folder


def _card(folder: Path, digest: str) -> Mapping[str, Any]:
    path = folder / CARD
    if not path.is_file():
        raise InputError(f"{path}: no such file; the set was not finished, run its builder again")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); make the set again") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError(f"{path}: is not a set of format {FORMAT}; make it again with this version")
    if card.get("manifest_sha256") != digest:
        raise InputError(f"{folder / MANIFEST}: is not the manifest that {CARD} was written for; make the set again")
    return card


def _clip(line: str, folder: Path, what: str) -> BenchClip:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise InputError(f"{what}: is not JSON ({error}); make the set again") from error
    if not isinstance(values, dict) or set(values) != _KEYS:
        got = sorted(set(values) ^ _KEYS) if isinstance(values, dict) else type(values).__name__
        raise InputError(f"{what}: missing or unknown keys {got}; known are {sorted(_KEYS)}")
    if not all(isinstance(values[key], str) for key in _TEXTS) or not isinstance(values["sha256"], dict):
        raise InputError(f"{what}: expected text under {', '.join(_TEXTS)} and an object under sha256")
    if not _ID.fullmatch(values["id"]):
        raise InputError(f"{what}: got the id {values['id']!r}, expected letters, digits, _ and - only")
    duration = values["duration"]
    if not isinstance(duration, (int, float)) or not 0 < duration < float("inf"):
        raise InputError(f"{what}: got a duration of {duration!r}, expected seconds above 0")
    events = values["events"]
    if events is not None and not (isinstance(events, list) and all(isinstance(time, (int, float)) for time in events)):
        raise InputError(f"{what}: got events {events!r}, expected a list of seconds or null")
    paths = {key: _inside(folder, values[key], what) for key in FILES}
    known = None if events is None else tuple(map(float, events))
    return BenchClip(**{**values, **paths, "duration": float(duration), "events": known})


def _inside(folder: Path, name: str, what: str) -> Path:
    parts = PurePosixPath(name).parts
    path = folder.joinpath(*parts)
    if not parts or PurePosixPath(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{what}: got the path {name!r}, expected one inside of the set's folder")
    return path


def _check_files(clip: BenchClip, folder: Path) -> None:
    for key in FILES:
        path: Path = getattr(clip, key)
        if not path.is_file():
            raise InputError(
                f"{path.relative_to(folder)}: no such file, the {key} of clip {clip.id}; get the set again"
            )
        if sha256_of(path) != clip.sha256.get(key):
            raise InputError(f"{path.relative_to(folder)}: is not the {key} that the manifest names; get the set again")
