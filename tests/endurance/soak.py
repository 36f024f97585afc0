"""The soak: hundreds of prompts of two clients on a real ComfyUI, and cancels at every stage.

COMFYUI_PYTHON tests/endurance/soak.py --comfy COMFYUI_PATH --prompts 500 --cancels 20

Run it with ComfyUI's own Python (aiohttp, psutil and av are there). No two prompts are alike, so nothing comes whole
from the cache. Each tenth is wrong and must fail with its own words; each tenth is cancelled at a random moment. Every
ten prompts the queue is empty and memory is read; its slope after the warm-up is fitted with its interval. Then, on
half a minute of film, each stage is cancelled at random moments. `--control` queues graphs of ComfyUI's own nodes
instead, for a slope to compare with; `--trace` says which lines hold memory. WORK/soak.json is written as it goes.
"""

import argparse
import asyncio
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import psutil
from prompts import STAGES, Case, case, core, make_inputs, whole
from server import Client, RefusedError, Run, ready, started
from slope import Slope, fitted

_ROUND = 10
_MOST_SECONDS = 600.0
_LIMIT = 0.5


class Soak:
    """What is known so far, written after each round."""

    def __init__(self, path: Path, options: argparse.Namespace, server: int) -> None:
        self._path, self.server = path, psutil.Process(server)
        self.told: dict = {
            "options": {key: str(value) for key, value in vars(options).items()},
            "prompts": [],
            "memory": [],
            "cancels": [],
            "primed": {},
            "foreign": 0,
        }

    def cpu(self) -> float:
        """Seconds that the server has computed: what a busy machine adds to a wait does not count in them."""
        times = self.server.cpu_times()
        return times.user + times.system

    def write(self) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self.told, indent=1))
        temporary.replace(self._path)


def control(rng: random.Random) -> Case:
    """Nodes of ComfyUI alone."""
    silence = core("EmptyAudio", duration=rng.uniform(1, 2), sample_rate=24_000, channels=1)
    louder = core("AudioAdjustVolume", audio=["a", 0], volume=rng.randrange(1, 6))
    return Case("control", {"a": silence, "b": louder, "c": core("PreviewAudio", audio=["b", 0])})


async def one(client: Client, number: int, soak: Soak, seed: int, *, is_control: bool) -> None:
    """Queue a prompt, perhaps cancel it, and note what came of it."""
    rng = random.Random(f"{seed} {number}")
    made = control(rng) if is_control else case(rng, number)
    note: dict = {"number": number, "case": made.name, "client": client.id}
    soak.told["prompts"].append(note)
    try:
        run = await client.queue(made.prompt)
    except RefusedError as error:
        text = str(error)
        note |= {"status": "refused", "as_meant": bool(made.refusal and made.refusal in text), "message": text[:600]}
        return
    asked = None
    if number % 10 == 3 and not is_control:
        while not run.begun and not run.status:
            run.changed.clear()
            await run.changed.wait()
        await asyncio.sleep(rng.uniform(0.0, 1.5))
        asked = await _cancel(client, run, soak)
    if not await client.until(run, "", _MOST_SECONDS):
        run.status = "lost"
    note |= {"status": run.status, "node": _kind(made.prompt, run.node), "message": run.message[:600]}
    note["seconds"] = round(run.ended - run.begun, 3)
    if _note_cancel(soak, made.prompt, run, asked, of="soak"):
        note["as_meant"] = True
    else:
        is_wrong = bool(made.error)
        note["as_meant"] = run.status == ("error" if is_wrong else "success") and made.error in run.message.lower()
    await client.forget(run)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A cancel: the node that was at work, when, and what the server had computed."""

    node: str
    at: float
    cpu: float


async def _cancel(client: Client, run: Run, soak: Soak) -> _Asked | None:
    """Ask for it, or None where the run has ended."""
    if run.status:
        return None
    node, cpu = run.node, soak.cpu()
    return _Asked(node, await client.cancel(run), cpu)


def _note_cancel(soak: Soak, prompt: dict, run: Run, asked: _Asked | None, *, of: str) -> bool:
    """Keep how long a cancel took; False where it came too late."""
    if asked is None or run.status != "interrupted":
        return False
    nodes = {"stage": _kind(prompt, asked.node), "ended_in": _kind(prompt, run.node)}
    took = {"seconds": run.ended - asked.at, "cpu": soak.cpu() - asked.cpu}
    soak.told["cancels"].append({**nodes, **took, "of": of})
    return True


def _kind(prompt: dict, node: str) -> str:
    return str(prompt.get(node, {}).get("class_type", node)).removeprefix("DualDub_")


async def prompts_of(clients: list[Client], options: argparse.Namespace, soak: Soak) -> None:
    """All rounds; the clients share each of them."""
    numbers = iter(range(options.prompts))
    for begin in range(0, options.prompts, _ROUND):
        shares = [[] for _ in clients]
        for index in range(min(_ROUND, options.prompts - begin)):
            shares[index % len(clients)].append(next(numbers))

        async def work(client: Client, share: list[int]) -> None:
            for number in share:
                await one(client, number, soak, options.seed, is_control=options.control)

        await asyncio.gather(*(work(client, share) for client, share in zip(clients, shares, strict=True)))
        reading = {"prompts": begin + _ROUND, "rss": soak.server.memory_info().rss / 2**20, "at": time.monotonic()}
        is_marked = reading["prompts"] in (options.warm_up, options.prompts)
        reading |= await clients[0].get("/soak/memory" + ("?objects=1&trim=1" if is_marked else "?objects=1"))
        soak.told["memory"].append(reading)
        soak.told["foreign"] = sum(client.foreign for client in clients)
        soak.write()
        print(f"{reading['prompts']:5} prompts  {reading['rss']:8.1f} MB", file=sys.stderr, flush=True)


async def cancels_of(client: Client, options: argparse.Namespace, soak: Soak) -> None:
    """Each stage so many times, after one run that is let through and tells how long the stage takes."""
    for stage in options.stages:
        rng = random.Random(f"{options.seed} {stage}")
        seconds = await _primed(client, rng, stage, soak)
        for _ in range(options.cancels):
            if stage == "load":
                await client.free()
            prompt = whole(rng, stage)
            run = await client.queue(prompt)
            if await client.until(run, stage, _MOST_SECONDS):
                await asyncio.sleep(rng.uniform(0.0, 0.9 * seconds))
                asked = await _cancel(client, run, soak)
                await client.until(run, "", _MOST_SECONDS)
                _note_cancel(soak, prompt, run, asked, of=stage)
            await client.forget(run)
        soak.write()
        print(cancel_table(soak.told["cancels"], of=stage), file=sys.stderr, flush=True)


async def _primed(client: Client, rng: random.Random, stage: str, soak: Soak) -> float:
    """Seconds of a stage that nobody cancels."""
    if stage == "load":
        await client.free()
    prompt = whole(rng, stage)
    run = await client.queue(prompt)
    begun = time.monotonic() if await client.until(run, stage, _MOST_SECONDS) else 0.0
    while run.node == stage and not run.status:
        run.changed.clear()
        await asyncio.wait_for(run.changed.wait(), _MOST_SECONDS)
    seconds = time.monotonic() - begun if begun else 0.0
    await client.until(run, "", _MOST_SECONDS)
    if run.status != "success":
        raise RuntimeError(f"{stage}: {run.status} {run.message}")
    soak.told["primed"][STAGES[stage]] = round(seconds, 3)
    await client.forget(run)
    return seconds


def cancel_table(cancels: list[dict], of: str = "") -> str:
    """How long a cancel took, by the node that was at work: on the clock, and in seconds that the server computed."""
    rows = [
        f"{'cancelled in':20}{'times':>6}{'median':>9}{'95 %':>9}{'longest':>9}{'over 0.5 s':>12}{'longest, cpu':>14}"
    ]
    chosen = [cancel for cancel in cancels if not of or cancel["of"] == of]
    for stage in [*dict.fromkeys(cancel["stage"] for cancel in chosen), *([] if of else ["all"])]:
        own = [cancel for cancel in chosen if stage in (cancel["stage"], "all")]
        took = sorted(cancel["seconds"] for cancel in own)
        high = took[min(len(took) - 1, math.ceil(0.95 * len(took)) - 1)]
        rows.append(
            f"{stage:20}{len(took):>6}{statistics.median(took):>9.3f}{high:>9.3f}{took[-1]:>9.3f}"
            f"{sum(seconds > _LIMIT for seconds in took):>12}{max(cancel['cpu'] for cancel in own):>14.3f}"
        )
    return "\n".join(rows)


def slopes(memory: list[dict], warm_up: int) -> dict[str, Slope]:
    """MB for a hundred prompts after the warm-up, as it stands and after a collection."""
    after = [reading for reading in memory if reading["prompts"] >= warm_up]
    xs = [reading["prompts"] / 100 for reading in after]
    return {name: fitted(xs, [reading[name] for reading in after]) for name in ("rss", "rss_collected")}


def growth(memory: list[dict], warm_up: int) -> list[str]:
    """Kinds of objects that there are more of at the end than after the warm-up, a hundred prompts."""
    after = [reading for reading in memory if reading["prompts"] >= warm_up]
    if len(after) < 2:
        return []
    first, last = after[0]["objects"], after[-1]["objects"]
    hundreds = (after[-1]["prompts"] - after[0]["prompts"]) / 100
    more = {name: (last[name] - first.get(name, 0)) / hundreds for name in last}
    found = sorted(more.items(), key=lambda item: -item[1])[:12]
    return [f"{name}: {count:+.1f}" for name, count in found if count >= 1]


def summary(told: dict, warm_up: int) -> tuple[str, bool]:
    """For people, and whether all was as it must be."""
    counts: dict[str, int] = {}
    for note in told["prompts"]:
        counts[note["status"]] = counts.get(note["status"], 0) + 1
    wrong = [note for note in told["prompts"] if not note["as_meant"]]
    lines = [f"{len(told['prompts'])} prompts: " + ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))]
    lines += [f"not as meant: {len(wrong)}", *(f"  {note}" for note in wrong[:10])]
    lines.append(f"events of one client's nodes that the other was told: {told['foreign']}")
    found = slopes(told["memory"], warm_up)
    for name, line in found.items():
        lines.append(
            f"{name}: {line.value:+.2f} MB for 100 prompts after {warm_up}, 95 % interval "
            f"{line.value - line.margin:+.2f} to {line.value + line.margin:+.2f} "
            f"({line.count} readings, neighbours alike by {line.alike:.2f})"
        )
    trimmed = [f"{r['rss_trimmed']:.1f} MB after {r['prompts']}" for r in told["memory"] if "rss_trimmed" in r]
    lines += ["rss when free pages are given back: " + ", ".join(trimmed)] if trimmed else []
    lines += ["objects, more for 100 prompts:", *(f"  {line}" for line in growth(told["memory"], warm_up))]
    lines += [cancel_table(told["cancels"])] if told["cancels"] else []
    is_slow = any(cancel["seconds"] > _LIMIT for cancel in told["cancels"])
    is_leak = found["rss"].value > found["rss"].margin
    return "\n".join(lines), not (wrong or is_slow or is_leak or told["foreign"])


async def soaked(options: argparse.Namespace, process: subprocess.Popen, url: str, base: Path, soak: Soak) -> None:
    soak.told["comfyui"] = await ready(process, url, base / "server.log")
    async with aiohttp.ClientSession() as session:
        clients = [Client(session, url) for _ in range(options.clients)]
        for client in clients:
            await client.connect()
        await prompts_of(clients, options, soak)
        if options.cancels:
            await cancels_of(clients[0], options, soak)
        for client in clients:
            await client.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--comfy", type=Path, required=True, help="a ComfyUI checkout")
    add("--python", default=sys.executable, help="its interpreter")
    add("--prompts", type=int, default=500)
    add("--warm-up", type=int, default=100, help="prompts before the line is fitted")
    add("--clients", type=int, default=2)
    add("--cancels", type=int, default=20, help="of each stage, after the prompts; 0 for none")
    add("--stages", nargs="+", choices=list(STAGES), default=list(STAGES), metavar="STAGE", help=", ".join(STAGES))
    add("--control", action="store_true", help="ComfyUI's own nodes only")
    add("--trace", action="store_true", help="say which lines hold memory; slow")
    add("--seed", type=int, default=0)
    add("--work", type=Path, default=Path("out/endurance"), help="folder for soak.json and the server's log")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    told = options.work / ("control.json" if options.control else "soak.json")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "input").mkdir()
        make_inputs(base / "input")
        process, url = started(options.comfy.resolve(), options.python, base, trace=options.trace)
        soak = Soak(told, options, process.pid)
        try:
            asyncio.run(soaked(options, process, url, base, soak))
        finally:
            process.terminate()
            process.wait(timeout=30)
            (options.work / "server.log").write_bytes((base / "server.log").read_bytes())
    text, is_well = summary(soak.told, options.warm_up)
    soak.told |= {"slopes": {n: asdict(s) for n, s in slopes(soak.told["memory"], options.warm_up).items()}}
    soak.told["summary"] = text
    soak.write()
    print(text)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
