"""A corpus on disk: shards made by several processes, kept if already there, and a manifest of them all.

DIR/train/joint-00000.parquet ...    DIR/train/joint.json (manifest)    DIR/corpus.json (the config)
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.lib
import pyarrow.parquet as pq

from dualdub_core.config import to_dict
from dualdub_core.errors import ConfigError
from dualdub_core.files import replacing
from dualdub_core.progress import Progress, silent

from .clip import make_clip
from .config import CorpusConfig, Kind, Split
from .shards import read_mark, write_shard
from .speech import require_flite

MAKER_VERSION = 1
"""Raised whenever the same config gives other clips than before, so that old and new shards do not mix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Clips of one kind and split.

    Attributes:
        kind: of every clip.
        split: of every clip.
        num_clips: how many.
        clips_per_shard: in each file; the last may have fewer.
    """

    kind: Kind
    split: Split
    num_clips: int
    clips_per_shard: int = 200

    def __post_init__(self) -> None:
        if self.num_clips < 1 or self.clips_per_shard < 1:
            raise ConfigError(f"part: {self.num_clips=} and {self.clips_per_shard=} must be positive")

    def shards(self) -> list[tuple[str, range]]:
        """File names and the numbers of the clips in them."""
        starts = range(0, self.num_clips, self.clips_per_shard)
        return [
            (
                f"{self.kind.value}-{number:05d}.parquet",
                range(start, min(start + self.clips_per_shard, self.num_clips)),
            )
            for number, start in enumerate(starts)
        ]


def build(
    folder: Path, config: CorpusConfig, parts: list[Part], *, num_workers: int, progress: Progress = silent
) -> None:
    """Make what is missing of the parts.

    The same call continues a run that was interrupted; a call for more clips adds them.

    Raises:
        ConfigError: the folder holds a corpus of another config.
        InputError: there is to be speech, and flite is not installed.
    """
    if any(part.kind.has_speech for part in parts):
        require_flite()
    _claim(folder, config)
    jobs = [
        (folder / part.split.value / name, config, part.kind, part.split, indices)
        for part in parts
        for name, indices in part.shards()
    ]
    missing = [job for job in jobs if not _is_done(*job)]
    done = len(jobs) - len(missing)
    progress("scenes", done, len(jobs))
    for _ in _run(missing, num_workers):
        done += 1
        progress("scenes", done, len(jobs))
    for part in parts:
        _write_json(folder / part.split.value / f"{part.kind.value}.json", _manifest(folder, config, part))


def _run(jobs: list[Any], num_workers: int) -> Iterator[Path]:
    """Make shards, in this process or in several; their paths as they are done."""
    if num_workers == 1:
        for job in jobs:
            yield _make_shard(*job)
        return
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"), initializer=_live_with_parent) as pool:
        futures = [pool.submit(_make_shard, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _live_with_parent() -> None:
    """End this process when the one that started it was killed; left to itself it would wait for jobs for ever."""

    def wait() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _make_shard(path: Path, config: CorpusConfig, kind: Kind, split: Split, indices: range) -> Path:
    clips = (make_clip(config, kind, split, index) for index in indices)
    write_shard(path, clips, config, _mark(config, kind, split, indices))
    return path


def _mark(config: CorpusConfig, kind: Kind, split: Split, indices: range) -> dict[str, Any]:
    return {
        "corpus": _fingerprint(config),
        "kind": kind.value,
        "split": split.value,
        "first": indices.start,
        "last": indices.stop - 1,
    }


def _is_done(path: Path, config: CorpusConfig, kind: Kind, split: Split, indices: range) -> bool:
    if not path.exists():
        return False
    try:
        return read_mark(path) == _mark(config, kind, split, indices)
    except pyarrow.lib.ArrowInvalid:  # a damaged file is made again
        return False


def _fingerprint(config: CorpusConfig) -> str:
    text = json.dumps({"maker": MAKER_VERSION, **to_dict(config)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _claim(folder: Path, config: CorpusConfig) -> None:
    path = folder / "corpus.json"
    if path.exists():
        found = json.loads(path.read_text())["fingerprint"]
        if found != _fingerprint(config):
            raise ConfigError(
                f"{folder}: holds a corpus of another config ({found}, not {_fingerprint(config)}); "
                "use an empty folder, or the seed it was made with"
            )
        return
    _write_json(path, {"fingerprint": _fingerprint(config), "maker": MAKER_VERSION, "config": to_dict(config)})


def _manifest(folder: Path, config: CorpusConfig, part: Part) -> dict[str, Any]:
    shards = []
    for name, indices in part.shards():
        path = folder / part.split.value / name
        seconds = sum(pq.read_table(path, columns=["duration"]).column("duration").to_pylist())
        shards.append(
            {
                "file": name,
                "clips": len(indices),
                "seconds": round(seconds, 3),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    return {
        "corpus": _fingerprint(config),
        "kind": part.kind.value,
        "split": part.split.value,
        "clips": part.num_clips,
        "hours": round(sum(shard["seconds"] for shard in shards) / 3600, 4),
        "shards": shards,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
