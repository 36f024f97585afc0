"""Moving averages of weights: what is validated and shipped."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Average:
    """Moving averages of the trained weights; with a decay of 0 they are the weights themselves."""

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self._values = [p.detach().clone() for p in parameters] if decay else []

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Move towards the weights; faster at the beginning, where they are far from what they become."""
        decay = min(self._decay, (1 + done) / (10 + done))
        for value, parameter in zip(self._values, self._parameters, strict=False):
            value.lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The averages in place of the weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        return {"values": self._values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for value, loaded in zip(self._values, state["values"], strict=True):
            value.copy_(loaded)

    @torch.no_grad()
    def _swap(self) -> None:
        for value, parameter in zip(self._values, self._parameters, strict=False):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)
