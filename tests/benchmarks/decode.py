"""Decode steps against a transformers DynamicCache loop of the same shape and against reading the weights once.

    python -m tests.benchmarks.decode --size mini --rounds 7

One process; the variants take turns in every round, in shuffled order, and ratios are taken within a round. The codes
that the fp32 engine writes must be those of transformers' LLaMA with the same weights, or nothing is measured. The
baseline's step has no aligner (two embeddings are added), ours has: the comparison is unkind to us.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dualdub_core.engine.engine import Engine
from dualdub_core.engine.int8 import Int8Linear, int8_is_exact, to_int8
from dualdub_core.engine.step import advance
from dualdub_core.files import replacing
from dualdub_core.generation import generate_codes
from dualdub_core.models.aligner import AlignerConfig
from dualdub_core.models.dualdub import STREAMS, Conditions, DualDub, DualDubConfig
from dualdub_core.models.llama import LlamaConfig
from dualdub_core.sampling import CodeSampler, StreamSampling

PAST, CAPACITY = 200, 256  # columns before the measured steps, and room
PROMPT = 24
NEEDED = {"paper": 12.0}  # GB of free memory


def config_of(size: str) -> DualDubConfig:
    """`mini`, `paper`, or `host`: as many layers as the paper, but nothing to compute: what calls cost."""
    if size == "paper":
        return DualDubConfig.paper()
    mini = DualDubConfig.mini()
    if size == "mini":
        return mini
    return replace(
        mini,
        speaker=replace(mini.speaker, out_width=64),
        aligner=AlignerConfig(width=64, num_heads=4),
        llama=LlamaConfig(width=64, num_layers=24, num_heads=4, mlp_width=172),
    )


def random_model(config: DualDubConfig, device: torch.device) -> DualDub:
    """Random weights, of a size that keeps the residual stream's, written quickly."""
    with torch.device("meta"):
        model = DualDub(config)
    model = model.to_empty(device=device)
    block = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).to(device)
    for index, parameter in enumerate(model.parameters()):
        if parameter.ndim < 2:
            parameter.data.fill_(1.0)
            continue
        flat = parameter.data.view(-1)
        scale = parameter.shape[-1] ** -0.5
        for first in range(0, len(flat), len(block)):
            part = flat[first : first + len(block)]
            part.copy_(block.roll(index * 7919 + first // 64)[: len(part)] * scale)
    return model.eval().requires_grad_(False)


def shared(model: DualDub) -> DualDub:
    """Another model with the same weights, in the same memory."""
    with torch.device("meta"):
        other = DualDub(model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    return other.eval().requires_grad_(False)


def transformers_llama(model: DualDub) -> Any:
    """Transformers' LLaMA with a model's weights, in the same memory."""
    from transformers import LlamaConfig as TheirConfig
    from transformers import LlamaModel

    config = model.config.llama
    with torch.device("meta"):
        theirs = LlamaModel(
            TheirConfig(
                vocab_size=8,
                hidden_size=config.width,
                intermediate_size=config.mlp_width,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                rms_norm_eps=1e-5,
                max_position_embeddings=4096,
                attn_implementation="sdpa",
            )
        )
    weights = {"embed_tokens.weight": model.heads.weight.new_zeros(8, config.width)}
    weights["norm.weight"] = model.llama.norm.weight
    for number, block in enumerate(model.llama.blocks):
        q, k, v = block.qkv.weight.chunk(3)
        gate, up = block.gate_up.weight.chunk(2)
        own = {
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": block.out.weight,
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": block.down.weight,
            "input_layernorm": block.attention_norm.weight,
            "post_attention_layernorm": block.mlp_norm.weight,
        }
        weights |= {f"layers.{number}.{name}.weight": weight for name, weight in own.items()}
    theirs.load_state_dict(weights, assign=True)
    # Its rotary frequencies are no weights: they were made on the meta device.
    theirs.rotary_emb = type(theirs.rotary_emb)(config=theirs.config).to(model.heads.weight.device)
    return theirs.eval().requires_grad_(False)


def some_conditions(model: DualDub, num_frames: int) -> Conditions:
    like, config = model.heads.weight, model.config
    generator = torch.Generator().manual_seed(1)
    return Conditions(
        speaker=torch.randn(1, config.llama.width, generator=generator).to(like),
        text_ids=torch.randint(0, 200, (1, PROMPT - 1), generator=generator).to(like.device),
        text_lengths=torch.tensor([PROMPT - 1], device=like.device),
        video=torch.randn(1, num_frames, config.video_width, generator=generator).to(like),
        present=torch.ones(1, len(STREAMS), device=like.device),
        is_padded=False,
    )


def a_sampler(model: DualDub) -> CodeSampler:
    stream = StreamSampling(temperature=0.8, top_k=50)
    num_logits = model.config.codebook_size + 1
    return CodeSampler([stream] * 2, [[3], [4]], num_logits=num_logits, device=model.heads.weight.device)


@torch.inference_mode()
def share_of_equal_codes(model: DualDub, theirs: Any, num_frames: int) -> float:
    """Codes of the engine against those of a loop around transformers' LLaMA, its own cache and our aligner."""
    from transformers import DynamicCache

    conditions, sampler = some_conditions(model, num_frames), a_sampler(model)
    ours = generate_codes(model, conditions, a_sampler(model), num_frames=num_frames).codes
    video, cache, fused_cache = model.watch(conditions), DynamicCache(), model.aligner.new_cache(1, num_frames)
    inputs = torch.full((1, len(STREAMS), 1), model.config.bos, device=ours.device)
    written = torch.zeros_like(ours)
    for frame in range(num_frames):
        fused = model.fuse(inputs, video, conditions.present, fused_cache)
        x = model.begin(conditions, fused).x if frame == 0 else fused
        hidden = theirs(inputs_embeds=x, past_key_values=cache, use_cache=True).last_hidden_state
        logits = model.predict(hidden[:, -1:])[:, :, 0]
        logits[..., model.config.eos] = -torch.inf
        written[..., frame] = sampler(logits, frame)
        inputs = written[..., frame : frame + 1]
    return float((written == ours).float().mean())


Variant = tuple[Callable[[], object], Callable[[], object]]
"""A step, and what sets it back."""


def baseline(model: DualDub, theirs: Any) -> Variant:
    """Two embeddings, a step of transformers' LLaMA with its growing cache, two heads, a sample."""
    from transformers import DynamicCache

    cache, sampler, width = DynamicCache(), a_sampler(model), model.config.codebook_size + 1
    like = model.heads.weight
    theirs(inputs_embeds=like.new_zeros(1, PAST, model.config.llama.width), past_key_values=cache, use_cache=True)
    codes = torch.ones(1, 2, dtype=torch.int64, device=like.device)
    background_head, speech_head = like.split(width)

    def step() -> Tensor:
        x = model.background_embedding(codes[:, :1]) + model.speech_embedding(codes[:, 1:])
        hidden = theirs(inputs_embeds=x, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
        heads = (torch.nn.functional.linear(hidden, head) for head in (background_head, speech_head))
        logits = torch.stack(tuple(heads), dim=1)
        logits[..., width - 1] = -torch.inf
        return sampler(logits, 0)

    def reset() -> None:
        if cache.get_seq_length() > PAST:
            cache.crop(PAST - cache.get_seq_length())

    return step, reset


def ours(model: DualDub, step_function: Callable[..., None] = advance) -> Variant:
    """The engine's step with its aligner, and the sampler."""
    sampler, bos = a_sampler(model), model.config.bos
    frames = CAPACITY - PROMPT
    engine = Engine(model, some_conditions(model, frames), frames)
    engine.prefill(torch.full((1, 2, PAST - PROMPT), bos, device=model.heads.weight.device))
    state, eos = engine.state, model.config.eos

    def step() -> None:
        state.logits[..., eos] = -torch.inf
        step_function(engine.weights, state, sampler(state.logits, 0), CAPACITY)
        engine.stepped()

    return step, lambda: engine.rewind(PAST - PROMPT)


def floor(model: DualDub) -> Variant:
    """Reading every weight that a step reads once, in whole words."""
    tensors = []
    for part in (model.llama, model.aligner, model.heads):
        for module in part.modules():
            if isinstance(module, Int8Linear):
                tensors.append(torch.zeros(module.nbytes // 4, dtype=torch.float32))  # as many bytes, as floats
            elif isinstance(module, torch.nn.Linear) and module is not model.aligner.from_video:
                weight = module.weight.detach().reshape(-1)
                tensors.append(weight.view(torch.float32) if weight.dtype == torch.bfloat16 else weight)

    def read() -> list[Tensor]:
        return [tensor.sum() for tensor in tensors]

    return read, lambda: None


def variants_of(args: argparse.Namespace, model: DualDub, theirs: Any) -> dict[str, Variant]:
    made = {"transformers fp32": baseline(model, theirs), "engine fp32": ours(model), "floor fp32": floor(model)}
    if "bf16" in args.precision:
        half = shared(model).bfloat16()
        made |= {"engine bf16": ours(half), "floor bf16": floor(half)}
    if "int8" in args.precision and int8_is_exact():
        small = to_int8(shared(model))
        made |= {"engine int8": ours(small), "floor int8": floor(small)}
    if args.compile:
        made["engine fp32 compiled"] = ours(model, torch.compile(advance, dynamic=False))
    return made


def measure(
    variants: dict[str, Variant], rounds: int, steps: int, device: torch.device
) -> dict[str, list[dict[str, float]]]:
    """Of each variant and round: milliseconds a step of wall and of CPU time, and what others took of the machine."""
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    order = list(variants)
    for round_number in range(-1, rounds):
        random.Random(round_number).shuffle(order)
        for name in order:
            step, reset = variants[name]
            reset()
            wait(device)
            busy, wall, cpu = others(), time.perf_counter(), time.process_time()
            for _ in range(steps):
                step()
            wait(device)
            wall, cpu, busy = time.perf_counter() - wall, time.process_time() - cpu, others() - busy
            if round_number >= 0:  # the first is warm-up
                taken = max(0.0, busy - cpu) / wall
                samples[name].append({"wall": wall / steps * 1e3, "cpu": cpu / steps * 1e3, "others": taken})
    return samples


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def others() -> float:
    """CPU seconds that anybody has used so far; 0 where the system does not say."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0
    user, nice, system = map(int, path.read_text().split("\n", maxsplit=1)[0].split()[1:4])
    return (user + nice + system) / 100


def ratios(samples: dict[str, list[dict[str, float]]], clock: str) -> dict[str, dict[str, list[float]]]:
    """Of each variant, round by round: times faster than the baseline, and share of its floor."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, own in samples.items():
        entry = {"faster": [b[clock] / s[clock] for b, s in zip(samples["transformers fp32"], own, strict=True)]}
        least = samples.get(f"floor {name.split()[1]}")
        if least is not None and not name.startswith("floor"):
            entry["of floor"] = [f[clock] / s[clock] for f, s in zip(least, own, strict=True)]
        found[name] = entry
    return found


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}..{max(values):.2f}]"


def table(samples: dict[str, list[dict[str, float]]], clock: str) -> str:
    lines = [f"| variant | ms a step ({clock}) | times the baseline | share of its floor | others' CPU |"]
    lines.append("| - | - | - | - | - |")
    for name, entry in ratios(samples, clock).items():
        share = spread(entry["of floor"]) if "of floor" in entry else ""
        busy = max(sample["others"] for sample in samples[name])
        milliseconds = spread([sample[clock] for sample in samples[name]])
        lines.append(f"| {name} | {milliseconds} | {spread(entry['faster'])} | {share} | {busy:.0%} |")
    return "\n".join(lines)


def free_gigabytes() -> float:
    path = Path("/proc/meminfo")
    if not path.exists():
        return float("inf")
    values = dict(line.split(":") for line in path.read_text().splitlines())
    return int(values["MemAvailable"].split()[0]) / 1e6


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("mini", "paper", "host"), default="mini")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=0, help="a round; 0: 40, and 3 of paper size")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's choice")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="*", default=["bf16", "int8"], help="besides fp32: bf16, int8")
    parser.add_argument("--compile", action="store_true", help="also the step through torch.compile")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu for one thread on a busy machine")
    parser.add_argument("--frames", type=int, default=24, help="whose codes are compared with the baseline's")
    parser.add_argument("--json", type=Path, help="default: decode_SIZE.json beside this file")
    return parser.parse_args()


def main() -> int:
    args = parsed()
    if args.threads:
        torch.set_num_threads(args.threads)
    free, needed = free_gigabytes(), NEEDED.get(args.size, 1.0)
    if free < needed:
        print(f"decode: {free:.1f} GB of memory are free, size {args.size} needs {needed:.0f}", file=sys.stderr)
        return 2
    device = torch.device(args.device)
    with torch.inference_mode():
        model = random_model(config_of(args.size), device)
        theirs = transformers_llama(model)
        equal = share_of_equal_codes(model, theirs, args.frames)
        print(f"fp32 codes equal to transformers': {equal:.4f} of {2 * args.frames}")
        if equal < 1:
            print("decode: the engine writes other codes than the reference; nothing was measured", file=sys.stderr)
            return 1
        variants = variants_of(args, model, theirs)
        steps = args.steps or (3 if args.size == "paper" else 40)
        samples = measure(variants, args.rounds, min(steps, CAPACITY - PAST), device)
    print(table(samples, args.clock))
    report = {
        "size": args.size,
        "clock": args.clock,
        "rounds": args.rounds,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "equal_codes": equal,
        "samples": samples,
        "ratios": ratios(samples, args.clock),
    }
    path = args.json or Path(__file__).with_name(f"decode_{args.size}.json")
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1))
    print(f"kept in {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
