"""`dualdub inspect`: what a file holds."""

import argparse
import json
from pathlib import Path

from ..checks.inspection import describe
from .console import say


def add_inspect(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("inspect", help="say what a checkpoint, a media file, codes or a voice holds")
    parser.add_argument("file", type=Path)
    parser.set_defaults(run=lambda options: say(json.dumps(describe(options.file), indent=2, default=str)))
