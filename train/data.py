"""Rows to micro-batches: which rows go together, in which order, and where a run continues.

Everything is a function of (seed, epoch, number of the micro-batch): no state is saved, and neither the number
of processes nor an interruption changes what a micro-batch holds.
Letters: B rows of a micro-batch.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

Rows = tuple[int, ...]
B = TypeVar("B", bound="Batch")


class Batch(Protocol):
    """A frozen dataclass of tensors.

    Attributes:
        name: under which its losses are logged.
        seed: of all randomness the objective needs for it.
    """

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...


class Corpus(Protocol):
    """What a trainer reads."""

    def epoch(self, rng: np.random.Generator) -> list[Rows]:
        """The micro-batches of an epoch, shuffled."""
        ...

    def batch(self, rows: Rows, rng: np.random.Generator) -> Batch:
        """Load one."""
        ...


@dataclass(frozen=True, slots=True)
class Micro:
    """A micro-batch to be loaded; `number` counts them through the whole run."""

    number: int
    rows: Rows


def bucketed(
    keys: Mapping[int, Hashable], rng: np.random.Generator, *, micro_batch: int, lengths: Mapping[int, int], cap: int
) -> list[Rows]:
    """Shuffle rows into micro-batches of one key each, at most `cap` frames in all (0 = no cap); then shuffle those.

    Args:
        keys: what rows of a micro-batch must have in common, by row.
        rng: of the epoch.
        micro_batch: rows at most.
        lengths: frames by row, equal within a key.
        cap: frames of a micro-batch.
    """
    buckets: dict[Hashable, list[int]] = {}
    for row in rng.permutation(np.fromiter(keys, dtype=np.int64, count=len(keys))).tolist():
        buckets.setdefault(keys[row], []).append(row)
    batches: list[Rows] = []
    for rows in buckets.values():
        size = micro_batch if not cap else max(1, min(micro_batch, cap // lengths[rows[0]]))
        batches += [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def stream(corpus: Corpus, *, seed: int, start: int = 0) -> Iterator[Micro]:
    """Micro-batches for ever, epoch after epoch, from number `start` on."""
    first, epoch = 0, 0
    while True:
        batches = corpus.epoch(np.random.default_rng([seed, epoch]))
        for index in range(max(0, start - first), len(batches)):
            yield Micro(first + index, batches[index])
        first, epoch = first + len(batches), epoch + 1


def num_micro_batches(corpus: Corpus, *, seed: int, num_epochs: int) -> int:
    """Micro-batches of so many epochs."""
    return sum(len(corpus.epoch(np.random.default_rng([seed, epoch]))) for epoch in range(num_epochs))


def loader(corpus: Corpus, micros: "Sequence[Micro] | Endless", *, seed: int, num_workers: int) -> DataLoader[Batch]:
    """Load micro-batches in order."""
    return DataLoader(
        _Loaded(corpus, seed),
        sampler=micros,
        batch_size=None,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


@dataclass(frozen=True, slots=True)
class Endless:
    """One process's share of the stream: every `num_processes`-th micro-batch, from `start` on."""

    corpus: Corpus
    seed: int
    start: int
    rank: int
    num_processes: int

    def __iter__(self) -> Iterator[Micro]:
        for micro in stream(self.corpus, seed=self.seed, start=self.start):
            if micro.number % self.num_processes == self.rank:
                yield micro


class _Loaded(Dataset[Batch]):
    def __init__(self, corpus: Corpus, seed: int) -> None:
        self._corpus, self._seed = corpus, seed

    def __getitem__(self, micro: Micro) -> Batch:
        # The second number keeps these draws apart from those that shuffle epochs.
        return self._corpus.batch(micro.rows, np.random.default_rng([self._seed, 1, micro.number]))


def moved(batch: B, device: torch.device) -> B:
    """The batch on another device."""
    assert is_dataclass(batch)
    values: dict[str, Any] = {f.name: getattr(batch, f.name) for f in fields(batch)}
    tensors = {name: value.to(device) for name, value in values.items() if isinstance(value, torch.Tensor)}
    return replace(batch, **tensors)


def draw_seed(rng: np.random.Generator) -> int:
    """A seed for torch."""
    return int(rng.integers(2**62))
