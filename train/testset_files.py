"""The four files of one clip of a test set: its silent video, both stems, and another recording of its speaker."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from dualdub_core.dualbench.testset import FILES, clip_id, sha256_of
from dualdub_core.files import replacing
from dualdub_core.media.sound import probe
from dualdub_core.timing import num_samples
from dualdub_core.types import Stream

from .precompute import LeftOut, cut_voice, read
from .rows import Row, flac, sound

CLIPS = "clips"
_LONG_ENOUGH = 3.0
"""Seconds of a voice: what the paper's speaker encoder hears."""

_NEARLY = 0.8  # of the longest recording of a speaker who has none that is long enough
_MADE = "made.json"
_SUFFIXES = {"video": "mp4", "voice": "voice.flac", "speech": "speech.flac", "background": "background.flac"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """One clip before its files are written.

    Attributes:
        row: of a corpus: stems, text, speaker.
        write_video: leaves the silent video at a path; LeftOut or InputError where it cannot.
        mark: changes when the video does.
    """

    row: Row
    write_video: Callable[[Path], None]
    mark: str


@dataclass(frozen=True, slots=True)
class Recording:
    """Someone speaking: the clip it is of, the words, and the speech without the silence around it."""

    id: str
    text: str
    content: bytes
    seconds: float


def write_files(
    out: Path, work: Path, name: str, material: Material, voices: Mapping[str, Sequence[Recording]]
) -> dict[str, Any]:
    """Write what is not there yet.

    Args:
        out: folder of the set.
        work: folder that remembers what files were made of.
        name: of the clip.
        material: what it is made of.
        voices: recordings by speaker.

    Returns:
        The clip's line of the manifest.

    Raises:
        LeftOut: its stems do not belong to its video, or nobody is recorded.
        InputError: its video cannot be read.
    """
    row = material.row
    voice = voice_for(row, voices.get(row["speaker"] or row["id"], ()))
    paths = {key: f"{CLIPS}/{name}.{_SUFFIXES[key]}" for key in FILES}
    mark = hashlib.sha256(
        repr((material.mark, row["text"], row["speaker"], row.get("event_times"), voice.id)).encode()
        + row["speech_flac"]
        + row["background_flac"]
        + (row.get("film_mp4") or b"")
        + voice.content
    ).hexdigest()
    record = work / CLIPS / name / _MADE
    earlier = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    if earlier.get("mark") == mark and all(
        (out / path).is_file() and sha256_of(out / path) == earlier["line"]["sha256"][key]
        for key, path in paths.items()
    ):
        line: dict[str, Any] = earlier["line"]
        return line
    (out / CLIPS).mkdir(parents=True, exist_ok=True)
    material.write_video(out / paths["video"])
    # The video says how long the clip is: a part of a film ends with a picture, not in one.
    duration = round(probe(out / paths["video"]).duration, 6)
    for stream in Stream:
        with replacing(out / paths[stream.value]) as temporary:
            temporary.write_bytes(_fitted(row[f"{stream.value}_flac"], duration, stream))
    with replacing(out / paths["voice"]) as temporary:
        temporary.write_bytes(voice.content)
    line = {
        "id": name,
        **paths,
        "script": row["text"],
        "voice_of": name if voice.id == row["id"] else clip_id(voice.id),
        "duration": duration,
        "speaker": row["speaker"],
        "source": row.get("source") or "",
        "events": row.get("event_times"),
        "sha256": {key: sha256_of(out / path) for key, path in paths.items()},
    }
    with replacing(record) as temporary:
        temporary.write_text(json.dumps({"mark": mark, "line": line}), encoding="utf-8")
    return line


def voice_for(row: Row, recordings: Sequence[Recording]) -> Recording:
    """Another recording of the row's speaker that says something else; the row's own where there is none.

    Long ones are taken where there are any, and which of them depends on the row's id alone.

    Raises:
        LeftOut: the speaker is not among the recordings.
    """
    others = [one for one in recordings if one.id != row["id"] and _words(one.text) != _words(row["text"])]
    if not others:
        others = [one for one in recordings if one.id == row["id"]]
    if not others:
        raise LeftOut("no recording of the speaker")
    enough = min(_LONG_ENOUGH, _NEARLY * max(one.seconds for one in others))
    long = [one for one in others if one.seconds >= enough]
    return long[int.from_bytes(hashlib.sha256(str(row["id"]).encode()).digest()[:4], "big") % len(long)]


def voices_of(rows: Iterator[Row]) -> dict[str, list[Recording]]:
    """Recordings of each speaker; where nobody is named, every clip is somebody of its own."""
    found: dict[str, list[Recording]] = {}
    for row in rows:
        if row["speech_flac"] is None:
            continue
        item = cut_voice(read(row))
        content = item.made["voice_flac"]
        waveform, rate = sound(content)
        one = Recording(row["id"], row["text"], content, len(waveform) / rate)
        found.setdefault(row["speaker"] or row["id"], []).append(one)
    return found


def _fitted(content: bytes, duration: float, stream: Stream) -> bytes:
    """A stem as long as the video: as it is where it is, else cut or continued with silence for less than a picture.

    Raises:
        LeftOut: it does not belong to this video.
    """
    waveform, rate = sound(content)
    wanted = num_samples(duration, rate)
    missing = wanted - len(waveform)
    if missing == 0:
        return content
    if abs(missing) > 0.5 * rate:
        raise LeftOut(f"{stream.value} lasts {len(waveform) / rate:.2f} s, the video {duration:.2f} s")
    return flac(torch.clone(F.pad(waveform[:wanted], (0, max(0, missing)))), rate)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
