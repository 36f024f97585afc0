"""One run of the benchmark: takes of every clip, what every judge hears in them, then figures and a report.

    OUT/run.json                     which set and system this folder belongs to
    OUT/takes/<id>.*                 what is judged
    OUT/heard/<judge>/<id>.*         facts, kept as they are heard
    OUT/results.json, table.md       figures with intervals and controls, and each clip's values
    OUT/report.html, pictures/       the same for people, with players

Everything is written whole or not at all and read back before it is used, so a run that was killed goes on and ends in
the same numbers as one that was not.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, InputError
from ..files import remove_folder, replacing
from ..progress import Progress, silent
from .figures import Figure
from .intervals import SET_DRAWS
from .judge_levels import LevelsJudge
from .judge_sync import SyncJudge
from .judges import Facts, Judge, Subject, keep_facts, kept_facts
from .systems import MIX, BenchSystem, check_sounds, take_file
from .testset import BenchClip, BenchSet

FORMAT = 1
"""Raised whenever the same takes would get other numbers, so that old and new facts do not mix."""

RUN, RESULTS, TAKES, HEARD, PICTURES = "run.json", "results.json", "takes", "heard", "pictures"
_MARK = "judge.json"


@dataclass(frozen=True, slots=True)
class Results:
    """What a run came to.

    Attributes:
        system: its name.
        system_settings: what tells its takes from others.
        set_name: of the set.
        set_sha256: of its manifest.
        clips: ids that were judged.
        left_out: ids that have no take.
        figures: in the order of the judges.
    """

    system: str
    system_settings: Mapping[str, Any]
    set_name: str
    set_sha256: str
    clips: tuple[str, ...]
    left_out: tuple[str, ...]
    figures: tuple[Figure, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "format": FORMAT,
            "system": {"name": self.system, **self.system_settings},
            "set": {"name": self.set_name, "sha256": self.set_sha256},
            "clips": list(self.clips),
            "left_out": list(self.left_out),
            "figures": [figure.to_json() for figure in self.figures],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Results":
        """The inverse of `to_json`."""
        system = dict(values["system"])
        return cls(
            system=system.pop("name"),
            system_settings=system,
            set_name=values["set"]["name"],
            set_sha256=values["set"]["sha256"],
            clips=tuple(values["clips"]),
            left_out=tuple(values["left_out"]),
            figures=tuple(Figure.from_json(figure) for figure in values["figures"]),
        )


def standard_judges() -> list[Judge]:
    """Those that need no network: they are always asked."""
    return [SyncJudge(), LevelsJudge()]


def run(
    bench_set: BenchSet,
    system: BenchSystem,
    out: Path,
    *,
    judges: Sequence[Judge] | None = None,
    draws: int = SET_DRAWS,
    anew: bool = False,
    progress: Progress = silent,
) -> Results:
    """Judge a system, or go on where an earlier run stopped.

    Args:
        bench_set: from `read_set`.
        system: whose takes.
        out: folder of the run.
        judges: `standard_judges` and any others; those when None.
        draws: for intervals of figures of the whole set; 0 for none.
        anew: throw away what another set or system left in `out`.
        progress: reports "takes", then each judge; raising from it stops the run, which can go on later.

    Returns:
        What was written to `results.json`.

    Raises:
        InputError: `out` belongs to another run, or takes are missing or cannot be read.
        CheckpointError: weights are missing or do not fit.
        ConfigError: a package is missing, or two judges have one name.
    """
    judges = standard_judges() if judges is None else judges
    if len({judge.key for judge in judges}) < len(judges):
        raise ConfigError(f"bench: got judges {[judge.key for judge in judges]}, expected each name once")
    for judge in judges:
        judge.check()
    system.check(bench_set.clips)
    clips = [clip for clip in bench_set.clips if system.has(clip)]
    _claim(out, bench_set, system, anew=anew)
    make_takes(system, clips, out / TAKES, progress=progress)
    figures: list[Figure] = []
    for judge in judges:
        facts = hear(judge, [Subject(clip, out / TAKES, system.streams) for clip in clips], out / HEARD, progress)
        figures += judge.figures(clips, facts, draws=draws)
    chosen = {clip.id for clip in clips}
    results = Results(
        system=system.name,
        system_settings=dict(system.settings),
        set_name=bench_set.name,
        set_sha256=bench_set.sha256,
        clips=tuple(clip.id for clip in clips),
        left_out=tuple(clip.id for clip in bench_set.clips if clip.id not in chosen),
        figures=tuple(figures),
    )
    write_json(out / RESULTS, results.to_json())
    return results


def make_takes(system: BenchSystem, clips: Sequence[BenchClip], folder: Path, *, progress: Progress = silent) -> None:
    """Make the takes that are not there; one whose mix is there is whole."""
    for done, clip in enumerate(clips, start=1):
        if take_file(folder, clip.id, MIX) is None:
            system.write(clip, folder)
        check_sounds(folder, clip.id)
        progress("takes", done, len(clips))


def hear(judge: Judge, subjects: Sequence[Subject], folder: Path, progress: Progress = silent) -> list[Facts]:
    """Facts of every clip, those that were kept by the same judge and settings as they are."""
    mark = {"format": FORMAT, "settings": dict(judge.settings)}
    own = folder / judge.key
    if _read_json(own / _MARK) != mark:
        # Other weights: what these would say is not known yet, and nothing else of the run changes.
        remove_folder(own)
        write_json(own / _MARK, mark)
    found = []
    for done, subject in enumerate(subjects, start=1):
        path = own / f"{subject.clip.id}.safetensors"
        if not path.is_file():
            keep_facts(path, judge.hear(subject))
        # Read back even when just written, so that both ways end in the same numbers.
        facts = kept_facts(path)
        assert facts is not None
        found.append(facts)
        progress(judge.key, done, len(subjects))
    return found


def facts_beside(results: Path, judge: str, clips: Sequence[str]) -> list[Facts] | None:
    """Facts of these clips that lie beside a `results.json`, or None where one is gone."""
    found = [kept_facts(results.parent / HEARD / judge / f"{name}.safetensors") for name in clips]
    known = [facts for facts in found if facts is not None]
    return known if len(known) == len(found) else None


def read_results(path: Path) -> Results:
    """What an earlier run wrote; a folder stands for the file in it.

    Raises:
        InputError: no such file, or not the results of a run of this format.
    """
    path = path / RESULTS if path.is_dir() else path
    values = _read_json(path)
    if values is None:
        raise InputError(f"{path}: no results of a benchmark there; give the results.json of a finished run")
    if values.get("format") != FORMAT or not {"system", "set", "clips", "figures"} <= set(values):
        raise InputError(f"{path}: is not results of format {FORMAT}; run the benchmark again")
    return Results.from_json(values)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Plain values, whole or not at all."""
    with replacing(path) as temporary:
        content = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(content + "\n", encoding="utf-8")


def _claim(out: Path, bench_set: BenchSet, system: BenchSystem, *, anew: bool) -> None:
    """Make the folder this run's, or find that it is.

    Raises:
        InputError: it is another run's, or holds files of the same names.
    """
    mark = {
        "format": FORMAT,
        "set": bench_set.sha256,
        "system": {**system.settings, "streams": [stream.value for stream in system.streams]},
    }
    mark = json.loads(json.dumps(mark))
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder for the results")
    found = _read_json(out / RUN)
    if found == mark:
        return
    if found is None and (out / TAKES).exists():
        raise InputError(f"{out}: has a folder '{TAKES}' that no benchmark made; choose another folder")
    if found is not None and not anew:
        changed = ", ".join(_differences(found, mark))
        raise InputError(
            f"{out}: holds a run with other settings ({changed}); choose another --out, or give --anew to replace it"
        )
    for name in (TAKES, HEARD, PICTURES):
        if found is not None:
            remove_folder(out / name)
    (out / RESULTS).unlink(missing_ok=True)
    write_json(out / RUN, mark)


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What changed, such as "system.seed: 0 there, 1 now"."""
    before, now = _flat(found), _flat(wanted)
    return [
        f"{key}: {_brief(before.get(key))} there, {_brief(now.get(key))} now"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _brief(value: Any) -> str:  # noqa: ANN401
    text = "nothing" if value is None else str(value)
    return f"{text[:12]}..." if len(text) == len(hashlib.sha256().hexdigest()) else text


def _read_json(path: Path) -> dict[str, Any] | None:
    """Plain values, or None where there are none."""
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); remove it, or give --anew") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: got {type(values).__name__}, expected an object; remove it")
    return values
