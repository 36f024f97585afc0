"""The step of a frame as one captured CUDA graph, kept with its memory from run to run.

A graph is replayed only after it gave what the same calls gave eagerly. It reads weights and memory where they were
when it was captured: moving the model drops it (`DualDub._apply`), and so does `release`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import shortened
from ..models.dualdub import DualDub
from .draw import Draw, DrawShape
from .state import Shape, State
from .weights import StepWeights

VERIFIED = 4
"""Frames that are run both ways before a graph is trusted."""

_MOST_KEPT = 2  # a batch with and without guidance, say; each holds a cache

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Kept:
    """The memory of runs of one shape, and the graph that works in it.

    Attributes:
        state: of the step.
        draw: of drawing.
        weights: where the weights were; None for memory that no graph is captured for.
        replay: the captured frame; None before it is captured and where it cannot be.
        has_failed: whether capture or comparison failed; it is not tried again.
    """

    state: State
    draw: Draw
    weights: tuple[int, ...] | None = None
    replay: Callable[[], None] | None = None
    has_failed: bool = False

    @property
    def is_capturable(self) -> bool:
        """Whether a graph may work in it."""
        return self.weights is not None


def is_capturable(model: DualDub, device: torch.device) -> bool:
    """Whether steps of this model are captured: on CUDA or ROCm, unless switched off, with all weights in place."""
    if device.type != "cuda" or not model.engine.graphs:
        return False
    in_place = all(parameter.device == device for parameter in model.parameters())
    return in_place and StepWeights.of(model, device).are_tensors


def borrow(model: DualDub, shape: Shape, drawing: DrawShape, device: torch.device) -> Kept:
    """Memory of a shape: what an earlier run of it left, or new. Nobody else has it until it is `give_back`n."""
    weights = tuple(parameter.data_ptr() for parameter in model.parameters())
    key = (shape, drawing, device, model.heads.weight.dtype)
    kept = model.kept.pop(key, None)
    if isinstance(kept, Kept) and kept.weights == weights:
        return kept
    return Kept(State(model, shape, device), Draw(drawing, device), weights)


def give_back(model: DualDub, kept: Kept) -> None:
    """Keep memory and graph for the next run of the shape; the oldest of too many goes."""
    key = (kept.state.shape, kept.draw.shape, kept.draw.codes.device, kept.state.logits.dtype)
    model.kept[key] = kept
    while len(model.kept) > _MOST_KEPT:
        del model.kept[next(iter(model.kept))]


def release(model: DualDub) -> None:
    """Drop all graphs and their memory, when a host takes the model off the device."""
    model.kept.clear()


def capture(
    frame: Callable[[], None], logits: Tensor, rewind: Callable[[], None], frames: int
) -> Callable[[], None] | None:
    """Capture a frame and compare its replays with eager runs.

    Args:
        frame: runs one frame, changing fixed memory only and asking no tensor for its value.
        logits: where it leaves what comes next; the memory that is compared.
        rewind: sets the memory back to where the first frame starts; called before each series.
        frames: how many to compare.

    Returns:
        what replays a frame, or None where that cannot be done or differs; the memory is set back in any case.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    current = torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):  # warms up what a capture must not: handles and work space of this stream
        eager = _series(frame, logits, rewind, frames)
        rewind()
    current.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            frame()
    except RuntimeError as error:
        logger.warning("graph: the step could not be captured and runs call by call: %s", shortened(error))
        rewind()
        return None
    replayed = _series(graph.replay, logits, rewind, frames)
    rewind()
    if not agree(eager, replayed):
        logger.warning("graph: the captured step differs from the eager one; steps run call by call")
        return None
    return graph.replay


def _series(frame: Callable[[], None], logits: Tensor, rewind: Callable[[], None], frames: int) -> list[Tensor]:
    rewind()
    series = []
    for _ in range(frames):
        frame()
        series.append(logits.clone())
    return series


def agree(eager: list[Tensor], replayed: list[Tensor]) -> bool:
    """Whether two series of logits are the same but for rounding.

    Where the likeliest codes differ the series end: later frames may follow other codes and say nothing.
    """
    for one, other in zip(eager, replayed, strict=True):
        share = 1e-3 if one.dtype == torch.float32 else 2e-2
        if not torch.allclose(one.float(), other.float(), rtol=0, atol=share * float(one.abs().max())):
            return False
        if not torch.equal(one.argmax(-1), other.argmax(-1)):
            break
    return True
