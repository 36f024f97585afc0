"""What could go wrong, found before any weights are loaded: the video, the script's fit, models, memory, time."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ..checkpoint import COMPONENTS, Header, read_header
from ..engine.precision import choose
from ..errors import DualDubError
from ..flow import Solver
from ..hub import PUBLISHED
from ..media.containers import Source, name_of
from ..media.sound import MediaInfo, clip_length, probe
from ..scripts.plan import plan_script
from ..scripts.script import Script
from ..scripts.vocabulary import vocabulary_warning
from ..types import Task
from .estimate import Estimate, Machine, estimate

Verdict = Literal["ok", "note", "problem"]

# Where a part that a checkpoint lacks can be had from.
_PUBLISHED_PARTS = {"video_encoder": "clip", "codec": "wavtokenizer", "vae": "vae"}
_LONG = 60.0  # seconds of one window beyond which memory and drift grow noticeably
_SPARE_DISK = 200_000_000  # bytes, and as many seconds of sound as the clip has


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: its name, whether it is in order, and what was found."""

    name: str
    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class Preflight:
    """All checks, and what the run is estimated to take where that can be said."""

    checks: tuple[Check, ...]
    estimate: Estimate | None = None

    @property
    def ready(self) -> bool:
        """Whether there is no problem."""
        return all(check.verdict != "problem" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = None if self.estimate is None else asdict(self.estimate)
        return {"ready": self.ready, "checks": [asdict(check) for check in self.checks], "estimate": told}

    def table(self) -> str:
        """For people, a row a check."""
        rows = [f"{check.verdict:7}  {check.name:10}  {check.text}" for check in self.checks]
        count = sum(check.verdict == "problem" for check in self.checks)
        ready = "ready" if self.ready else f"{count} problem{'s' if count > 1 else ''}"
        return "\n".join([*rows, ready])


def preflight(
    checkpoint: Path | str,
    machine: Machine,
    *,
    source: Source | None = None,
    start: float = 0.0,
    duration: float | None = None,
    script: Script | None = None,
    task: Task = Task.JOINT,
    models: Path | str | None = None,
    out: Path | str | None = None,
    present: Sequence[str] = (),
    takes: int = 1,
    decoder: str = "flow",
    num_steps: int = 10,
    solver: Solver = "euler",
    cfg_scale: float = 1.0,
    precision: str = "auto",
    device: torch.device | str = "cpu",
) -> Preflight:
    """Look at everything a run will use; nothing that is wrong raises, it becomes a check.

    Args:
        checkpoint: the model's file.
        machine: see `estimate.measure_machine`.
        source: the video.
        start: seconds at which the clip begins.
        duration: seconds of it, or of the speech without a video.
        script: what is said.
        task: which streams.
        models: folder where missing weights belong.
        out: folder for the results, to see whether there is room.
        present: parts that come from elsewhere, by their names in `checkpoint.COMPONENTS`.
        takes: in one run.
        decoder: "flow" or "codec".
        num_steps: of the flow's solver.
        solver: of the flow.
        cfg_scale: guidance.
        precision: one of `engine.precision.PRECISIONS`.
        device: where the models would run.
    """
    checks: list[Check] = []
    seconds = _video(checks, source, start, duration, task)
    _script(checks, script, seconds, task)
    header = _model(checks, Path(checkpoint), task, decoder, models, present)
    if header is not None and script is not None and task is not Task.BACKGROUND:
        unknown = vocabulary_warning([line.text for line in script.lines], header.info)
        checks += [Check("words", "note", unknown)] if unknown else []
    if header is None or seconds is None:
        return Preflight(tuple(checks))
    try:
        chosen = choose(precision, device, header.num_weights("model"))
    except DualDubError as error:
        return Preflight((*checks, Check("precision", "problem", str(error))))
    work: dict[str, Any] = {"takes": takes, "decoder": decoder, "num_steps": num_steps, "solver": solver}
    work |= {"cfg_scale": cfg_scale, "weight_bytes": 1 if chosen.is_int8 else chosen.model.itemsize}
    told = estimate(header, machine, duration=seconds, task=task, **work)
    _resources(checks, told, machine, seconds, out)
    return Preflight(tuple(checks), told)


def missing_models(folder: Path | str | None) -> list[str]:
    """A line for each published file that is not in a folder: what, from where, as what."""
    home = None if folder is None else Path(folder)
    return [
        f"{entry.what}: {entry.url} to {'the models folder' if home is None else home / entry.save_as}"
        for entry in PUBLISHED.values()
        if home is None or not (home / entry.save_as).is_file()
    ]


def _video(
    checks: list[Check], source: Source | None, start: float, duration: float | None, task: Task
) -> float | None:
    """Seconds of the clip; None where they are not known."""
    if source is None:
        if task is not Task.SPEECH:
            checks.append(Check("video", "problem", f"none given, and task '{task.value}' needs one"))
        return duration
    try:
        info = probe(source)
        seconds = clip_length(info.duration, start, duration, name_of(source))
    except DualDubError as error:
        checks.append(Check("video", "problem", str(error)))
        return None
    checks.append(Check("video", "ok", _facts(info, seconds)))
    if info.is_vfr:
        checks.append(Check("video", "note", "its frame rate varies; pictures are taken by their times, so sync holds"))
    if info.has_audio:
        checks.append(Check("video", "note", "it has a sound track, which the dubbed video will not have"))
    if seconds > _LONG:
        checks.append(Check("video", "note", f"{seconds:.0f} s is long for one window; shots can be made one by one"))
    return seconds


def _facts(info: MediaInfo, seconds: float) -> str:
    rate = f"{float(info.fps):.3f} fps{' on average' if info.is_vfr else ''}"
    return f"{seconds:.3f} s, {rate}, {info.num_frames} pictures of {info.width}x{info.height}"


def _script(checks: list[Check], script: Script | None, seconds: float | None, task: Task) -> None:
    if script is None or task is Task.BACKGROUND:
        if script is None and task is not Task.BACKGROUND:
            checks.append(Check("script", "problem", f"none given, and task '{task.value}' needs one"))
        return
    try:
        plan = plan_script(script, seconds)
    except DualDubError as error:
        checks.append(Check("script", "problem", str(error)))
        return
    for line in plan.lines:
        if line.verdict != "fits":
            text = f"line {line.number} has {line.end - line.start:.2f} s and needs {line.needs:.2f} s: {line.verdict}"
            checks.append(Check("script", "problem" if line.verdict == "too long" else "note", text))
    if plan.fits:
        checks.append(Check("script", "ok", f"{len(plan.lines)} line(s), every one has room"))


def _model(
    checks: list[Check],
    path: Path,
    task: Task,
    decoder: str,
    models: Path | str | None,
    present: Sequence[str],
) -> Header | None:
    try:
        header = read_header(path)
    except DualDubError as error:
        checks.append(Check("model", "problem", str(error)))
        return None
    state: Verdict = "ok" if header.is_trained else "note"
    text = str(header.info.get("name", path.name))
    checks.append(Check("model", state, text if header.is_trained else f"{text}: its weights only make noise"))
    needed = {"model", *(("decoder", "vae") if decoder == "flow" else ("codec",))}
    needed |= set() if task is Task.SPEECH else {"video_encoder"}
    for part in COMPONENTS:
        if part in needed and part not in header.configs and part not in present:
            checks.append(Check("model", "problem", _where(part, models)))
    if "model" in header.configs:
        encoding = header.configs["model"].text.encoding
        ranks = path.with_name(f"{encoding}.tiktoken")
        if encoding != "mini" and not ranks.is_file():
            checks.append(Check("model", "problem", f"the text ranks {ranks.name} are not beside {path.name}"))
    return header


def _where(part: str, models: Path | str | None) -> str:
    told = f"has no {part.replace('_', ' ')}"
    if part not in _PUBLISHED_PARTS:
        return f"{told}; load one that has it"
    entry = PUBLISHED[_PUBLISHED_PARTS[part]]
    folder = "the models folder" if models is None else str(models)
    if models is not None and (Path(models) / entry.save_as).is_file():
        return f"{told}, but {folder} has {entry.save_as}: load it with its own loader"
    return f"{told}: fetch {entry.what}, {entry.url}, into {folder} as {entry.save_as} (licence {entry.licence})"


def _resources(checks: list[Check], told: Estimate, machine: Machine, seconds: float, out: Path | str | None) -> None:
    peak, free = told.total_bytes, machine.free_bytes
    text = f"about {_gb(peak)} at the peak"
    if free is not None:
        text += f", {_gb(free)} free"
    # Weights that are already loaded by another run would count twice, so a near miss is only a note.
    verdict: Verdict = "ok" if free is None or peak < 0.9 * free else "problem" if peak > 1.2 * free else "note"
    checks.append(Check("memory", verdict, text))
    parts = ", ".join(f"{name} {value:.1f}" for name, value in told.seconds.items())
    checks.append(Check("time", "ok", f"about {told.total_seconds:.1f} s after loading ({parts})"))
    if out is not None:
        folder = next((parent for parent in (Path(out), *Path(out).resolve().parents) if parent.is_dir()), None)
        needed = _SPARE_DISK + round(seconds * 48_000 * 3 * 2 * 4)
        left = needed if folder is None else shutil.disk_usage(folder).free
        if left < needed:
            checks.append(Check("disk", "problem", f"{_gb(left)} free, about {_gb(needed)} are needed"))


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
