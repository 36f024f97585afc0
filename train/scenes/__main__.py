"""Make a corpus: `python -m train.scenes --out DIR --clips 2000 --kind v2a tts joint`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dualdub_core.errors import DualDubError

from .build import Part, build
from .config import CorpusConfig, Kind, Split


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.scenes", description="Make a corpus of little videos, sounds and speech."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus; a run that stopped is continued")
    parser.add_argument("--clips", type=int, required=True, help="clips of each kind and split")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--kind", nargs="+", choices=[k.value for k in Kind], default=["v2a", "tts", "joint"])
    parser.add_argument("--split", nargs="+", choices=[s.value for s in Split], default=[Split.TRAIN.value])
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--clips-per-shard", type=int, default=200)
    arguments = parser.parse_args(argv)
    try:
        parts = [
            Part(
                kind=Kind(kind),
                split=Split(split),
                num_clips=arguments.clips,
                clips_per_shard=arguments.clips_per_shard,
            )
            for split in arguments.split
            for kind in arguments.kind
        ]
        config = CorpusConfig.mini(arguments.seed)
        with tqdm(unit="shard") as bar:

            def show(stage: str, done: int, total: int) -> None:
                bar.set_description(stage)
                bar.total = total
                bar.update(done - bar.n)

            build(arguments.out, config, parts, num_workers=arguments.workers, progress=show)
    except DualDubError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
