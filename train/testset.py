"""DualBench sets: V2C-Animation through the preparation of section 4.2, or a small one from the procedural corpus.

python -m train.testset --layout v2c --root DIR --out dualbench --separator mel_roformer.ckpt
python -m train.testset --corpus corpus/test --out dualbench-mini --clips 50

Every clip has its silent video, both stems, its script, and another recording of its speaker as the voice. A clip that
is left out stands in `set.json` with the reason. A run that stopped makes only what is missing, and the same input
gives the same set, byte by byte.
"""

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

from dualdub_core.dualbench.levels import KEPT_FROM_DBFS
from dualdub_core.dualbench.testset import CARD, clip_id, write_set
from dualdub_core.errors import DualDubError, InputError
from dualdub_core.files import replacing
from dualdub_core.media.sound import probe

from .datasets import LAYOUTS, Clip
from .film_parts import write_film_part
from .precompute import LeftOut, check, read
from .prepare import in_a_loop, over_machines
from .rows import Row
from .scenes.shards import read_rows
from .separation import MelBandSeparator, Separator
from .sharding import Recipe, Report, jobs_of
from .testset_files import Material, Recording, voices_of, write_files

_PREPARED = "prepared"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a set."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        card = run(options)
    except DualDubError as error:
        parser.exit(2, f"{error}\n")
    print(
        f"{options.out}: {card['kept']} clips of {card['found']}, {card['seconds'] / max(1, card['kept']):.2f} s each"
    )
    for reason, count in card["reasons"].items():
        print(f"left out {count}: {reason}")


def run(options: argparse.Namespace, separator: Separator | None = None) -> Mapping[str, Any]:
    """Make what the command line asks for; what was written as `set.json`.

    Args:
        options: of the command line.
        separator: instead of the checkpoint that the options name.

    Raises:
        InputError: nothing to make a set from, or options that contradict each other.
    """
    if (options.corpus is None) == (options.layout is None):
        raise InputError("test set: give either --corpus FOLDER, or --layout and --root")
    if options.corpus is not None:
        return _from_corpus(options)
    return _from_layout(options, separator)


def _from_corpus(options: argparse.Namespace) -> Mapping[str, Any]:
    rows = list(read_rows(options.corpus, kind="joint", columns=_columns()))
    if not rows:
        raise InputError(f"{options.corpus}: no joint clips; make some: python -m train.scenes --kind joint")
    kept: list[Material] = []
    left_out: list[tuple[str, str]] = []
    for row in rows:
        if options.clips is not None and len(kept) == options.clips:
            break
        try:
            _check(row)
        except LeftOut as reason:
            left_out.append((row["id"], str(reason)))
            continue
        kept.append(Material(row=row, write_video=_film_writer(row), mark=""))
    if options.clips is not None and len(kept) < options.clips:
        raise InputError(f"{options.corpus}: has {len(kept)} clips to keep, {options.clips} were asked for; make more")
    others = read_rows(options.corpus, kind="tts", columns=_columns())
    voices = voices_of(iter([*(one.row for one in kept), *others]))
    return _write(options, kept, left_out, voices, made_from="the procedural corpus (train.scenes)")


def _from_layout(options: argparse.Namespace, separator: Separator | None) -> Mapping[str, Any]:
    if options.root is None:
        raise InputError(f"test set: --layout {options.layout} needs --root, the data set's folder")
    clips = {clip.id: clip for clip in LAYOUTS[options.layout](options.root) if clip.split == "test"}
    if not clips:
        raise InputError(f"{options.root}: no clip is listed for test; {options.layout} needs its test list there")
    if separator is None and any(clip.is_mix for clip in clips.values()):
        if options.separator is None:
            raise InputError(f"{options.layout}: its sound is a mix; give --separator a checkpoint")
        separator = MelBandSeparator(
            checkpoint=options.separator, config=options.separator_config, device=options.device
        )
    recipe = Recipe(separator=separator, picture_size=32, device=options.device)
    recipe.check()
    work = options.work or options.out.with_name(f"{options.out.name}.work")
    jobs = jobs_of(clips.values(), work / _PREPARED, rows_per_shard=options.rows_per_shard)
    made = over_machines(recipe, jobs, workers=options.workers) if options.ray else in_a_loop(recipe, jobs)
    reports: list[Report] = sorted(tqdm(made, total=len(jobs), unit="shard"), key=lambda report: report.target)
    left_out = [one for report in reports for one in report.left_out]
    rows = (row for report in reports for row in _rows(Path(report.target)))
    kept = [
        Material(
            row=row,
            write_video=_part_writer(clips[row["id"]], options.height),
            mark=f"{clips[row['id']].fingerprint()} {options.height}",
        )
        for row in rows
    ]
    if options.clips is not None:
        kept = kept[: options.clips]
    voices = voices_of(one.row for one in kept)
    return _write(options, kept, left_out, voices, made_from=options.layout)


def _write(
    options: argparse.Namespace,
    kept: Sequence[Material],
    left_out: list[tuple[str, str]],
    voices: Mapping[str, Sequence[Recording]],
    *,
    made_from: str,
) -> Mapping[str, Any]:
    """Files of each clip, then the manifest, then `set.json`."""
    out: Path = options.out
    work = options.work or out.with_name(f"{out.name}.work")
    found = len(kept) + len(left_out)
    names = [clip_id(one.row["id"]) for one in kept]
    if len({name.casefold() for name in names}) < len(names):
        raise InputError("test set: two clips have one name; the data set's list is damaged, get it again")
    (out / CARD).unlink(missing_ok=True)  # until all is there the set is not finished
    lines = []
    for name, one in tqdm(list(zip(names, kept, strict=True)), unit="clip"):
        try:
            lines.append(write_files(out, work, name, one, voices))
        except (LeftOut, InputError) as reason:
            left_out.append((one.row["id"], str(reason)))
    if not lines:
        raise InputError(f"test set: all {found} clips are left out; the first: {left_out[0][0]}: {left_out[0][1]}")
    card = {
        "name": options.name or out.name,
        "made_from": made_from,
        "filter_dbfs": KEPT_FROM_DBFS,
        "found": found,
        "kept": len(lines),
        "seconds": round(sum(line["duration"] for line in lines), 3),
        "own_voice": sum(line["voice_of"] == line["id"] for line in lines),
        "reasons": dict(Counter(_kind(reason) for _, reason in left_out).most_common()),
        "left_out": [{"id": name, "reason": reason} for name, reason in sorted(left_out)],
    }
    write_set(out, lines, card)
    return card


def _columns() -> list[str]:
    names = ("id", "task", "duration", "sample_rate", "text", "speaker", "source", "speech_flac", "background_flac")
    return [*names, "film_mp4", "event_times"]


def _rows(path: Path) -> Iterator[Row]:
    """Rows of a prepared shard without their pictures."""
    with pq.ParquetFile(path) as file:
        columns = [name for name in _columns() if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=20, columns=columns):
            yield from batch.to_pylist()


def _check(row: Row) -> None:
    """Refuse by LeftOut what a set cannot have: a silent stem, no text, no film."""
    check(read(row))
    if row["film_mp4"] is None:
        raise LeftOut("no film")


def _film_writer(row: Row) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(row["film_mp4"])

    return write


def _part_writer(clip: Clip, height: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        assert clip.picture is not None
        duration = clip.duration if clip.duration is not None else probe(clip.picture).duration
        write_film_part(clip.picture, path, start=clip.start, duration=duration, height=height)

    return write


def _kind(reason: str) -> str:
    """A reason without its numbers, so that reasons can be counted."""
    return re.sub(r"-?\d+(\.\d+)?", "#", reason)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.testset", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--corpus", type=_absolute, help="a split's folder of the procedural corpus, e.g. corpus/test")
    add("--layout", choices=sorted(LAYOUTS), help="or a published data set: how it lies on disk")
    add("--root", type=_absolute, help="its folder")
    add("--out", type=_absolute, required=True, help="folder of the set; a run is continued there")
    add("--work", type=_absolute, help="what is kept between runs (default: OUT.work); may be removed when done")
    add("--name", default="", help="of the set (default: of the folder)")
    add("--clips", type=int, help="so many, the first in order (default: all)")
    add("--separator", type=_absolute, help="checkpoint of a Mel-RoFormer: for sound that is a mix")
    add("--separator-config", type=_absolute, help="its yaml (default: of the Kim vocal model)")
    add("--height", type=int, default=240, help="pixels of the videos at most (default 240); AV-Align depends on it")
    add("--rows-per-shard", type=int, default=200)
    add("--device", default="cpu", help="of the separator")
    add(
        "--ray",
        action=argparse.BooleanOptionalAction,
        default=find_spec("ray") is not None,
        help="separate on many processes and machines by Ray Data (default: where Ray is installed)",
    )
    add("--workers", type=int, default=2, help="Ray's processes at most (default 2)")
    return parser


def _absolute(path: str) -> Path:
    return Path(path).resolve()


if __name__ == "__main__":
    main()
