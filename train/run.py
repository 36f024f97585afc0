"""Trains one part: `python -m train.run train/configs/mini/codec.yaml`, or the same under accelerate launch."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from dualdub_core.errors import DualDubError

from .config import PARTS, RunConfig, read
from .dry_run import estimate
from .loop import run
from .trainers import MAKERS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the configuration given; a run that was interrupted is continued."""
    parser = argparse.ArgumentParser(prog="python -m train.run", description="Train one part of DualDub.")
    parser.add_argument("config", type=Path, help="yaml file, see train/configs")
    parser.add_argument("--dry-run", action="store_true", help="print sizes, memory and work; read no data")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    try:
        config = read(options.config)
        if options.dry_run:
            print(estimate(config))
        else:
            run(config, MAKERS[part_of(config)])
    except DualDubError as error:
        parser.exit(2, f"{error}\n")


def part_of(config: RunConfig) -> str:
    """The name of the part that the run trains."""
    return next(name for name in PARTS if getattr(config, name) is not None)


if __name__ == "__main__":
    main()
