"""The most memory that the chain takes, stage by stage: computed at the paper's size, measured at any.

    python tests/benchmarks/memory.py [--size mini|paper] [--seconds 30] [--measure] [--json FILE]

Computed: every tensor that a stage's operations make, on torch's meta device, which needs neither the memory nor a GPU;
not in it are what kernels take while they run and an allocator's rounding. `resident` keeps all parts loaded, `staged`
only those of the stage, as ComfyUI does on a small card. The language model and the flow decoder are in bf16, the
others in float32. A clip is worked on in windows of at most `--seconds`, whatever its length; the sound is its own.

Measured (`--measure`, Linux, on a CPU): a checkpoint of random weights is written, and each stage runs in a process of
its own, whose peak of resident memory above the start is split into what a file stands behind (the mapped weights,
which the system may drop) and the rest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from peak import Ledger, anonymous, forget, peak, resident
from rounds import keep, machine
from torch import nn

from dualdub_core import checkpoint
from dualdub_core.generation import FREE, generate_codes
from dualdub_core.models.clip import ClipConfig
from dualdub_core.models.dit import FlowDecoderConfig, decode_codes
from dualdub_core.models.dualdub import Conditions, DualDub, DualDubConfig
from dualdub_core.models.oobleck import OobleckConfig, decode_in_chunks
from dualdub_core.models.wavtokenizer import WavTokenizerConfig
from dualdub_core.sampling import CodeSampler, StreamSampling

LIMIT_GB = 5.5
HALF = ("model", "decoder")
STAGES = {"watch": ("video_encoder",), "generate": ("model",), "flow": ("decoder",), "vae": ("vae",)}
CONFIGS: dict[str, Any] = {
    "model": DualDubConfig,
    "video_encoder": ClipConfig,
    "codec": WavTokenizerConfig,
    "decoder": FlowDecoderConfig,
    "vae": OobleckConfig,
}
MARGIN, TEXT, PICTURES = 2.0, 64, 32


def main() -> None:
    """Compute, measure if asked to, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("mini", "paper"), default="paper")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a window")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--stages", nargs="*", choices=tuple(STAGES), default=list(STAGES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_look(options)))
        return
    values: dict[str, Any] = {"machine": machine(), "size": options.size, "seconds": options.seconds}
    values["computed"] = _computed(options)
    print(_table(values["computed"]))
    if options.measure:
        values["measured"] = _measured(options)
        for stage, found in values["measured"].items():
            print(f"measured, {stage}: " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in found.items()))
    keep(options.json, values)


def _computed(options: argparse.Namespace) -> dict[str, Any]:
    parts = {name: checkpoint.build(name, getattr(config, options.size)()) for name, config in CONFIGS.items()}
    parts = {name: part.eval().requires_grad_(False) for name, part in parts.items()}
    for name in HALF:
        parts[name].bfloat16()
    weights = {name: sum(tensor.nbytes for tensor in part.state_dict().values()) for name, part in parts.items()}
    weights["vae decoder"] = sum(tensor.nbytes for tensor in parts["vae"].decoder.state_dict().values())  # type: ignore[union-attr]
    weights["text table"] = parts["model"].text_embedding.weight.nbytes  # type: ignore[union-attr]
    work = {}
    for stage in STAGES:
        ledger = Ledger("meta")
        with torch.inference_mode(), ledger:
            _run(stage, parts, options.seconds, "meta")
        work[stage] = ledger.peak
    all_parts = sum(weights[name] for name in CONFIGS)
    wired = all_parts - weights["codec"]
    needed = wired - weights["vae"] + weights["vae decoder"]
    staged = {stage: sum(weights[part] for part in parts) + work[stage] for stage, parts in STAGES.items()}
    found = {"weights": weights, "work": work, "staged": staged}
    kept = {"all parts": all_parts, "without the codec": wired, "nor the VAE's encoder": needed}
    return found | {f"resident, {name}": size + max(work.values()) for name, size in kept.items()}


def _run(stage: str, parts: dict[str, nn.Module], seconds: float, device: str) -> None:
    """One stage as the chain runs it, with as few steps as show its memory."""
    part: Any = parts[STAGES[stage][0]]
    if stage == "watch":
        size = part.config.image_size
        part(torch.empty(PICTURES, 3, size, size, dtype=torch.uint8, device=device))
    elif stage == "generate":
        _generate(part, seconds, device)
    elif stage == "flow":
        seconds += 2 * MARGIN
        codes = torch.zeros(2, part.config.code_clock.num_frames(seconds), dtype=torch.int64)
        decode_codes(part, codes, num_latent_frames=part.config.latent_clock.num_frames(seconds), num_steps=1)
    elif device == "meta":
        frames = part.config.chunk_frames + 2 * part.config.context_frames
        part.decode(torch.empty(1, part.config.latent_channels, frames, device=device))
    else:
        frames = part.config.clock.num_frames(seconds)
        decode_in_chunks(part, torch.randn(2, part.config.latent_channels, frames))


def _generate(model: DualDub, seconds: float, device: str) -> None:
    config, weight = model.config, model.heads.weight
    num_frames = config.clock.num_frames(seconds)
    ids = torch.zeros(1, TEXT, dtype=torch.int64, device=device)
    conditions = Conditions(
        speaker=weight.new_zeros(1, config.llama.width),
        text_ids=ids,
        text_lengths=torch.full((1,), TEXT, device=device),
        video=weight.new_zeros(1, num_frames, config.video_width),
        present=torch.ones(1, 2, device=device),
        is_padded=False,
    )
    if device == "meta":
        # A sampler looks at numbers; the cache and the pass over the whole window are what counts.
        caches = model.llama.new_cache(1, num_frames + TEXT + 1), model.aligner.new_cache(1, num_frames)
        sequence = model.begin(conditions, weight.new_zeros(1, num_frames, config.llama.width))
        model.llama(sequence.x, sequence.positions, cache=caches[0])
        return
    # All but the last frames are known, so that a window is one pass and a few steps.
    forced = torch.zeros(1, 2, num_frames, dtype=torch.int64)
    forced[..., -4:] = FREE
    sampler = CodeSampler([StreamSampling()] * 2, [[0], [1]], num_logits=config.codebook_size + 1, device=device)
    generate_codes(model, conditions, sampler, num_frames=num_frames, forced=forced)


def _measured(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for stage in options.stages:
            path = Path(folder) / f"{stage}.safetensors"
            _write(STAGES[stage][0], options.size, path)
            arguments = [
                "--size",
                options.size,
                "--seconds",
                str(options.seconds),
                "--child",
                stage,
                "--file",
                str(path),
            ]
            run = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
            if run.returncode:
                raise SystemExit(run.stderr[-3000:])
            found[stage] = json.loads(run.stdout.splitlines()[-1])
            path.unlink()
    return found


def _write(component: str, size: str, path: Path) -> None:
    module = checkpoint.build(component, getattr(CONFIGS[component], size)())
    module = (module.bfloat16() if component in HALF else module).to_empty(device="cpu")
    block = torch.randn(1024, generator=torch.Generator().manual_seed(0)).mul_(0.02)
    for tensor in module.state_dict().values():
        tensor.view(-1).copy_(block.repeat(-(-tensor.numel() // 1024))[: tensor.numel()])
    checkpoint.save(path, {component: module}, info={"name": "memory", "status": checkpoint.UNTRAINED})


def _look(options: argparse.Namespace) -> dict[str, float]:
    component = STAGES[options.child][0]
    torch.set_num_threads(1)
    checkpoint.build(component, getattr(CONFIGS[component], options.size)())  # what it imports is not what it weighs
    forget()
    start, held = peak(), anonymous()
    part = checkpoint.load(options.file, components=[component]).modules[component]
    weights = sum(tensor.nbytes for tensor in part.state_dict().values())
    found = {"weights": weights, "loading": peak() - start, "of it no file": anonymous() - held}
    forget()
    before = resident()
    with torch.inference_mode():
        _run(options.child, {component: part}, options.seconds, "cpu")
    found |= {"working": peak() - before, "peak": peak() - start}
    return {name: value / 1e6 for name, value in found.items()}


def _table(found: dict[str, Any]) -> str:
    lines = ["| computed | GB |", "| --- | --- |"]
    lines += [f"| weights, {name} | {size / 1e9:.3f} |" for name, size in found["weights"].items()]
    lines += [f"| work, {name} | {size / 1e9:.3f} |" for name, size in found["work"].items()]
    lines += [f"| staged, {name} | {size / 1e9:.3f} |" for name, size in found["staged"].items()]
    lines += [f"| {name} | {found[name] / 1e9:.3f} |" for name in found if name.startswith("resident")]
    return "\n".join([*lines, f"| limit | {LIMIT_GB:.3f} |"])


if __name__ == "__main__":
    main()
