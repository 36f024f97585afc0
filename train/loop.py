"""One training loop for every part: it knows batches, updates and checkpoints, and no part or stage by name.

The order is fixed: accumulate, backward, clip, finite check, step, schedule, average, log; then validate and save.
The losses of an update's micro-batches count by their number of targets over all processes, so neither
accumulation nor the number of processes changes an update.
"""

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from dualdub_core import checkpoint
from dualdub_core.errors import ConfigError, DualDubError

from .average import Average
from .config import RunConfig
from .data import Batch, Endless, loader, moved, num_micro_batches, stream
from .folder import alone, claim, has_state, state_folder
from .journal import Journal
from .meter import Meter, Sums
from .optimiser import make_optimiser, rate_at, set_rate
from .trainers.objective import Losses, Maker, Setup

_MOST_SKIPPED = 20


class DivergedError(DualDubError):
    """Gradients were not finite too many times in a row."""


class Run:
    """A run from its start or its last checkpoint to its end."""

    def __init__(self, config: RunConfig, setup: Setup, accelerator: Accelerator) -> None:
        self.config, self.setup, self.accelerator = config, setup, accelerator
        self.folder = Path(config.folder)
        if config.compile:
            require_compiler(accelerator.device)
            setup.objective.compile(dynamic=True)
        trained = [p for p in setup.objective.parameters() if p.requires_grad]
        optimiser = make_optimiser(trained, config.optimiser)
        self.objective, self.optimiser = accelerator.prepare(setup.objective, optimiser)
        self.trained = [p for p in self.objective.parameters() if p.requires_grad]
        self.average = Average(self.trained, config.optimiser.ema)
        self.position = Position()
        self.meter, self.journal = Meter(accelerator), Journal(self.folder / "metrics.jsonl")
        accelerator.register_for_checkpointing(self.average, self.position)
        self.micro_batches = micro_batches_per_update(config, accelerator.num_processes)
        self.num_updates = num_updates(config, setup, self.micro_batches)

    def train(self) -> None:
        """Run to the end, or until the time is up.

        Raises:
            DivergedError: the gradients stay without meaning.
            InputError: another run is writing in the folder.
        """
        with alone(self.folder / ".running") if self.accelerator.is_main_process else nullcontext():
            self._train()

    def _train(self) -> None:
        self._resume()
        started = time.monotonic()
        batches = self._batches()
        bar = tqdm(
            total=self.num_updates,
            initial=self.position.update,
            disable=not self.accelerator.is_main_process,
            desc=self.config.name,
            unit="update",
            mininterval=5.0,
        )
        while self.position.update < self.num_updates:
            micros = list(islice(batches, self.micro_batches // self.accelerator.num_processes))
            self._update(micros)
            self.position.update += 1
            bar.update()
            update, is_last = self.position.update, self.position.update == self.num_updates
            if update % self.config.log_every == 0 or is_last:
                bar.set_postfix(self._log("train", self.meter.read()))
            if self.setup.validation is not None and (update % self.config.validate_every == 0 or is_last):
                self._log("validation", self.validate())
            is_late = self._is_late(started)
            if update % self.config.save_every == 0 or is_last or is_late:
                self.save()
            if is_late:
                break
        bar.close()
        self.accelerator.end_training()

    def validate(self) -> dict[str, float]:
        """Losses of the averaged weights on the same batches with the same randomness every time."""
        validation, rank = self.setup.validation, self.accelerator.process_index
        assert validation is not None
        meter = Meter(self.accelerator)
        micros = list(islice(stream(validation, seed=0), self.config.validation_batches))
        mine = micros[rank :: self.accelerator.num_processes]
        self.objective.eval()
        with torch.no_grad(), self.average.applied():
            for batch in loader(validation, mine, seed=0, num_workers=0):
                weight = self.setup.objective.weight(batch)
                meter.add(batch.name, self.objective(moved(batch, self.accelerator.device)), weight)
        self.objective.train()
        return meter.read()

    def save(self) -> None:
        """Write what resuming needs, and the parts with averaged weights as a checkpoint."""
        self.accelerator.wait_for_everyone()
        state, previous = self.folder / "state", self.folder / "state.previous"
        fresh = self.folder / "state.new"
        self.position.sums = self.meter.settled()
        self.accelerator.save_state(str(fresh))
        with self.average.applied():
            tensors = self.accelerator.get_state_dict(self.objective)
        if self.accelerator.is_main_process:
            # First: a run that is killed between the two makes both again, and one at its end would do nothing.
            self._write_parts(tensors)
            shutil.rmtree(previous, ignore_errors=True)
            if state.exists():
                state.rename(previous)
            fresh.rename(state)
            shutil.rmtree(previous, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _update(self, batches: list[Batch]) -> None:
        accelerator, objective = self.accelerator, self.setup.objective
        weights = [objective.weight(batch) for batch in batches]
        everyone = accelerator.reduce(torch.tensor(sum(weights), device=accelerator.device), "sum")
        # Data parallelism takes the mean over processes; the loss is a mean over all their targets.
        scale = accelerator.num_processes / float(everyone)
        set_rate(self.optimiser, rate_at(self.position.update, self.num_updates, self.config.optimiser))
        for index, (batch, weight) in enumerate(zip(batches, weights, strict=True)):
            is_last = index == len(batches) - 1
            with nullcontext() if is_last else accelerator.no_sync(self.objective):
                losses: Losses = self.objective(moved(batch, accelerator.device))
                accelerator.backward(losses.total * (weight * scale))
            self.meter.add(batch.name, losses, weight)
        limit = self.config.optimiser.clip or math.inf
        norm = float(accelerator.clip_grad_norm_(self.trained, limit))
        self.meter.note("gradient_norm", norm)
        if math.isfinite(norm):
            self.optimiser.step()
            objective.after_update()
            self.average.update(self.position.update)
            self.position.skipped = 0
        else:
            self.position.skipped += 1
            if self.position.skipped > _MOST_SKIPPED:
                raise DivergedError(
                    f"{self.config.name}: gradients were not finite {_MOST_SKIPPED} updates in a row at update "
                    f"{self.position.update}; lower max_lr or warm up longer"
                )
        self.optimiser.zero_grad()

    def _resume(self) -> None:
        if self.accelerator.is_main_process:
            claim(self.folder, self.config)
        self.accelerator.wait_for_everyone()
        if has_state(self.folder):
            self.accelerator.load_state(str(state_folder(self.folder)))
        self.meter.resume(self.position.sums)
        if self.accelerator.is_main_process:
            self.journal.cut(self.position.update)
            self.accelerator.init_trackers("log")

    def _batches(self) -> Iterator[Batch]:
        endless = Endless(
            corpus=self.setup.train,
            seed=self.config.seed,
            start=self.position.update * self.micro_batches,
            rank=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
        )
        workers = self.config.data.num_workers
        return iter(loader(self.setup.train, endless, seed=self.config.seed, num_workers=workers))

    def _is_late(self, started: float) -> bool:
        if not self.config.max_minutes:
            return False
        late = time.monotonic() - started > 60 * self.config.max_minutes
        # All processes must stop at the same update.
        return bool(self.accelerator.reduce(torch.tensor(float(late), device=self.accelerator.device), "sum") > 0)

    def _log(self, phase: str, values: dict[str, float]) -> dict[str, float]:
        update = self.position.update
        values = {f"{phase}/{name}": value for name, value in values.items()}
        if phase == "train":
            values["train/rate"] = self.optimiser.param_groups[0]["lr"]
        if self.accelerator.is_main_process:
            self.accelerator.log(values, step=update)
            self.journal.add(update, values)
        return {name: value for name, value in values.items() if name.endswith("total")}

    def _write_parts(self, tensors: dict[str, Tensor]) -> None:
        objective = self.setup.objective
        modules = {}
        for part in objective.parts:
            config: Any = getattr(objective, part).config
            own = {n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(f"{part}.")}
            own = {n: t.detach().float().cpu() for n, t in own.items()}
            modules[part] = checkpoint.fill(checkpoint.build(part, config), own, part)
        info = {
            "name": self.config.name,
            "status": checkpoint.TRAINED,
            "updates": self.position.update,
            "seed": self.config.seed,
        }
        checkpoint.save(self.folder / "checkpoint.safetensors", modules, info=info)


class Position:
    """How far a run is, and what it has measured since its last line."""

    def __init__(self) -> None:
        self.update, self.skipped = 0, 0
        self.sums: Sums = {}

    def state_dict(self) -> dict[str, Any]:
        return {"update": self.update, "skipped": self.skipped, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.update, self.skipped = state["update"], state["skipped"]
        self.sums = state.get("sums", {})  # older states have none


def require_compiler(device: torch.device) -> None:
    """Refuse `compile` where a CPU's kernels cannot be built.

    Raises:
        ConfigError: there is no C++ compiler.
    """
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise ConfigError(
            "compile: got true and no C++ compiler, expected c++, g++ or clang++; install one, or set false"
        )


def micro_batches_per_update(config: RunConfig, num_processes: int) -> int:
    """Over all processes.

    Raises:
        ConfigError: the global batch cannot be dealt out evenly.
    """
    count = -(-config.global_batch // config.data.micro_batch)
    if config.global_batch % config.data.micro_batch or count % num_processes:
        raise ConfigError(
            f"global_batch {config.global_batch} is not a multiple of micro_batch {config.data.micro_batch} times "
            f"{num_processes} processes; change one of them"
        )
    return count


def num_updates(config: RunConfig, setup: Setup, micro_batches: int) -> int:
    """Updates of the whole run."""
    if config.num_updates:
        return config.num_updates
    total = num_micro_batches(setup.train, seed=config.seed, num_epochs=config.num_epochs)
    return max(1, total // micro_batches)


def run(config: RunConfig, make: Maker) -> Run:
    """Train; `make` gives the part and its data."""
    accelerator = Accelerator(
        mixed_precision="bf16" if config.bf16 else "no",
        log_with="tensorboard",
        project_dir=config.folder,
    )
    set_seed(config.seed)
    setup = make(config, is_resumed=has_state(Path(config.folder)))
    whole = Run(config, setup, accelerator)
    # On a CPU the backward pass of fused attention takes longer than plain matrix products do.
    is_cpu = accelerator.device.type == "cpu"
    with sdpa_kernel(SDPBackend.MATH) if is_cpu else nullcontext():
        whole.train()
    return whole
