"""`dualdub batch`: soundtracks for a folder of videos or the rows of a table."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from ..batch import STATE, Item, identity_of, parse_seeds, read_items, run_batch, with_seeds
from ..errors import InputError
from ..provenance.provenance import fingerprint
from ..version import VERSION
from .console import say
from .generate import add_settings, maker

# Of the run as a whole, or of one folder alone: no column of a table.
_FIXED = {"out", "model", "device", "precision", "quiet", "retake", "retake_stream", "codes", "save_voice", "sign"}
_PATHS = ("video", "voice", "lock_speech", "lock_background")
_YES, _NO = ("1", "yes", "true", "on"), ("0", "no", "false", "off")


class _RowParser(argparse.ArgumentParser):
    """Reads the settings of one row; a wrong one is the row's mistake and does not end the program."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def add_batch(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "batch",
        help="make the soundtracks of many videos; a run that stopped goes on by the same command",
        description="One soundtrack for each video of a folder, or for each row of a CSV file whose columns are "
        "settings: name, video, script, voice, seed, start, length and so on. Items that fail are told in "
        f"{STATE} and do not stop the others.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="folder of videos, or CSV file")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the results, one folder an item")
    parser.add_argument("--seeds", default="", help="every item once for each seed: 1,5,9-12")
    parser.add_argument("--anew", action="store_true", help="make again what is done")
    add_settings(parser)
    rows = _RowParser(add_help=False)
    rows.add_argument("video", type=Path, nargs="?", default=argparse.SUPPRESS)
    add_settings(rows)
    parser.set_defaults(run=lambda options: _batch(options, rows), video=None)


def _batch(options: argparse.Namespace, rows: argparse.ArgumentParser) -> None:
    if options.retake is not None or options.codes is not None or options.save_voice is not None:
        raise InputError("batch: --retake, --codes and --save-voice are for one take; use dualdub generate")
    items = with_seeds(read_items(options.source), parse_seeds(options.seeds))
    base = options.source if options.source.is_dir() else options.source.parent
    known = set(vars(options)) - _FIXED - {"run", "source", "seeds", "anew"}
    unknown = sorted({column for item in items for column in item.values} - known)
    if unknown:
        raise InputError(f"batch: unknown column '{unknown[0]}'; known are name, {', '.join(sorted(known))}")
    make, weights = maker(options), fingerprint(options.model)

    def identity(item: Item) -> str:
        one = of_item(options, item, rows, base)
        files = {role: getattr(one, role) for role in _PATHS if getattr(one, role) is not None}
        files |= {f"speaker {text.partition('=')[0]}": Path(text.partition("=")[2]) for text in one.speaker}
        if one.script.startswith("@"):
            files["script"] = Path(one.script[1:])
        apart = {*_FIXED, *_PATHS, "speaker", "run", "source", "seeds", "anew"} - {"precision"}
        told = {key: value for key, value in vars(one).items() if key not in apart and key not in files}
        return identity_of({**told, "model": weights, "version": VERSION, "signed": one.sign is not None}, files)

    def one_more(stage: str, done: int, total: int) -> None:
        if not options.quiet:
            print(f"{stage}: {done} of {total}", file=sys.stderr)  # noqa: T201

    outcomes = run_batch(
        items,
        options.out,
        identity=identity,
        make=lambda item, folder: make(of_item(options, item, rows, base), folder),
        anew=options.anew,
        progress=one_more,
    )
    for name, outcome in outcomes.items():
        say(f"{outcome.status:6}  {options.out / name}" + (f": {outcome.error}" if outcome.error else ""))
    failed = sum(outcome.status == "failed" for outcome in outcomes.values())
    if failed:
        raise InputError(f"batch: {failed} of {len(outcomes)} items failed; see {options.out / STATE}")


def of_item(options: argparse.Namespace, item: Item, rows: argparse.ArgumentParser, base: Path) -> argparse.Namespace:
    """The settings of one item: the run's, and its own instead where it has some.

    Raises:
        InputError: a cell is none of the values that its setting takes.
    """
    words: list[str] = []
    for column, cell in item.values.items():
        flag = f"--{column.replace('_', '-')}"
        if column == "video":
            words.append(str(base / cell))
        elif column == "fit_background":
            words += [flag] if _is_yes(column, cell) else []
        elif column in ("speaker", "reroll", "consent"):
            words += [f"{flag}={_own(column, part.strip(), base)}" for part in cell.split(";") if part.strip()]
        else:
            words.append(f"{flag}={_own(column, cell, base)}")
    known = dict(vars(options))
    if "seed" in item.values:  # a row's seed counts more than the run's seeds of single streams
        known |= {"speech_seed": None, "background_seed": None}
    # What a namespace holds already is not replaced by a default.
    return rows.parse_args(words, argparse.Namespace(**known))


def _own(column: str, cell: str, base: Path) -> str:
    """A cell whose paths count from the table's folder."""
    if column in _PATHS:
        return str(base / cell)
    if column == "script" and cell.startswith("@"):
        return f"@{base / cell[1:]}"
    if column == "speaker":
        name, sign, path = cell.partition("=")
        return f"{name}{sign}{base / path}"
    return cell


def _is_yes(column: str, cell: str) -> bool:
    if cell.lower() not in (*_YES, *_NO):
        raise InputError(f"batch: column {column}: got '{cell}', expected yes or no")
    return cell.lower() in _YES
