"""One shard of rows from a few clips: read, separate, filter, stages, written whole or not at all.

A shard says what it was made from, how many rows it keeps, and which clips were left out and why. Found again with
the same clips and recipe it is kept, so a run that stopped makes only what is missing.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dualdub_core import checkpoint
from dualdub_core.errors import InputError
from dualdub_core.files import replacing
from dualdub_core.models.clip import ClipVideoEncoder

from .datasets import Clip
from .precompute import LeftOut, Stage, check, prepare, stages_of
from .rows import PREPARED, Row
from .separation import Separator
from .stems import CORPUS, to_row

_MARK = b"dualdub_prepare"
_ROWS_TOGETHER = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What is made of a clip; small, so that it travels to other machines, where its files have the same paths.

    Attributes:
        separator: for clips whose sound is a mix.
        codec: checkpoint for codes and voices.
        vae: checkpoint for latents.
        video_encoder: checkpoint for video features.
        keep_pictures: in prepared rows; a corpus always has them.
        picture_size: edge in pixels; the video encoder's own where one is given.
        max_seconds: longest clip of prepared rows.
        device: of all networks but the separator's.
    """

    separator: Separator | None = None
    codec: Path | None = None
    vae: Path | None = None
    video_encoder: Path | None = None
    keep_pictures: bool = False
    picture_size: int = 224
    max_seconds: float = 10.0
    device: str = "cpu"

    @property
    def files(self) -> dict[str, Path | None]:
        """Checkpoints by component."""
        return {"codec": self.codec, "vae": self.vae, "video_encoder": self.video_encoder}

    def check(self) -> None:
        """Look at the files without loading what is in them.

        Raises:
            CheckpointError: a checkpoint is missing or damaged.
            InputError: the separator lacks something.
        """
        for path in self.files.values():
            if path is not None:
                checkpoint.read_header(path)
        if self.separator is not None:
            _ = self.separator.name

    @property
    def schema(self) -> pa.Schema:
        """Of the rows."""
        return PREPARED if any(self.files.values()) else CORPUS


@dataclass(frozen=True, slots=True)
class Job:
    """One shard to be made of a few clips."""

    target: Path
    clips: tuple[Clip, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a job: rows and seconds kept, and (id, reason) of the others."""

    target: str
    kept: int
    seconds: float
    left_out: tuple[tuple[str, str], ...]


def jobs_of(clips: Iterable[Clip], out: Path, *, rows_per_shard: int) -> list[Job]:
    """Clips dealt out to `<out>/<split>/<source>-00000.parquet` and so on, in their order.

    Raises:
        InputError: no clips, one named twice, or the folder has shards that are not among these.
    """
    ordered = sorted(clips, key=lambda clip: (clip.split, clip.source))  # stable: a layout's order is kept
    if not ordered:
        raise InputError("no clips found; check the data set's folder and the splits asked for")
    if len({clip.id for clip in ordered}) < len(ordered):
        raise InputError("the data set names a clip twice; its list is damaged, get it again")
    jobs = []
    for (split, source), group in groupby(ordered, key=lambda clip: (clip.split, clip.source)):
        members = tuple(group)
        numbered = enumerate(range(0, len(members), rows_per_shard))
        made = [
            Job(out / split / f"{source}-{number:05d}.parquet", members[first : first + rows_per_shard])
            for number, first in numbered
        ]
        if strange := set((out / split).glob(f"{source}-?????.parquet")) - {job.target for job in made}:
            raise InputError(f"{min(strange)}: made of more clips or in smaller shards; choose an empty folder")
        jobs += made
    return jobs


class ShardMaker:
    """Makes shards by a recipe; holds the networks, so one is made for each process."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._picture_size = recipe.picture_size
        self._stages: list[Stage] = [check]
        self._mark: dict[str, Any] = {"separator": recipe.separator.name if recipe.separator else ""}
        if self._is_prepared:
            self._stages, mark = stages_of(
                recipe.files,
                max_seconds=recipe.max_seconds,
                keep_pictures=recipe.keep_pictures,
                device=recipe.device,
            )
            self._mark |= mark
        if recipe.video_encoder is not None:
            found = checkpoint.load(recipe.video_encoder, components=["video_encoder"]).modules["video_encoder"]
            assert isinstance(found, ClipVideoEncoder)
            self._picture_size = found.config.image_size
        self._mark["picture_size"] = self._picture_size

    @property
    def _is_prepared(self) -> bool:
        return any(self._recipe.files.values())

    def __call__(self, job: Job) -> Report:
        """Make a shard, or find that it was made of the same clips by the same recipe."""
        wanted = hashlib.sha256(
            json.dumps([self._mark, [clip.fingerprint() for clip in job.clips]], sort_keys=True).encode()
        ).hexdigest()
        return _found(job.target, wanted) or self._make(job, wanted)

    def _make(self, job: Job, mark: str) -> Report:
        kept, seconds, left_out = 0, 0.0, []
        with (
            replacing(job.target) as temporary,
            pq.ParquetWriter(temporary, self._recipe.schema, compression="zstd") as f,
        ):
            together: list[Row] = []
            for clip in job.clips:
                row, reason = self._row(clip)
                if row is None:
                    left_out.append((clip.id, reason))
                    continue
                kept, seconds = kept + 1, seconds + row["duration"]
                together.append(row)
                if len(together) == _ROWS_TOGETHER:
                    _write(f, together)
                    together = []
            _write(f, together)
            report = Report(str(job.target), kept, round(seconds, 3), tuple(left_out))
            f.add_key_value_metadata({_MARK: json.dumps({"mark": mark, "report": asdict(report)})})
        return report

    def _row(self, clip: Clip) -> tuple[Row | None, str]:
        """The clip's row, or None and the reason."""
        try:
            row = to_row(clip, separator=self._recipe.separator, picture_size=self._picture_size)
        except LeftOut as reason:
            return None, str(reason)
        made, _, reason_of_stage = next(prepare(iter([row]), self._stages))
        if made is None:
            return None, reason_of_stage
        return (made if self._is_prepared else row), ""


def _write(file: pq.ParquetWriter, rows: list[Row]) -> None:
    if rows:
        file.write_table(pa.Table.from_pylist(rows, schema=file.schema))


def _found(path: Path, mark: str) -> Report | None:
    """The report of a shard that is there and has this mark."""
    if not path.is_file():
        return None
    held = (pq.read_metadata(path).metadata or {}).get(_MARK)
    found = json.loads(held) if held else {}
    if found.get("mark") != mark:
        return None
    facts = found["report"]
    return Report(str(path), facts["kept"], facts["seconds"], tuple((i, reason) for i, reason in facts["left_out"]))
