"""What the pack adds to ComfyUI's start: nothing that only some nodes need, when they run (see core/test_start.py)."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "accelerate", "c2pa", "cv2", "datasets", "diffusers", "huggingface_hub", "jiwer", "librosa", "matplotlib",
    "open_clip", "opentimelineio", "pandas", "pocketsphinx", "pyarrow", "pyloudnorm", "scipy", "sklearn",
    "tensorboard", "torchaudio", "torchvision", "tqdm.auto", "transformers", "whisper_normalizer", "yaml",
}  # fmt: skip

# As ComfyUI's main.py does it, up to the packs.
COMFY = """
import asyncio, json, os, sys
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
    before = set(sys.modules)
    assert await nodes.load_custom_node(pack)
    assert any(name.startswith("DualDub_") for name in nodes.NODE_CLASS_MAPPINGS)
    print(json.dumps(sorted(set(sys.modules) - before)))

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
server.PromptServer(loop)
loop.run_until_complete(start())
"""


def heavy_among(run: subprocess.CompletedProcess) -> set[str]:
    assert run.returncode == 0, run.stderr[-3000:]
    names = json.loads(run.stdout.splitlines()[-1])
    assert names
    return HEAVY & ({name.split(".")[0] for name in names} | set(names))


@pytest.mark.comfy
@pytest.mark.slow
def test_registering_the_nodes_imports_nothing_heavy_that_comfyui_has_not(comfy_path, comfy_python):
    command = [comfy_python, "-c", COMFY, str(comfy_path), str(ROOT)]
    assert heavy_among(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)) == set()
