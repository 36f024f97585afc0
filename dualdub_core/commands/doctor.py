"""`dualdub doctor`: a report to paste into a thread about a bug."""

import argparse
import json

from ..checks.doctor import complaints, environment
from ..errors import ConfigError
from .console import say


def add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", help="report versions and devices for a bug thread; no paths, no secrets")
    parser.set_defaults(run=_doctor)


def _doctor(_: argparse.Namespace) -> None:
    report = environment()
    say(json.dumps(report, indent=2, ensure_ascii=False))
    found = complaints(report)
    if found:
        raise ConfigError(f"doctor: {'; '.join(found)}")
