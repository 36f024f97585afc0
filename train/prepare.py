"""Data sets on disk to rows for training: on one machine in a plain loop, on many by Ray Data.

python -m train.prepare --layout libritts --root DIR --out PREPARED --codec codec.safetensors ...

Both ways call the same `ShardMaker`, one job a shard, so they make the same shards; a run that stopped makes only
what is missing. Without checkpoints the rows are a corpus (stems and pictures), with them prepared rows. Every clip
that is left out stands in `left_out-<layout>.jsonl` with the reason.
"""

import argparse
import importlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dualdub_core.errors import DualDubError, InputError
from dualdub_core.files import replacing

from .datasets import LAYOUTS
from .separation import MelBandSeparator
from .sharding import Job, Recipe, Report, ShardMaker, jobs_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare a data set."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        reports = run(options)
    except DualDubError as error:
        parser.exit(2, f"{error}\n")
    kept, hours = sum(report.kept for report in reports), sum(report.seconds for report in reports) / 3600
    left_out = sum(len(report.left_out) for report in reports)
    print(f"{options.out}: {kept} rows, {hours:.2f} h; {left_out} left out (see left_out-{options.layout}.jsonl)")


def run(options: argparse.Namespace) -> list[Report]:
    """Make every shard that the command line asks for."""
    found = LAYOUTS[options.layout](options.root)
    clips = [clip for clip in found if not options.split or clip.split in options.split]
    separator = None
    if options.separator is not None:
        separator = MelBandSeparator(
            checkpoint=options.separator, config=options.separator_config, device=options.device
        )
    elif any(clip.is_mix for clip in clips):
        raise InputError(
            f"{options.layout}: its sound is a mix of speech and background; give --separator a checkpoint"
        )
    recipe = Recipe(
        separator=separator,
        codec=options.codec,
        vae=options.vae,
        video_encoder=options.video_encoder,
        keep_pictures=options.keep_pictures,
        picture_size=options.picture_size,
        max_seconds=options.max_seconds,
        device=options.device,
    )
    recipe.check()  # here, and in one line, rather than on other machines
    jobs = jobs_of(clips, options.out, rows_per_shard=options.rows_per_shard)
    if options.ray:
        made = over_machines(recipe, jobs, workers=options.workers, gpus=options.gpus)
    else:
        made = in_a_loop(recipe, jobs)
    reports = list(tqdm(made, total=len(jobs), unit="shard"))
    write_left_out(options.out / f"left_out-{options.layout}.jsonl", reports)
    return reports


def in_a_loop(recipe: Recipe, jobs: Sequence[Job]) -> Iterator[Report]:
    """Make the shards one after the other."""
    make = ShardMaker(recipe)
    for job in jobs:
        yield make(job)


def over_machines(recipe: Recipe, jobs: Sequence[Job], *, workers: int, gpus: float = 0.0) -> Iterator[Report]:
    """Make the shards by Ray Data: on this machine, or on the cluster that RAY_ADDRESS names.

    Args:
        recipe: its files and those of the clips are on every machine under the same paths.
        jobs: come back in any order.
        workers: at most so many processes.
        gpus: that each of them takes.

    Raises:
        InputError: Ray Data is not installed.
    """
    ray = _ray()
    if not ray.is_initialized():
        # By default Ray would also join whatever cluster was last started on this machine.
        ray.init(address=os.environ.get("RAY_ADDRESS", "local"), include_dashboard=False, log_to_driver=False)
    # One block a job: small inputs would otherwise be one task.
    rows = ray.data.from_items([{"job": job} for job in jobs], override_num_blocks=len(jobs))
    reports = rows.map(
        _RayWorker,
        fn_constructor_args=(recipe,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(jobs))),
        num_gpus=gpus,
    )
    for row in reports.iter_rows():
        facts = json.loads(row["report"])
        yield Report(**{**facts, "left_out": tuple((i, reason) for i, reason in facts["left_out"])})


def write_left_out(path: Path, reports: Iterable[Report]) -> None:
    """All rows left out with their reasons, in the order of the shards."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for report in sorted(reports, key=lambda report: report.target):
            file.writelines(json.dumps({"id": i, "reason": reason}) + "\n" for i, reason in report.left_out)


class _RayWorker:
    """A `ShardMaker` as Ray Data calls it."""

    def __init__(self, recipe: Recipe) -> None:
        self._make = ShardMaker(recipe)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {"report": json.dumps(asdict(self._make(row["job"])))}


def _absolute(path: str) -> Path:
    return Path(path).resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.prepare",
        description="Turn a published data set into rows: stems, codes, latents, video features.",
    )
    parser.add_argument("--layout", choices=sorted(LAYOUTS), required=True, help="how the data set lies on disk")
    parser.add_argument("--root", type=_absolute, required=True, help="its folder")
    parser.add_argument("--out", type=_absolute, required=True, help="folder for the shards; a run is continued there")
    parser.add_argument("--split", nargs="+", choices=("train", "validation", "test"), help="only these")
    parser.add_argument("--separator", type=_absolute, help="checkpoint of a Mel-RoFormer: for sound that is a mix")
    parser.add_argument("--separator-config", type=_absolute, help="its yaml (default: of the Kim vocal model)")
    parser.add_argument("--codec", type=_absolute, help="checkpoint with the codec: codes and voices")
    parser.add_argument("--vae", type=_absolute, help="checkpoint with the VAE: latents")
    parser.add_argument("--video-encoder", type=_absolute, help="checkpoint with the video encoder: features")
    parser.add_argument("--keep-pictures", action="store_true", help="in prepared rows too")
    parser.add_argument("--picture-size", type=int, default=224, help="where no video encoder says it (default 224)")
    parser.add_argument("--max-seconds", type=float, default=10.0, help="longest prepared clip (default 10)")
    parser.add_argument("--rows-per-shard", type=int, default=200)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--ray",
        action=argparse.BooleanOptionalAction,
        default=find_spec("ray") is not None,
        help="spread over processes and machines by Ray Data (default: where Ray is installed)",
    )
    parser.add_argument("--workers", type=int, default=2, help="Ray's processes at most (default 2)")
    parser.add_argument("--gpus", type=float, default=0.0, help="that each of them takes (default 0)")
    return parser


def _ray() -> Any:  # noqa: ANN401
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name}: not installed; run: pip install 'ray[data]', or choose --no-ray") from error


if __name__ == "__main__":
    main()
