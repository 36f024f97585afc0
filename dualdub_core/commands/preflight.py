"""`dualdub preflight`: what could go wrong with a run, before it."""

import argparse
import json
from pathlib import Path

from ..checks.doctor import free_memory
from ..checks.estimate import measure_machine
from ..checks.preflight import missing_models, preflight
from ..engine.precision import PRECISIONS
from ..errors import InputError
from ..flow import SOLVERS
from ..scripts.formats import parse_script, read_text
from ..system import BUILTIN
from ..types import Task
from .console import say
from .settings import device_of


def add_preflight(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "preflight",
        help="check video, script, models, memory and time before a run; loads no weights",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("video", type=Path, nargs="?", help="the video; not needed for --task speech")
    add("--script", default="", help="as for generate")
    add("--task", choices=[t.value for t in Task], default=Task.JOINT.value)
    add("--model", type=Path, default=BUILTIN, help="a DualDub checkpoint; the built-in mini model")
    add("--models", type=Path, help="folder of published weights, for what the checkpoint lacks")
    add("-o", "--out", type=Path, help="folder for the results, to see whether there is room")
    add("--start", type=float, default=0.0, help="seconds into the video where the clip starts")
    add("--length", type=float, help="seconds of the video to use, or of the speech")
    add("--decoder", choices=["flow", "codec"], default="flow")
    add("--steps", type=int, default=10)
    add("--solver", choices=list(SOLVERS), default="euler")
    add("--cfg", type=float, default=1.0)
    add("--precision", choices=PRECISIONS, default="auto")
    add("--device", default="cpu", help="where the models would run; it is measured for a tenth of a second")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_preflight)


def _preflight(options: argparse.Namespace) -> None:
    where = device_of(options.device)
    text = read_text(options.script[1:]) if options.script.startswith("@") else options.script
    script = parse_script(text).part(options.start, options.length) if text.strip() else None
    found = preflight(
        options.model,
        measure_machine(where, free_bytes=free_memory(where)),
        source=options.video,
        start=options.start,
        duration=options.length,
        script=script,
        task=Task(options.task),
        models=options.models,
        out=options.out,
        decoder=options.decoder,
        num_steps=options.steps,
        solver=options.solver,
        cfg_scale=options.cfg,
        precision=options.precision,
        device=where,
    )
    if options.json:
        say(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        say(found.table())
        for line in missing_models(options.models) if options.models is not None else ():
            say(f"not there: {line}")
    if not found.ready:
        first = next(check for check in found.checks if check.verdict == "problem")
        raise InputError(f"preflight: not ready: {first.name}: {first.text}")
