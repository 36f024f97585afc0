"""Which precision a model runs in: what was asked for, what the device is good at, and why.

Source of the sizes: a step reads all its weights once, so precision matters where they do not fit a cache.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from ..errors import ConfigError
from .int8 import int8_is_exact

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SMALL = 50_000_000  # weights; below, calls cost more than reading 4 bytes each

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """A precision.

    Attributes:
        name: "fp32", "bf16", "fp16" or "int8".
        model: dtype to load the language model in; with int8 what is not quantised stays in it.
        decoder: dtype of the flow decoder.
        is_int8: whether the language model goes through `int8.to_int8` once it is loaded.
        why: one clause, for people.
    """

    name: str
    model: torch.dtype
    decoder: torch.dtype
    is_int8: bool = False
    why: str = "as asked for"

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"


def choose(precision: str, device: torch.device | str, num_weights: int, *, has_bf16: bool | None = None) -> Chosen:
    """What a precision means on a device.

    Args:
        precision: one of `PRECISIONS`; on a CPU fp16 becomes bf16 with a warning.
        device: where the model will run.
        num_weights: of the language model.
        has_bf16: whether the device computes in bf16 natively; found out when None.

    Raises:
        ConfigError: it is not a precision, or int8 was asked for where there is none.
    """
    device = torch.device(device)
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if has_bf16 is None:
        has_bf16 = _has_bf16(device)
    half = torch.bfloat16 if has_bf16 else torch.float32
    if precision == "auto":
        return _best(device, num_weights, half)
    if precision == "int8":
        _check_int8(device)
        return Chosen(name="int8", model=torch.float32, decoder=half, is_int8=True)
    if precision == "fp16" and device.type == "cpu":
        logger.warning("precision: fp16 is 200 times slower on a CPU than any other; bf16 is used")
        return Chosen(name="bf16", model=torch.bfloat16, decoder=torch.bfloat16, why="a CPU has no fp16 worth using")
    dtype = _DTYPES[precision]
    return Chosen(name=precision, model=dtype, decoder=dtype)


def _best(device: torch.device, num_weights: int, half: torch.dtype) -> Chosen:
    if device.type != "cpu":
        name, why = ("bf16", "this device computes in it") if half == torch.bfloat16 else ("fp32", "it has no bf16")
        return Chosen(name=name, model=half, decoder=half, why=why)
    if num_weights < _SMALL:
        why = f"{num_weights / 1e6:.0f} million weights are no burden to a CPU"
        return Chosen(name="fp32", model=torch.float32, decoder=torch.float32, why=why)
    if int8_is_exact():
        why = "a step costs what its weights cost to read, and this CPU multiplies 8 bits exactly"
        return Chosen(name="int8", model=torch.float32, decoder=half, is_int8=True, why=why)
    if half == torch.bfloat16:
        return Chosen(name="bf16", model=half, decoder=half, why="a step costs what its weights cost to read")
    return Chosen(name="fp32", model=half, decoder=half, why="this CPU has neither int8 nor bf16")


def _check_int8(device: torch.device) -> None:
    if device.type != "cpu":
        raise ConfigError(f"precision: int8 is for CPUs, the model runs on {device.type}; use bf16")
    if not int8_is_exact():
        raise ConfigError("precision: this CPU or this torch has no exact int8 products; use bf16 or fp32")


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return "AVX512" in torch.backends.cpu.get_cpu_capability() and bool(torch._C._has_mkldnn)
    return device.type in ("mps", "xpu")
