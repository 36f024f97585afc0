"""The table of figures: `python -m train.evaluate --checkpoint FILE --corpus DIR/test --json out.json`.

Every figure stands beside its control, with a bootstrap 95 % interval over clips, and says whether its gate is met.
A run that stopped is continued by the same command with the same --json; groups of figures that are done are kept.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from dualdub_core.checkpoint import read_header
from dualdub_core.dualbench.notices import without_warnings
from dualdub_core.errors import DualDubError, InputError
from dualdub_core.files import replacing
from dualdub_core.sampling import SamplingConfig
from dualdub_core.system import BUILTIN, System, load_system, preferred_decoder, preferred_sampling

from .figures.bench import COMPARED, GROUPS, Bench
from .figures.clips import EvalClip
from .figures.compose import Made, TakeConfig, make_takes
from .figures.picture import paint_takes
from .figures.table import Figure, from_json, render, render_expectations, to_json
from .scenes.config import Kind

_PAINTED = 4
"""Clips of each kind in the picture."""

Figures = dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Subject:
    """A checkpoint that is judged; what a compared one lacks comes from the main one."""

    name: str
    path: Path
    groups: Sequence[str]


class Record:
    """Figures that are done, by checkpoint and group, kept in a file that a later run continues."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        """Read what an earlier run with the same settings left.

        Raises:
            InputError: the file is of another run.
        """
        self._path, self._settings = path, dict(settings)
        self._groups: dict[str, dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        kept = json.loads(path.read_text())
        if kept.get("settings") != self._settings:
            raise InputError(f"{path}: holds figures of other settings; remove it or name another file with --json")
        self._groups = kept["groups"]

    def get(self, subject: str, group: str) -> list[Figure] | None:
        """The figures of a group, or None where they are not done."""
        done = self._groups.get(f"{subject}/{group}")
        return None if done is None else [from_json(figure) for figure in done["figures"]]

    def put(self, subject: str, group: str, figures: Sequence[Figure], seconds: float) -> None:
        """Keep a group."""
        made = {"seconds": round(seconds, 1), "figures": [to_json(figure) for figure in figures]}
        self._groups[f"{subject}/{group}"] = made
        if self._path is not None:
            with replacing(self._path) as temporary:
                content = {"settings": self._settings, "groups": self._groups}
                temporary.write_text(json.dumps(content, indent=1) + "\n")


def judge(bench: Bench, subject: Subject, system: System, record: Record, beside: Mapping[str, Figure]) -> Figures:
    """All figures of a subject, group by group.

    Args:
        bench: the clips and the judges.
        subject: what is judged and in which groups.
        system: its parts.
        record: groups in it are not made again.
        beside: figures to stand beside those of the first groups.
    """
    done: Figures = {}
    for group in subject.groups:
        figures = record.get(subject.name, group)
        if figures is None:
            start = time.perf_counter()
            figures = GROUPS[group](bench, system, dict(beside) | done)
            seconds = time.perf_counter() - start
            record.put(subject.name, group, figures, seconds)
            print(f"{subject.name}: {group}, {seconds:.0f} s", file=sys.stderr, flush=True)
        done |= {figure.key: figure for figure in figures}
    return done


def complete(system: System, main: System) -> System:
    """A system with the main one's parts where it has none."""
    lacking = [field.name for field in fields(System) if getattr(system, field.name) is None]
    return replace(system, **{name: getattr(main, name) for name in lacking})


def plot(path: Path, bench: Bench, system: System) -> None:
    """Paint the first takes of the table that have a video, background alone and both together."""
    few = replace(bench, limit=min(_PAINTED, bench.limit or _PAINTED))
    clips: list[EvalClip] = []
    made: list[Made] = []
    for kind in (Kind.V2A, Kind.JOINT):
        of_kind = few.clips(kind)
        voices = few.voices(kind) if kind is Kind.JOINT else of_kind
        clips += of_kind
        made += make_takes(system, kind.task, of_kind, voices, few.take)
    paint_takes(path, clips, made)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        # The voices of the corpus are all short, and training saw them so.
        with without_warnings("dualdub_core.voice"):
            print(_run(options))
    except DualDubError as error:
        parser.exit(2, f"{error}\n")


def _run(options: argparse.Namespace) -> str:
    usual = SamplingConfig()
    if options.checkpoint.is_file():
        header = read_header(options.checkpoint)
        options.decoder, usual = options.decoder or preferred_decoder(header), preferred_sampling(header.info)
    take = TakeConfig(
        sampling=usual.but(
            speech_temperature=options.speech_temperature,
            speech_top_k=options.speech_top_k,
            background_temperature=options.background_temperature,
            background_top_k=options.background_top_k,
            cfg_scale=options.cfg_scale,
        ),
        decoder=options.decoder,
        num_steps=options.steps,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    groups = [group for group in GROUPS if group in options.figures]
    subjects = [Subject("main", options.checkpoint, groups)]
    subjects += [Subject(n, p, [group for group in COMPARED if group in groups]) for n, p in options.compare]
    if len({subject.name for subject in subjects}) < len(subjects):
        raise InputError("--compare: got one name twice, expected different names, none of them 'main'")
    settings = {
        "take": asdict(take),
        "limit": options.limit,
        "checkpoints": {subject.name: _fingerprint(subject.path) for subject in subjects},
        "corpus": _corpus_mark(options.corpus),
    }
    record = Record(options.json, settings)
    bench = Bench(options.corpus, options.enrol or options.corpus.parent / "train", take, options.limit)
    system = load_system(options.checkpoint, device=options.device)
    ours = judge(bench, subjects[0], system, record, {})
    others = {}
    for subject in subjects[1:]:
        other = complete(load_system(subject.path, device=options.device), system)
        others[subject.name] = judge(bench, subject, other, record, {})
    if options.plot:
        plot(options.plot, bench, system)
    name, status = system.header.info.get("name", options.checkpoint.name), system.header.info.get("status", "")
    caption = f"{name}{f' ({status})' if status else ''}; {options.decoder} decoder, seed {options.seed}"
    for name in ("speech", "background"):
        how = getattr(take.sampling, name)
        caption += f", {name} temperature {how.temperature:g} and top-k {how.top_k}"
    caption += f", guidance {take.sampling.cfg_scale:g}"
    return "\n\n".join(filter(None, [caption, render(ours.values(), others), render_expectations(ours, others)]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=BUILTIN, help="a complete one; the built-in by default")
    parser.add_argument("--corpus", type=Path, required=True, help="the held-out split's folder, e.g. corpus/test")
    parser.add_argument("--enrol", type=Path, help="where the voices are known from; the split `train` beside it")
    parser.add_argument("--limit", type=int, help="clips of each kind")
    parser.add_argument("--figures", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument(
        "--compare",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="another checkpoint's language model; gates are known for 'stage-3-only' and 'no-aligner'",
    )
    parser.add_argument("--json", type=Path, help="keep the figures here, and continue from them")
    parser.add_argument("--plot", type=Path, help="also paint some takes into this PNG")
    parser.add_argument("--decoder", choices=("flow", "codec"), help="what the checkpoint prefers if not given")
    parser.add_argument("--steps", type=int, default=10, help="of the flow's solver")
    for name in ("speech", "background"):
        parser.add_argument(f"--{name}-temperature", type=float, help="what the checkpoint prefers if not given")
        parser.add_argument(f"--{name}-top-k", type=int, help="likewise")
    parser.add_argument("--cfg-scale", type=float, help="likewise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=25, help="clips generated at once")
    parser.add_argument("--device", default="cpu")
    return parser


def _named(argument: str) -> tuple[str, Path]:
    name, _, path = argument.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"got {argument!r}, expected NAME=FILE")
    return name, Path(path)


def _fingerprint(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a checkpoint made by train.assemble")
    return sha256(path.read_bytes()).hexdigest()[:16]


def _corpus_mark(folder: Path) -> str:
    """What the corpus was made from, where it says so."""
    config = folder.parent / "corpus.json"
    made: str = json.loads(config.read_text()).get("fingerprint", "") if config.is_file() else ""
    return f"{folder.name} {made}".strip()


if __name__ == "__main__":
    main()
