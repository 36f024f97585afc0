"""What an artist hears and sees of a run while it lasts, over the websocket that a browser listens to."""

import base64
import json
import os
import socket
import struct
import time
import uuid
from io import BytesIO
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile
from PIL import Image

from dualdub_core.artifacts import load_codes

pytestmark = [pytest.mark.comfy, pytest.mark.slow]

TEXT, PREVIEW, PREVIEW_WITH_METADATA = 3, 1, 4  # ComfyUI's binary events
SECONDS = 8.0


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def graph(name: str, **changes) -> dict:
    """Eight seconds of speech, whose codes are kept."""
    settings = {"task": "speech only", "speech_seed": 5, "background_seed": 1, "takes": 1, "duration": SECONDS}
    return {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="fp32"),
        "sample": own("Sampler", model=["load", 0], script="one two three", **(settings | changes)),
        "keep": own("SaveCodes", codes=["sample", 0], filename_prefix=f"live/{name}"),
    }


class Browser:
    """As much of a websocket as it takes to hear ComfyUI; RFC 6455."""

    def __init__(self, url: str) -> None:
        self.id = str(uuid.uuid4())
        where = urlsplit(url)
        self.socket = socket.create_connection((where.hostname, where.port), timeout=120)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws?clientId={self.id} HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.stream = self.socket.makefile("rb")
        assert b"101" in self.stream.readline()
        while self.stream.readline().strip():
            pass

    def message(self) -> tuple[str | int, object]:
        """The next event: its name and data, or the number and bytes of a binary one."""
        content, is_last, kind = b"", False, 0
        while not is_last:
            first, length = self.stream.read(2)
            is_last, opcode = bool(first & 0x80), first & 0x0F
            if length == 126:
                (length,) = struct.unpack(">H", self.stream.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.stream.read(8))
            payload = self.stream.read(length)
            if opcode >= 8:  # pings; ComfyUI waits for no answer within a test
                is_last = False
                continue
            kind, content = opcode or kind, content + payload
        if kind == 1:
            event = json.loads(content)
            return event["type"], event["data"]
        return struct.unpack(">I", content[:4])[0], content[4:]

    def until(self, event: str) -> list[tuple[float, str | int, object]]:
        """All events up to one, with their times."""
        seen = []
        while not seen or seen[-1][1] != event:
            seen.append((time.monotonic(), *self.message()))
        return seen


@pytest.fixture
def browser(comfy):
    listener = Browser(comfy.url)
    yield listener
    listener.socket.close()


def watched(comfy, browser, prompt: dict) -> tuple[list[tuple[float, str | int, object]], dict]:
    """A prompt queued as by a browser: its events and outputs."""
    answer = comfy.post("/prompt", {"prompt": prompt, "client_id": browser.id, "prompt_id": str(uuid.uuid4())})
    events = browser.until("execution_success")
    return events, comfy.wait(answer["prompt_id"])["outputs"]


def fetched(comfy, stem: dict) -> bytes:
    query = urlencode({key: stem[key] for key in ("filename", "subfolder", "type")})
    with urlopen(f"{comfy.url}/view?{query}", timeout=60) as answer:
        return answer.read()


def test_drafts_are_heard_and_seen_while_the_take_is_sampled_and_change_no_code(comfy, browser):
    events, _ = watched(comfy, browser, graph("with"))
    drafts = [(at, data) for at, name, data in events if name == "dualdub.live"]
    assert drafts
    sampled = next(at for at, name, data in events if name == "executing" and data["node"] == "keep")
    assert drafts[0][0] < sampled
    for _, draft in drafts:
        assert draft["node"] == "sample"
        assert draft["duration"] == SECONDS
        assert [stem["stream"] for stem in draft["stems"]] == ["speech"]
    samples, rate = soundfile.read(BytesIO(fetched(comfy, drafts[-1][1]["stems"][0])))
    assert len(samples) == round(drafts[-1][1]["seconds"] * rate)
    assert np.abs(samples).max() > 0
    pictures = [data for _, name, data in events if name in (PREVIEW, PREVIEW_WITH_METADATA)]
    assert len(pictures) == len(drafts)
    start = pictures[0].index(b"\xff\xd8\xff")
    assert Image.open(BytesIO(pictures[0][start:])).size[0] == 512

    comfy.run(graph("without", live_preview=False))
    with_drafts, without = (
        load_codes(next((comfy.base / "output" / "live").glob(f"{name}*"))) for name in ("with", "without")
    )
    assert (with_drafts.speech == without.speech).all()


def test_previews_can_be_turned_off(comfy, browser):
    events, _ = watched(comfy, browser, graph("off", live_preview=False, speech_seed=6))
    assert not [name for _, name, _ in events if name in ("dualdub.live", PREVIEW, PREVIEW_WITH_METADATA)]


def test_the_time_left_is_told_on_the_node_and_in_the_end_what_it_took(comfy, browser):
    events, _ = watched(comfy, browser, graph("left", speech_seed=7, duration=30.0))
    texts = [data[4 + data[3] :].decode() for _, name, data in events if name == TEXT and b"sample" in data[:16]]
    left = [text for text in texts if text.endswith(" left")]
    assert left
    assert all(text.startswith("sampling: ") and " %, " in text for text in left)
    assert any(text.startswith("sampling took ") for text in texts)


def test_only_the_newest_draft_stays_on_the_disk(comfy, browser):
    events, _ = watched(comfy, browser, graph("files", speech_seed=8))
    names = [stem["filename"] for _, name, data in events if name == "dualdub.live" for stem in data["stems"]]
    run = names[0].rsplit("_", 2)[0]
    there = [path.name for path in (comfy.base / "temp" / "dualdub_live").glob(f"{run}_*")]
    assert there == names[-1:]


def test_cancel_is_heard_inside_of_the_flow_decoder_too(comfy, browser):
    prompt = graph("cancel", speech_seed=9)
    prompt["decode"] = own(
        "FlowDecode", decoder=["load", 3], vae=["load", 4], codes=["sample", 0], steps=200, solver="midpoint", cfg=1.0,
        seed=0,
    )  # fmt: skip
    prompt["sound"] = {"class_type": "PreviewAudio", "inputs": {"audio": ["decode", 0]}}
    answer = comfy.post("/prompt", {"prompt": prompt, "client_id": browser.id, "prompt_id": str(uuid.uuid4())})
    while True:
        name, data = browser.message()
        if name == "progress" and data["node"] == "decode":
            break
    comfy.post("/interrupt", {})
    result = comfy.wait(answer["prompt_id"])
    assert comfy.event(result, "execution_interrupted")["node_type"] == "DualDub_FlowDecode"


def test_the_browser_gets_the_players_of_drafts(comfy):
    assert "/extensions/ComfyUI-DualDub/live.js" in comfy.get("/extensions")
