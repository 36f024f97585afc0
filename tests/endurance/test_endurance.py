"""A small kill table and a small soak; the large ones are commands, see kill.py and soak.py."""

import json
import os
import random
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def fitted():
    return runpy.run_path(str(FOLDER / "slope.py"))["fitted"]


def test_a_line_is_found_again_and_noise_has_no_slope(fitted):
    xs = [number / 10 for number in range(40)]
    assert fitted(xs, [3 + 2 * x for x in xs]).value == pytest.approx(2)
    rng = random.Random(0)
    flat = fitted(xs, [500 + rng.gauss(0, 5) for _ in xs])
    assert flat.is_zero
    rising = fitted(xs, [500 + 10 * x + rng.gauss(0, 5) for x in xs])
    assert not rising.is_zero
    assert rising.value == pytest.approx(10, abs=2 * rising.margin)


def test_readings_that_are_alike_count_as_fewer(fitted):
    rng, xs = random.Random(1), list(range(60))
    steps = [rng.gauss(0, 1) for _ in xs]
    walk = [sum(steps[: number + 1]) for number in range(60)]
    assert fitted(xs, walk).margin > 2 * fitted(xs, sorted(steps, key=lambda _: rng.random())).margin


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 as POSIX has it")
@pytest.mark.parametrize("options", [["--kills", "3"], ["--changes", "--every", "12"]], ids=["moments", "changes"])
def test_killed_runs_leave_whole_files_and_resume_to_the_same(tmp_path, options):
    pytest.importorskip("pyarrow")
    command = [sys.executable, str(FOLDER / "kill.py"), "--jobs", "prepare", "--work", str(tmp_path), *options]
    done = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("no fault\n")


@pytest.mark.slow
@pytest.mark.comfy
def test_a_server_survives_two_clients_wrong_prompts_and_cancels(tmp_path):
    comfy, python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON", sys.executable)
    if not comfy:
        pytest.skip("no ComfyUI found: set COMFYUI_PATH to a checkout, and COMFYUI_PYTHON to its interpreter")
    needed = [python, "-c", "import aiohttp, psutil, comfy_kitchen"]
    if subprocess.run(needed, capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has not ComfyUI's requirements: set COMFYUI_PYTHON to an interpreter that has them")
    command = [python, str(FOLDER / "soak.py"), "--comfy", comfy, "--prompts", "10", "--warm-up", "10"]
    stages = ["--cancels", "2", "--stages", "watch", "mix"]
    subprocess.run([*command, *stages, "--work", str(tmp_path)], capture_output=True, check=False)
    told = json.loads((tmp_path / "soak.json").read_text())
    assert [note for note in told["prompts"] if not note["as_meant"]] == []
    assert len(told["prompts"]) == 10
    assert len({note["client"] for note in told["prompts"]}) == 2
    assert told["foreign"] == 0
    assert told["memory"][-1]["prompts"] == 10
