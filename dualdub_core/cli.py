"""The `dualdub` command: its commands, each in a file of `commands`, and how a mistake is told."""

import argparse
import sys
from collections.abc import Sequence

from .commands.batch import add_batch
from .commands.bench import add_bench
from .commands.doctor import add_doctor
from .commands.download import add_download
from .commands.generate import add_generate
from .commands.inspect import add_inspect
from .commands.long import add_long
from .commands.plan import add_plan
from .commands.preflight import add_preflight
from .errors import DualDubError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 an error that one line explains, 2 wrong usage, 130 cancelled."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except DualDubError as error:
        print(f"dualdub: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder without permission
        print(f"dualdub: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dualdub: cancelled", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dualdub", description="Speech and background sound for a silent video.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_generate(commands)
    add_batch(commands)
    add_long(commands)
    add_plan(commands)
    add_preflight(commands)
    add_doctor(commands)
    add_inspect(commands)
    add_download(commands)
    add_bench(commands)
    return parser
