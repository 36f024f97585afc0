"""What the loop knows of a part that is trained: nothing but this."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dualdub_core import checkpoint
from dualdub_core.errors import CheckpointError
from dualdub_core.models.dualdub import DualDub, init_dualdub

from ..config import RunConfig
from ..data import Corpus


class Losses(Protocol):
    """A frozen dataclass of scalars; `total` is a mean over `Objective.weight` units and has the gradient."""

    @property
    def total(self) -> Tensor: ...


class Objective(nn.Module):
    """A part to train, inside what gives its loss.

    Attributes:
        parts: names of the components among its attributes that a checkpoint of this run holds.
        blocks: names of the layer classes that FSDP wraps one by one.
    """

    parts: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()

    def weight(self, batch: Any) -> float:  # noqa: ANN401
        """How many units the batch's loss is a mean over; micro-batches of an update count in this proportion."""
        raise NotImplementedError

    def after_update(self) -> None:
        """What happens after the optimiser's step."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A run's objective and data."""

    objective: Objective
    train: Corpus
    validation: Corpus | None


class Maker(Protocol):
    """Builds a run's objective and data; what a resumed run will load anyway need not be computed."""

    def __call__(self, config: RunConfig, *, is_resumed: bool) -> Setup: ...


def train_only(module: nn.Module, beginnings: Sequence[str]) -> None:
    """Let only parameters learn whose names begin so."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(beginnings)))


def initial(component: str, config: Any, init: str | None, seed: int) -> nn.Module:  # noqa: ANN401
    """A component from a checkpoint in float32, or a new one from the seed.

    Raises:
        CheckpointError: the file lacks the component.
    """
    if init is not None:
        return checkpoint.load(init, components=[component], dtype=torch.float32).modules[component].train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = type(checkpoint.build(component, config))
        module: nn.Module = kind(config)
        if isinstance(module, DualDub):
            init_dualdub(module)
        return module


def require_equal(what: str, got: Any, expected: Any) -> None:  # noqa: ANN401
    """Refuse parts that do not fit together.

    Raises:
        CheckpointError: they differ.
    """
    if got != expected:
        raise CheckpointError(f"{what}: got {got}, expected {expected}; train the parts from one another's output")
