"""How much memory and time a soundtrack will take, from a checkpoint's header alone: no weights are read.

Memory counts what is held: weights as they are loaded, keys and values of the language model, pictures, the widest
activations of one chunk of the VAE. Time counts the work: a step of the language model reads its weights once and
dispatches so many operations a layer; flow decoder, VAE and video encoder multiply. What the machine does of either
is measured for a tenth of a second on the device itself (`measure_machine`) or given. Both are estimates: expect the
truth between half and twice the figure, and more on a machine that is busy with something else.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from ..checkpoint import Header
from ..flow import Solver, evaluation_times
from ..timing import VIDEO_FEATURE_RATE
from ..types import Task

PYTHON_BYTES = 500_000_000
"""Held by Python, torch and FFmpeg before any model; seen with torch 2.13 on Linux."""

# Dispatched operations of a step of the language model, aligner, heads and sampler: counted with torch's profiler.
_OPS_A_LAYER, _OPS_A_STEP = 26, 70
_PROMPT = 64  # positions of script and voice before the frames
# Tensors of the widest layer that the VAE holds at a time: input, output and what lies between, and two copies in the
# order that a CPU's convolutions like.
_VAE_TENSORS = 5
# Shares of the rate of large products that the parts reach, as seen on a CPU; the VAE is bound by its activations.
_FLOW_SHARE, _VAE_SHARE = 0.6, 0.3
_PATCHES = 50  # of a picture in ViT-B/32; smaller towers have fewer


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What a device does.

    Attributes:
        read_rate: bytes of weights a second that a product with one vector reads.
        work_rate: multiplications and additions a second in large products.
        dispatch: seconds that one small operation takes.
        free_bytes: memory that is free; None where it is not known.
    """

    read_rate: float
    work_rate: float
    dispatch: float
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes and seconds by what they are for."""

    memory: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """At the peak."""
        return sum(self.memory.values())

    @property
    def total_seconds(self) -> float:
        """Wall time after loading."""
        return sum(self.seconds.values())


def measure_machine(device: torch.device | str = "cpu", *, free_bytes: int | None = None) -> Machine:
    """Time a product with a vector, one of matrices and a tiny operation; the best of a few rounds counts."""
    like = {"device": device, "dtype": torch.float32}
    tall, vector = torch.ones(4096, 2048, **like), torch.ones(2048, **like)  # type: ignore[call-overload]
    square, small = torch.ones(384, 384, **like), torch.ones(64, 64, **like)  # type: ignore[call-overload]

    def best(work: Callable[[], object], rounds: int) -> float:
        times = []
        for _ in range(rounds):
            _wait(device)
            started = time.perf_counter()
            work()
            _wait(device)
            times.append(time.perf_counter() - started)
        return max(min(times), 1e-9)

    return Machine(
        read_rate=tall.nbytes / best(lambda: tall @ vector, 5),
        work_rate=2 * 384**3 / best(lambda: square @ square, 5),
        dispatch=best(lambda: [torch.nn.functional.linear(small[:1], small) for _ in range(100)], 3) / 100,
        free_bytes=free_bytes,
    )


def estimate(
    header: Header,
    machine: Machine,
    *,
    duration: float,
    task: Task = Task.JOINT,
    takes: int = 1,
    decoder: str = "flow",
    num_steps: int = 10,
    solver: Solver = "euler",
    cfg_scale: float = 1.0,
    weight_bytes: int = 4,
) -> Estimate:
    """What a run of a checkpoint takes.

    Args:
        header: of the checkpoint; parts that it lacks are not counted.
        machine: what the device does.
        duration: seconds of the clip.
        task: which streams.
        takes: in one run.
        decoder: "flow" or "codec".
        num_steps: of the flow's solver.
        solver: of the flow.
        cfg_scale: guidance of the language model; other than 1 doubles its rows.
        weight_bytes: of a weight of the language model and the flow decoder; the others take 4.
    """
    counts = parameters(header)
    sizes = {part: count * (weight_bytes if part in ("model", "decoder") else 4) for part, count in counts.items()}
    memory = {"python": PYTHON_BYTES, "weights": sum(sizes.values())}
    seconds: dict[str, float] = {}
    rows = takes * (1 if cfg_scale == 1.0 else 2)
    if "model" in header.configs:
        config = header.configs["model"]
        frames = config.clock.num_frames(duration)
        llama, read = config.llama, _read_each_step(header)
        memory["cache"] = 2 * llama.num_layers * llama.width * (frames + _PROMPT) * rows * weight_bytes
        dispatched = _OPS_A_LAYER * llama.num_layers + _OPS_A_STEP
        step = read * weight_bytes / machine.read_rate + machine.dispatch * dispatched
        work = 2 * read * (rows - 1) / machine.work_rate
        seconds["generate"] = frames * (step + work)
    pictures = math.ceil(duration * float(VIDEO_FEATURE_RATE)) if task is not Task.SPEECH else 0
    if "video_encoder" in header.configs and pictures:
        clip = header.configs["video_encoder"]
        memory["pictures"] = pictures * 3 * clip.image_size**2
        seconds["watch"] = 2 * counts["video_encoder"] * _PATCHES * pictures / machine.work_rate
    if decoder == "flow" and {"decoder", "vae"} <= set(header.configs):
        flow, vae = header.configs["decoder"], header.configs["vae"]
        latents = flow.latent_clock.num_frames(duration)
        evaluations = len(evaluation_times(num_steps, solver))
        stems = 2 * takes
        seconds["flow"] = 2 * counts["decoder"] * latents * evaluations * stems / (machine.work_rate * _FLOW_SHARE)
        seconds["vae"] = vae_work(header) * latents * stems / (machine.work_rate * _VAE_SHARE)
        # One stem at a time, so neither takes nor length count.
        chunk = min(latents, vae.chunk_frames + 2 * vae.context_frames) * vae.hop_length
        memory["activations"] = 4 * chunk * vae.channels * _VAE_TENSORS
        memory["sound"] = 4 * latents * vae.hop_length * vae.audio_channels * (2 * stems + takes)
    elif "codec" in header.configs:
        codec = header.configs["codec"]
        seconds["codec"] = 2 * counts["codec"] * codec.clock.num_frames(duration) * 2 * takes / machine.work_rate
        memory["sound"] = 4 * round(duration * codec.sample_rate) * 5 * takes
    return Estimate(memory=memory, seconds=seconds)


def parameters(header: Header) -> Mapping[str, int]:
    """Parameters of each part."""
    counts = dict.fromkeys(header.configs, 0)
    for name, shape in header.shapes.items():
        counts[name.split(".", 1)[0]] += math.prod(shape)
    return counts


def _read_each_step(header: Header) -> int:
    """Parameters that every step of the language model reads: all but tables and the ear for voices."""
    own = ("model.llama.", "model.aligner.", "model.heads.")
    return sum(math.prod(shape) for name, shape in header.shapes.items() if name.startswith(own))


def vae_work(header: Header) -> float:
    """Multiplications and additions by which the VAE's decoder makes one latent frame into sound.

    Each weight is used once for every position of a convolution's output, or of the input of one that is transposed;
    after s stages there are as many positions as the product of their strides.
    """
    vae = header.configs["vae"]
    strides = vae.strides[::-1]
    total = 0.0
    for name, shape in header.shapes.items():
        words = name.split(".")
        if words[:2] != ["vae", "decoder"] or len(shape) != 3:
            continue
        stages = len(strides) if words[2] == "conv2" else 0
        if words[2] == "block":
            stages = int(words[3]) + (words[4] != "conv_t1")
        total += 2 * math.prod(shape) * math.prod(strides[:stages])
    return total


def _wait(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
