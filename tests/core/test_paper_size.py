"""The paper's size for real: it loads in its weights' memory and a decode step runs on a CPU in bf16."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dualdub_core import checkpoint
from dualdub_core.generation import Engine
from dualdub_core.models.dualdub import Conditions, DualDub, DualDubConfig

pytestmark = pytest.mark.slow

LOAD = r"""
import json, re, sys
from pathlib import Path
import torch
from dualdub_core import checkpoint
import dualdub_core.models.dualdub

def peak():  # of this process; getrusage would remember the one it was forked from
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

before = peak()
model = checkpoint.load(sys.argv[1]).modules["model"]
total = sum(float(p.sum()) for p in model.parameters())  # touches every page
print(json.dumps({"extra": peak() - before, "total": total}))
"""


@pytest.fixture(scope="module")
def paper_model() -> DualDub:
    model = checkpoint.build("model", DualDubConfig.paper()).to(torch.bfloat16).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        block = torch.randn(1024, generator=generator).mul_(0.02)
        flat = parameter.data.view(-1)
        flat.copy_(block.repeat(-(-flat.numel() // 1024))[: flat.numel()])
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def test_one_decode_step_runs_in_bf16(paper_model):
    conditions = Conditions(
        speaker=torch.zeros(1, 2048, dtype=torch.bfloat16),
        text_ids=torch.tensor([[5, 6, 7, 100_257]]),
        text_lengths=torch.tensor([4]),
        video=torch.zeros(1, 40, 512, dtype=torch.bfloat16),
        present=torch.ones(1, 2),
        is_padded=False,
    )
    engine = Engine(paper_model, conditions, 40)
    first = engine.prefill(torch.full((1, 2, 1), paper_model.config.bos))
    second = engine.step(first[..., :4096].argmax(-1))
    assert second.shape == (1, 2, 4097)
    assert second.isfinite().all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory where Linux keeps it")
def test_loading_takes_the_weights_memory_plus_a_tenth_at_most(paper_model, tmp_path):
    path = tmp_path / "paper.safetensors"
    checkpoint.save(path, {"model": paper_model}, info={"name": "paper", "status": checkpoint.UNTRAINED})
    run = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=True)
    weights = sum(p.numel() * p.element_size() for p in paper_model.parameters())
    measured = json.loads(run.stdout)
    print(f"weights {weights / 1e9:.3f} GB, peak above the start {measured['extra'] / 1e9:.3f} GB")
    assert measured["extra"] <= 1.1 * weights
    assert measured["extra"] >= 0.5 * weights  # the measurement sees the weights at all
