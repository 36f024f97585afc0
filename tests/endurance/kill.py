"""The kill table: commands that write are killed at random moments, looked at, and run again.

python tests/endurance/kill.py --kills 100             at moments of the undisturbed run's time, start-up included
python tests/endurance/kill.py --changes --jobs retake before each change of a file, one after the other

What a killed run left must be whole, file by file, and the same as the undisturbed run's, or not there; what else lies
there must be named as temporary. The same command again must end in the same results and leave nothing temporary. Half
of the moments lie anywhere, half after the first file was written. A run may be killed several times before it is let
through. All is kept in WORK/kills.json as it goes, and the same command goes on after a stop.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jobs import JOBS, ROOT, Job
from wholeness import digest, digests, files_in_place, leftovers, problem

_MOST_SECONDS = 900.0
_MOST_KILLS_OF_A_RUN = 3
_ORPHAN_SECONDS = 15.0


@dataclass(kw_only=True)
class Reference:
    """An undisturbed run: how long it took, when its first file was there, how often it changed a file, its results."""

    seconds: float
    first: float
    changes: int
    digests: dict[str, str]
    before: dict[str, str]


@dataclass(kw_only=True)
class Kill:
    """One kill and what was found after it; `resumed` is of the run that was let through afterwards."""

    job: str
    number: int
    at: float
    came_too_late: bool = False
    was_writing: bool = False
    whole: int = 0
    absent: int = 0
    broken: list[str] = field(default_factory=list)
    temporary: int = 0
    orphans: int = 0
    mixed: bool = False
    resumed: bool = False
    left: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)


class Store:
    """References and kills in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = json.loads(path.read_text()) if path.is_file() else {"references": {}, "kills": []}
        self.references = {name: Reference(**values) for name, values in kept["references"].items()}
        self.kills = [Kill(**values) for values in kept["kills"]]

    def write(self) -> None:
        content = {
            "references": {name: asdict(one) for name, one in self.references.items()},
            "kills": [asdict(one) for one in self.kills],
        }
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(content, indent=1))
        temporary.replace(self._path)


def start(job: Job, work: Path, out: Path, log: Path, at: int = 0) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("ab") as output:
        return subprocess.Popen(
            job.command(work / "inputs", out, at),
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(process: subprocess.Popen, log: Path) -> None:
    if process.wait(timeout=_MOST_SECONDS):
        raise RuntimeError(f"the command failed ({process.returncode}):\n{log.read_text()[-2000:]}")


def orphans(process: subprocess.Popen) -> int:
    """1 if what the killed process had started lives on; it is ended then."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return 0
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    return 1


def home(work: Path, name: str, run: str) -> Path:
    """The folder of a job's undisturbed "reference", or of the "trial" at work."""
    return work / "runs" / name.replace(" ", "_").replace(",", "") / run


def prepared(job: Job, work: Path) -> Path:
    """A folder of results as the job finds it; always of the same name, as some results tell where they lie."""
    folder = home(work, job.name, "trial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if job.over:
        shutil.copytree(home(work, job.over, "reference") / "out", folder / "out")
    return folder / "out"


def reference(job: Job, work: Path) -> Reference:
    """Run undisturbed."""
    out = prepared(job, work)
    log = out.with_name("log.txt")
    before = digests(out, job.ignored) if out.exists() else {}
    stamps = {name: path.stat().st_mtime_ns for name, path in files_in_place(out).items()} if before else {}
    begun = time.monotonic()
    process = start(job, work, out, log)
    first = None
    while process.poll() is None and time.monotonic() - begun < _MOST_SECONDS:
        if first is None and any(
            name not in stamps or path.stat().st_mtime_ns != stamps[name] for name, path in _seen(out)
        ):
            first = time.monotonic() - begun
        time.sleep(0.01)
    seconds = time.monotonic() - begun
    finish(process, log)
    (told,) = [line for line in log.read_text().splitlines() if line.startswith("changes: ")]
    found = Reference(
        seconds=seconds,
        first=seconds if first is None else first,
        changes=int(told.removeprefix("changes: ")),
        digests=digests(out, job.ignored),
        before=before,
    )
    kept = home(work, job.name, "reference")
    shutil.rmtree(kept, ignore_errors=True)
    out.parent.rename(kept)
    return found


def _seen(out: Path) -> list[tuple[str, Path]]:
    try:
        return [(name, path) for name, path in files_in_place(out).items() if path.exists()] if out.exists() else []
    except FileNotFoundError:  # it was renamed as we looked
        return []


def examine(job: Job, out: Path, known: Reference, kill: Kill) -> None:
    """Note what a killed run left."""
    found = files_in_place(out, job.ignored) if out.exists() else {}
    now = {}
    for name, path in found.items():
        if reason := problem(path):
            kill.broken.append(f"{name}: {reason}")
            continue
        now[name] = "" if name in job.growing else digest(path)
        if name not in job.growing and now[name] not in (known.digests.get(name), known.before.get(name)):
            kill.broken.append(f"{name}: whole, but not the undisturbed run's")
    kill.whole = len(found) - len(kill.broken)
    kill.absent = len(set(known.digests) - set(found))
    kill.temporary = len(leftovers(out))
    changed = [name for name in now if now[name] != known.before.get(name)]
    is_new = all(now.get(name) == known.digests[name] for name in known.digests if name not in job.growing)
    kill.was_writing = bool(kill.temporary or (changed and not is_new))
    # A report in place says that all beside it belong to it.
    old = {name for name in now if name in known.before and now[name] == known.before[name] != known.digests.get(name)}
    new = {name for name in now if name in known.digests and now[name] == known.digests[name] != known.before.get(name)}
    kill.mixed = bool(known.before and old and new and "report.json" in found)


def trial(job: Job, work: Path, known: Reference, number: int, moments: Iterator[float]) -> Iterator[Kill]:
    """Kill a run, perhaps its continuation too, then let it through."""
    out = prepared(job, work)
    log = out.with_name("log.txt")
    kills = []
    for moment in moments:
        kill = Kill(job=job.name, number=number, at=round(moment, 3))
        process = start(job, work, out, log)
        try:
            process.wait(timeout=moment)
            kill.came_too_late = True
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        kills.append(kill)
        kill.orphans = orphans(process)
        if kill.came_too_late:
            break
        examine(job, out, known, kill)
    yield from let_through(job, work, out, known, kills)


def trial_at(job: Job, work: Path, known: Reference, change: int) -> Iterator[Kill]:
    """Kill a run before a change of a file, then let it through."""
    out = prepared(job, work)
    log = out.with_name("log.txt")
    kill = Kill(job=job.name, number=change, at=change)
    process = start(job, work, out, log, at=change)
    kill.came_too_late = process.wait(timeout=_MOST_SECONDS) != -signal.SIGKILL
    kill.orphans = orphans(process)
    if not kill.came_too_late:
        examine(job, out, known, kill)
    yield from let_through(job, work, out, known, [kill])


def let_through(job: Job, work: Path, out: Path, known: Reference, kills: list[Kill]) -> Iterator[Kill]:
    """Run to the end and compare."""
    log = out.with_name("log.txt")
    finish(start(job, work, out, log), log)
    found, left = digests(out, job.ignored), leftovers(out)
    different = [name for name in {*found, *known.digests} if found.get(name) != known.digests.get(name)]
    for kill in kills:
        kill.left, kill.different, kill.resumed = left, sorted(different), not different
        yield kill


def by_time(job: Job, work: Path, store: Store, wanted: int, seed: int) -> None:
    """Kill so many times, trial after trial; the seed and the trial's number give the moments."""
    known = store.references[job.name]
    number = max((kill.number for kill in store.kills if kill.job == job.name), default=-1) + 1
    while (done := sum(k.job == job.name and not k.came_too_late for k in store.kills)) < wanted:
        rng = random.Random(f"{seed} {job.name} {number}")
        begin = known.first if number % 2 else 0.02 * known.seconds
        # One in each part of the time, so that few kills are spread as many are.
        share = (number // 2 + rng.random()) % max(1, -(-wanted // 2)) / max(1, -(-wanted // 2))
        moments = [begin + share * (known.seconds - begin)]
        while len(moments) < min(_MOST_KILLS_OF_A_RUN, wanted - done) and rng.random() < 0.5:
            moments.append(rng.uniform(0.02, 1.0) * known.seconds)
        store.kills += trial(job, work, known, number, iter(moments))
        store.write()
        number += 1
        if number > 4 * wanted + 4:
            raise RuntimeError(f"{job.name}: most kills come too late; the machine was busier when it was measured")


def by_change(job: Job, work: Path, store: Store, every: int) -> None:
    """Kill before each change of a file."""
    known = store.references[job.name]
    done = {kill.number for kill in store.kills if kill.job == job.name}
    for change in range(1, known.changes + 1, every):
        if change not in done:
            store.kills += trial_at(job, work, known, change)
            store.write()


def table(kills: list[Kill]) -> str:
    """A row a job."""
    head = ("command", "kills", "too late", "writing", "whole", "absent", "broken", "temporary", "mixed", "orphans",
            "resumed equal", "left at the end")  # fmt: skip
    rows = [head]
    for name in [*dict.fromkeys(kill.job for kill in kills), "all"]:
        own = [kill for kill in kills if kill.job == name or name == "all"]
        hit = [kill for kill in own if not kill.came_too_late]
        sums = [
            len(hit), len(own) - len(hit), sum(k.was_writing for k in hit), sum(k.whole for k in hit),
            sum(k.absent for k in hit), sum(len(k.broken) for k in hit), sum(k.temporary for k in hit),
            sum(k.mixed for k in hit), sum(k.orphans for k in hit), sum(k.resumed for k in hit),
            sum(bool(k.left) for k in own),
        ]  # fmt: skip
        rows.append((name, *map(str, sums)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def faults(kills: list[Kill]) -> list[str]:
    """What must not be."""
    found = []
    for kill in kills:
        where = f"{kill.job}, {kill.number}, killed at {kill.at:g}"
        found += [f"{where}: broken: {what}" for what in kill.broken]
        found += [f"{where}: left at the end: {what}" for what in kill.left]
        found += [f"{where}: after resuming not the same: {what}" for what in kill.different]
        found += [f"{where}: files of two takes beside one report"] * kill.mixed
        found += [f"{where}: its workers lived on"] * kill.orphans
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [job.name for job in JOBS]
    parser.add_argument("--kills", type=int, default=100, help="over all jobs")
    parser.add_argument("--changes", action="store_true", help="kill before each change of a file instead")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="with --changes, only each Nth")
    parser.add_argument("--jobs", nargs="+", choices=names, default=names, metavar="JOB", help=", ".join(names))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("out/endurance"), help="folder; a run that stopped goes on")
    options = parser.parse_args()
    work = options.work.resolve() / ("changes" if options.changes else "moments")
    (work / "inputs").mkdir(parents=True, exist_ok=True)
    store = Store(work / "kills.json")
    jobs = [job for job in JOBS if job.name in options.jobs]
    needed = {job.over for job in jobs} | {job.name for job in jobs}
    for job in JOBS:
        is_there = home(work, job.name, "reference").exists() and job.name in store.references
        if job.name in needed and not is_there:
            job.needs(work / "inputs")
            store.references[job.name] = reference(job, work)
            store.write()
            known = store.references[job.name]
            print(f"{job.name}: {known.seconds:.1f} s, first file after {known.first:.1f} s, "
                  f"{known.changes} changes of files, {len(known.digests)} results", flush=True)  # fmt: skip
    for index, job in enumerate(jobs):
        if options.changes:
            by_change(job, work, store, options.every)
        else:
            own = options.kills // len(jobs) + (index < options.kills % len(jobs))
            by_time(job, work, store, own, options.seed)
        print(table([kill for kill in store.kills if kill.job == job.name]), flush=True)
    print(f"\n{table(store.kills)}")
    wrong = faults(store.kills)
    print("\n".join(wrong) or "no fault")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
