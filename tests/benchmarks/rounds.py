"""Variants against a baseline in one process: interleaved rounds in shuffled order, ratios within a round.

A ratio of medians compares a quiet minute with a busy one; a ratio within a round does not. On a CPU the clock is the
process's own, which stands still while other programs run; on a GPU it is the wall's, around a synchronisation.
"""

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

ROUNDS = 7


def measure(
    variants: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS, device: str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of each variant in each round; every one runs once beforehand, unmeasured."""
    for work in variants.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants)
    shuffled = random.Random(0)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name in order:
            seconds[name].append(_timed(variants[name], device))
    return seconds


def ratios(seconds: Mapping[str, list[float]], baseline: str) -> dict[str, dict[str, Any]]:
    """Of each variant: milliseconds, and how many times it goes into the baseline, median and range over rounds."""
    found = {}
    for name, own in seconds.items():
        by_round = [base / mine for base, mine in zip(seconds[baseline], own, strict=True)]
        found[name] = {
            "ms": round(1000 * statistics.median(own), 3),
            "ratio": round(statistics.median(by_round), 3),
            "range": [round(min(by_round), 3), round(max(by_round), 3)],
            "rounds": len(own),
        }
    return found


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the figures were measured on."""
    found: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version(), "device": device}
    found["threads"] = torch.get_num_threads()
    found["processor"] = torch.cuda.get_device_name() if device == "cuda" else _cpu_name()
    if hasattr(os, "getloadavg"):
        found["load"] = [round(value, 1) for value in os.getloadavg()]
    return found


def table(title: str, found: Mapping[str, Mapping[str, Any]], baseline: str) -> str:
    """A Markdown table of `ratios`."""
    lines = [f"| {title} | ms | times as fast as {baseline} |", "| --- | --- | --- |"]
    for name, row in found.items():
        low, high = row["range"]
        lines.append(f"| {name} | {row['ms']:.2f} | {row['ratio']:.2f} [{low:.2f}..{high:.2f}] |")
    return "\n".join(lines)


def keep(path: Path | None, values: Mapping[str, Any]) -> None:
    """Write the figures as JSON, if anywhere."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, indent=1) + "\n")


def _timed(work: Callable[[], object], device: str) -> float:
    if device != "cuda":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
