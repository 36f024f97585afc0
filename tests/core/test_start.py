"""What starting costs: modules that are only imported by whoever needs them. No clock, so that load does not matter."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = {
    "accelerate", "c2pa", "cv2", "datasets", "diffusers", "huggingface_hub", "jiwer", "librosa", "matplotlib",
    "open_clip", "opentimelineio", "pandas", "pocketsphinx", "pyarrow", "pyloudnorm", "scipy", "sklearn",
    "tensorboard", "torchaudio", "torchvision", "tqdm.auto", "transformers", "whisper_normalizer", "yaml",
}  # fmt: skip

CORE = """
import json, sys, torch
before = set(sys.modules)
import dualdub_core
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def heavy_among(run: subprocess.CompletedProcess) -> set[str]:
    assert run.returncode == 0, run.stderr[-3000:]
    names = json.loads(run.stdout.splitlines()[-1])
    assert names
    return HEAVY & ({name.split(".")[0] for name in names} | set(names))


def test_importing_the_core_imports_nothing_heavy():
    run = subprocess.run([sys.executable, "-c", CORE], capture_output=True, text=True, cwd=ROOT, check=False)
    assert heavy_among(run) == set()
