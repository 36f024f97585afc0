"""Means of losses over micro-batches and processes."""

import math
from dataclasses import fields

import torch
from accelerate import Accelerator
from torch import Tensor

from .trainers.objective import Losses

Sums = dict[str, tuple[float, float]]
"""Weighted totals and their weights, by name."""


class Meter:
    """Means of losses over micro-batches and processes, by the batch's name; NaN does not count."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sums: Sums = {}
        self._pending: list[tuple[str, dict[str, Tensor], float]] = []

    def add(self, name: str, losses: Losses, weight: float) -> None:
        """Note a micro-batch's losses; they are read later, so that no device is waited for."""
        scalars = {field.name: getattr(losses, field.name).detach() for field in fields(losses)}  # type: ignore[arg-type]
        self._pending.append((name, scalars, weight))

    def note(self, name: str, value: float) -> None:
        """Note a number of this process."""
        total, count = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = total + value, count + 1

    def read(self) -> dict[str, float]:
        """The means since the last call, over all processes."""
        sums = self._gathered()
        self._sums = {}
        return {key: total / count for key, (total, count) in sorted(sums.items()) if count}

    def settled(self) -> Sums:
        """The sums since the last reading over all processes, for `resume`."""
        sums = self._gathered()
        self.resume(sums)
        return dict(sums)

    def resume(self, sums: Sums) -> None:
        """Go on from `settled` sums, which the first process holds for all."""
        self._sums = dict(sums) if self._accelerator.is_main_process else {}

    def _gathered(self) -> Sums:
        for name, losses, weight in self._pending:
            for field, value in losses.items():
                number = float(value)
                if math.isnan(number):
                    continue
                for key in (f"{name}/{field}", *(["total"] if field == "total" else [])):
                    total, count = self._sums.get(key, (0.0, 0.0))
                    self._sums[key] = total + number * weight, count + weight
        self._pending = []
        if self._accelerator.num_processes == 1:
            return self._sums
        everyone: list[Sums | None] = [None] * self._accelerator.num_processes
        torch.distributed.all_gather_object(everyone, self._sums)
        merged: Sums = {}
        for sums in everyone:
            for key, (total, count) in (sums or {}).items():
                before = merged.get(key, (0.0, 0.0))
                merged[key] = before[0] + total, before[1] + count
        return merged
