"""What the pack adds to ComfyUI's start: processor time of loading it once ComfyUI has loaded all of its own.

    COMFYUI_PATH=... COMFYUI_PYTHON=... python tests/benchmarks/start.py [--rounds 7] [--json FILE]

Every round is a fresh process that goes through ComfyUI's own start up to its packs. `first` has no compiled modules,
as after an installation; `later` has them. `core` is `import dualdub_core` after torch. The processor's time counts and
not the clock's, which other programs delay; where nothing else runs they are the same.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rounds import keep, machine

ROOT = Path(__file__).parents[2]
LIMIT = 0.5

CORE = """
import json, sys, time
import torch, numpy, PIL.Image, safetensors.torch, einops
started = time.process_time()
import dualdub_core
print(json.dumps({"seconds": time.process_time() - started}))
"""

COMFY = """
import asyncio, json, os, sys, time
comfy, pack = sys.argv[1:3]
os.chdir(comfy)
sys.path.insert(0, comfy)
sys.argv = ["main.py", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import utils.extra_config, utils.install_util
import execution, nodes, server

async def start():
    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
    before, started = set(sys.modules), time.process_time()
    assert await nodes.load_custom_node(pack)
    seconds = time.process_time() - started
    new = sorted({name.split(".")[0] for name in set(sys.modules) - before if not name.startswith(("/", pack))})
    print(json.dumps({"seconds": seconds, "new": new}))

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
server.PromptServer(loop)
loop.run_until_complete(start())
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    comfy = os.environ.get("COMFYUI_PATH")
    values: dict[str, Any] = {"machine": machine(), "limit": LIMIT}
    values["core"] = _series([sys.executable, "-c", CORE], options.rounds)
    if comfy:
        python = os.environ.get("COMFYUI_PYTHON") or sys.executable
        values["pack"] = _series([python, "-c", COMFY, comfy, str(ROOT)], options.rounds)
    else:
        print("COMFYUI_PATH is not set: only the core is measured")
    for name in ("core", "pack"):
        if name in values:
            print(_line(name, values[name]))
    keep(options.json, values)


def _series(command: list[str], rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        runs = [_run(command, environment) for _ in range(rounds + 1)]
    later = [run["seconds"] for run in runs[1:]]
    found = {"first": runs[0]["seconds"], "later": statistics.median(later), "range": [min(later), max(later)]}
    return {**found, "rounds": rounds, "new": runs[0].get("new", [])}


def _run(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    if run.returncode:
        raise SystemExit(run.stderr[-3000:])
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def _line(name: str, found: dict[str, Any]) -> str:
    low, high = found["range"]
    said = f"{name}: first {found['first']:.3f} s, later {found['later']:.3f} s [{low:.3f}..{high:.3f}]"
    return f"{said}, limit {LIMIT} s; it brings {', '.join(found['new']) or 'nothing of others'}"


if __name__ == "__main__":
    main()
