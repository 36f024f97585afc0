"""A real ComfyUI: found, started once with the pack linked in, and spoken to over HTTP."""

import configparser
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PACK = Path(__file__).parents[2]
START_SECONDS = RUN_SECONDS = 900


@dataclass
class Comfy:
    """A running server."""

    url: str
    base: Path
    log: Path
    version: tuple[int, ...]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def text(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()

    def post(self, path: str, body: dict) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            content = error.read()
        return json.loads(content) if content else {}

    def queue(self, prompt: dict) -> str:
        """Start a prompt that is valid; its id."""
        answer = self.post("/prompt", {"prompt": prompt, "prompt_id": str(uuid.uuid4())})
        assert "prompt_id" in answer, json.dumps(answer, indent=1)
        return answer["prompt_id"]

    def wait(self, prompt_id: str) -> dict:
        """What a prompt came to."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.1)
        raise TimeoutError(f"prompt {prompt_id} is not done after {RUN_SECONDS} s")

    def run(self, prompt: dict) -> dict:
        """A prompt that must succeed: its outputs by node id."""
        result = self.wait(self.queue(prompt))
        if result["status"]["status_str"] != "success":
            error = self.event(result, "execution_error")
            pytest.fail("".join([f"{error['node_type']}: {error['exception_message']}\n", *error["traceback"]]))
        return result["outputs"]

    def error(self, prompt: dict) -> str:
        """A prompt that must fail while it runs: what the artist reads."""
        result = self.wait(self.queue(prompt))
        assert result["status"]["status_str"] == "error"
        return self.event(result, "execution_error")["exception_message"]

    def refusal(self, prompt: dict) -> str:
        """A prompt that must be refused before it runs: the answer."""
        answer = self.post("/prompt", {"prompt": prompt})
        assert "error" in answer
        return json.dumps(answer)

    @staticmethod
    def event(result: dict, name: str) -> dict:
        found = [body for event, body in result["status"]["messages"] if event == name]
        assert found, result["status"]
        return found[-1]

    def saved(self, outputs: dict, node: str, kind: str = "images") -> list[Path]:
        """Files that a node says it wrote."""
        return [self.base / f["type"] / f["subfolder"] / f["filename"] for f in outputs[node][kind]]


@pytest.fixture(scope="session")
def comfy(comfy_path: Path, comfy_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    """The server, in a base folder of its own."""
    base = tmp_path_factory.mktemp("comfy")
    for folder in ("custom_nodes", "models", "input", "output", "temp", "user", "extra"):
        (base / folder).mkdir()
    (base / "custom_nodes" / "ComfyUI-DualDub").symlink_to(PACK, target_is_directory=True)
    shutil.copy(PACK / "workflows/assets/demo.mp4", base / "input" / "clip.mp4")
    shutil.copy(PACK / "workflows/assets/voice.wav", base / "input" / "anna.wav")
    (base / "extra" / "elsewhere.safetensors").write_bytes(b"not weights")
    (base / "paths.yaml").write_text(f"studio:\n  base_path: {base}\n  dualdub: extra\n")
    port, log = _free_port(), base / "server.log"
    command = [
        comfy_python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base),
        "--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:",
        "--extra-model-paths-config", str(base / "paths.yaml"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=comfy_path, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield Comfy(f"http://127.0.0.1:{port}", base, log, _wait_for(process, port, log))
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def comfy_path() -> Path:
    """A ComfyUI checkout, or a skip that says how to name one."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        if not _is_comfy(Path(named)):
            pytest.skip(f"COMFYUI_PATH={named} is not a ComfyUI checkout")
        return Path(named)
    for path in _usual_places():
        if _is_comfy(path):
            return path
    pytest.skip("no ComfyUI found: set COMFYUI_PATH to a checkout, and COMFYUI_PYTHON to its interpreter")


@pytest.fixture(scope="session")
def comfy_python() -> str:
    """An interpreter with ComfyUI's requirements, or a skip."""
    python = os.environ.get("COMFYUI_PYTHON") or sys.executable
    needed = "import torch, aiohttp, comfyui_frontend_package, comfy_kitchen"
    if subprocess.run([python, "-c", needed], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has not ComfyUI's requirements: set COMFYUI_PYTHON to an interpreter that has them")
    return python


def _usual_places() -> Iterator[Path]:
    if PACK.parent.name == "custom_nodes":
        yield PACK.parent.parent
    home = Path.home()
    for folder in (home / ".config", home / "Library" / "Application Support", home / "AppData" / "Local"):
        config = configparser.ConfigParser()
        config.read(folder / "comfy-cli" / "config.ini")
        yield from (
            Path(config["DEFAULT"][k]) for k in ("default_workspace", "recent_workspace") if k in config["DEFAULT"]
        )
    yield from (home / "comfy" / "ComfyUI", home / "Documents" / "comfy" / "ComfyUI")


def _is_comfy(path: Path) -> bool:
    return all((path / name).exists() for name in ("main.py", "nodes.py", "folder_paths.py", "comfy", "comfy_api"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(process: subprocess.Popen, port: int, log: Path) -> tuple[int, ...]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/system_stats", timeout=5) as answer:
                version = json.load(answer)["system"]["comfyui_version"]
                return tuple(int(part) for part in version.split("."))
        except (OSError, urllib.error.URLError):
            time.sleep(0.3)
    raise RuntimeError(f"ComfyUI did not start:\n{log.read_text()[-3000:]}")
