"""`dualdub download`: the only command that goes to the network."""

import argparse
from pathlib import Path

from .. import hub
from .console import say


def add_download(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("download", help="fetch published weights into a folder")
    parser.add_argument("name", choices=sorted(hub.PUBLISHED))
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder")
    parser.set_defaults(run=lambda options: say(hub.download(options.name, options.out)))
