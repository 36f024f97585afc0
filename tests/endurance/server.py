"""A real ComfyUI with the pack and the probe linked in, and clients that queue, cancel and listen to it."""

import asyncio
import json
import os
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

PACK = Path(__file__).parents[2]
START_SECONDS = 300.0
ENDINGS = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "interrupted"}


def started(comfy: Path, python: str, base: Path, *, trace: bool = False) -> tuple[subprocess.Popen, str]:
    """Start it in a base folder; the process and its address."""
    for folder in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    for name, target in (("ComfyUI-DualDub", PACK), ("probe", Path(__file__).parent / "probe")):
        link = base / "custom_nodes" / name
        link.unlink(missing_ok=True)
        link.symlink_to(target, target_is_directory=True)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base),
        "--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    if trace:
        environment["PYTHONTRACEMALLOC"] = "12"
    with (base / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=comfy, env=environment, stdout=log, stderr=subprocess.STDOUT)
    return process, f"http://127.0.0.1:{port}"


async def ready(process: subprocess.Popen, url: str, log: Path) -> str:
    """Wait until it answers; its version."""
    deadline = time.monotonic() + START_SECONDS
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                async with session.get(f"{url}/system_stats") as answer:
                    version: str = (await answer.json())["system"]["comfyui_version"]
                    return version
            except aiohttp.ClientError:
                await asyncio.sleep(0.3)
    raise RuntimeError(f"ComfyUI did not start:\n{log.read_text()[-3000:]}")


class RefusedError(Exception):
    """What the server says of a prompt that it does not queue."""


@dataclass(kw_only=True)
class Run:
    """What a client hears of a prompt of its own; times are `time.monotonic`."""

    prompt_id: str
    queued: float
    node: str = ""
    begun: float = 0.0
    ended: float = 0.0
    status: str = ""
    message: str = ""
    seen: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Client:
    """A browser as the server sees one: an id, a socket, prompts."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.id, self._session, self._url = uuid.uuid4().hex, session, url
        self.runs: dict[str, Run] = {}
        self.foreign, self._mine = 0, set[str]()
        self._listener: asyncio.Task | None = None

    async def connect(self) -> None:
        socket = await self._session.ws_connect(f"{self._url}/ws?clientId={self.id}", max_msg_size=0)
        self._listener = asyncio.create_task(self._listen(socket))

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    async def queue(self, prompt: dict) -> Run:
        """Its run.

        Raises:
            RefusedError: the server finds it wrong before it runs.
        """
        run = Run(prompt_id=str(uuid.uuid4()), queued=time.monotonic())
        self.runs[run.prompt_id] = run
        self._mine.add(run.prompt_id)
        body = {"prompt": prompt, "client_id": self.id, "prompt_id": run.prompt_id}
        async with self._session.post(f"{self._url}/prompt", json=body) as answer:
            told: dict = await answer.json()
        if "error" in told:
            del self.runs[run.prompt_id]
            raise RefusedError(json.dumps(told))
        return run

    async def cancel(self, run: Run) -> float:
        """Ask for it; when."""
        asked = time.monotonic()
        async with self._session.post(f"{self._url}/interrupt", json={"prompt_id": run.prompt_id}):
            return asked

    async def free(self) -> None:
        """Have the server forget models and cached results."""
        async with self._session.post(f"{self._url}/free", json={"unload_models": True, "free_memory": True}):
            await asyncio.sleep(0.5)

    async def until(self, run: Run, what: str, seconds: float) -> bool:
        """Wait until a node of this name has begun, or with "" until the run has ended; False when neither comes."""
        deadline = time.monotonic() + seconds
        while not run.status and what not in run.seen:
            run.changed.clear()
            try:
                await asyncio.wait_for(run.changed.wait(), deadline - time.monotonic())
            except TimeoutError:
                return False
        return what in run.seen if what else True

    async def forget(self, run: Run) -> None:
        """Take it out of the server's history, which would grow otherwise."""
        async with self._session.post(f"{self._url}/history", json={"delete": [run.prompt_id]}):
            self.runs.pop(run.prompt_id, None)

    async def get(self, path: str) -> dict:
        async with self._session.get(self._url + path) as answer:
            told: dict = await answer.json()
            return told

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                event = json.loads(message.data)
                self._hear(event["type"], event.get("data") or {})

    def _hear(self, kind: str, told: dict) -> None:
        run = self.runs.get(told.get("prompt_id", ""))
        if run is None:
            # Nodes of another client's prompt are not its business.
            self.foreign += kind == "executing" and told.get("prompt_id") not in self._mine
            return
        now = time.monotonic()
        if kind == "executing" and told.get("node"):
            run.node, run.begun = told["node"], run.begun or now
            run.seen.append(told["node"])
        elif kind in ENDINGS:
            run.status, run.ended = ENDINGS[kind], now
            run.node = told.get("node_id", run.node)
            run.message = told.get("exception_message", "")
        run.changed.set()
