"""Clips of several windows in a running ComfyUI: cuts, plan, codes, and what a changed line costs."""

import json
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import torch

from dualdub_core.artifacts import load_codes

pytestmark = [pytest.mark.comfy, pytest.mark.slow]

LINES = "[00:00.2-00:00.9] [Anna] One two. [00:02.6-00:03.2] [Ben] Four. [00:04.4-00:05.0] [Anna] Six."
FPS = Fraction(24_000, 1001)
PICTURES = 144  # 6.006 s


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def core(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture(scope="module")
def film(comfy) -> str:
    """Two shots with a cut at picture 50, at an odd frame rate."""
    path = comfy.base / "input" / "film.mp4"
    blocks = [np.random.default_rng(n).integers(0, 255, (3, 4, 3), np.uint8) for n in range(2)]
    shots = [block.repeat(16, 0).repeat(16, 1) for block in blocks]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = 1 / FPS
        for index in range(PICTURES):
            frame = av.VideoFrame.from_ndarray(shots[index >= 50], format="rgb24")
            frame.pts, frame.time_base = index, 1 / FPS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.name


def graph(film: str, text: str = LINES, **changes) -> dict:
    """A film to codes by way of a plan; `changes` replace or add nodes."""
    return {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
        "video": own("LoadVideo", file=film, start=0.0, duration=0.0),
        "watch": own("EncodeVideo", video_encoder=["load", 1], video=["video", 0], fps=25.0),
        "cuts": own("ShotCuts", video=["video", 0], detector="picture difference", least_difference=0.05),
        "script": own("CuedScript", text=text, file="none", clip_start=0.0),
        "plan": plan(),
        "sample": own(
            "LongVideo", model=["load", 0], codec=["load", 2], plan=["plan", 0], features=["watch", 0], speech_seed=1,
            background_seed=1, takes=1, rerolls="", background="on its own",
        ),
        "keep": own("SaveCodes", codes=["sample", 0], filename_prefix="dualdub/long"),
        "report": core("PreviewAny", source=["sample", 1]),
        **changes,
    }  # fmt: skip


def plan(**changes) -> dict:
    values = {"longest": 3.0, "context": 1.0, "at_cuts": "start afresh", "duration": 0.0}
    sockets = {"features": ["watch", 0], "script": ["script", 0], "cuts": ["cuts", 0]}
    return own("LongVideoPlan", **{**values, **sockets, **changes})


def newest_codes(comfy):
    return load_codes(max((comfy.base / "output" / "dualdub").glob("long_*.safetensors")))


def test_a_changed_line_writes_its_window_alone_and_lengths_are_exact(comfy, film):
    assert comfy.run(graph(film))["report"]["text"] == ["3 windows, written anew: 1, 2, 3"]
    first = newest_codes(comfy)
    draft = own("CodecDecode", codec=["load", 2], codes=["sample", 0])
    hear = core("PreviewAudio", audio=["draft", 1])
    outputs = comfy.run(graph(film, LINES.replace("Four", "Five"), draft=draft, hear=hear))
    assert outputs["report"]["text"][0] == "3 windows, written anew: 2"
    second = newest_codes(comfy)
    assert torch.equal(first.background, second.background)
    assert torch.equal(first.speech[:, :83], second.speech[:, :83])
    assert first.duration == pytest.approx(float(PICTURES / FPS), abs=1e-6)
    (heard,) = comfy.saved(outputs, "hear", "audio")
    assert soundfile.info(heard).frames == round(first.duration * 24_000)


def test_the_plan_needs_no_weights(comfy, film):
    outputs = comfy.run(
        {
            "video": own("LoadVideo", file=film, start=0.0, duration=0.0),
            "cuts": own("ShotCuts", video=["video", 0], detector="picture difference", least_difference=0.05),
            "plan": own(
                "LongVideoPlan", longest=3.0, context=1.0, at_cuts="start afresh", duration=0.0, video=["video", 0],
                cuts=["cuts", 0],
            ),
            "times": core("PreviewAny", source=["cuts", 1]),
            "table": core("PreviewAny", source=["plan", 1]),
            "json": core("PreviewAny", source=["plan", 2]),
        }
    )  # fmt: skip
    assert float(outputs["times"]["text"][0]) == pytest.approx(float(50 / FPS), abs=1e-3)
    assert "3 windows in 6.006 s, 1 cuts" in outputs["table"]["text"][0]
    assert [w["context"] for w in json.loads(outputs["json"]["text"][0])["windows"]] == [0, 0, 40]
    (picture,) = comfy.saved(outputs, "plan")
    assert picture.stat().st_size > 500


def test_a_clip_of_one_window_is_what_the_samplers_write(comfy, film):
    comfy.run(graph(film, plan=plan(longest=10.0)))
    long = newest_codes(comfy)
    sampler = own(
        "ScriptSampler", model=["load", 0], codec=["load", 2], script=["script", 0], features=["watch", 0],
        speech_seed=1, background_seed=1, takes=1, rerolls="", background="on its own", duration=0.0,
    )  # fmt: skip
    comfy.run(graph(film, sample=sampler, report=core("PreviewAny", source=["script", 1])))
    plain = newest_codes(comfy)
    assert torch.equal(long.speech, plain.speech)
    assert torch.equal(long.background, plain.background)


def test_a_cancelled_run_goes_on_from_its_finished_windows(comfy, film):
    values = {"longest": 1.0, "context": 0.2, "at_cuts": "ignore", "duration": 0.0}
    prompt = graph(film, "", plan=own("LongVideoPlan", **values, features=["watch", 0]))
    del prompt["script"], prompt["cuts"]
    prompt["sample"]["inputs"]["background_seed"] = 77
    prompt["sample"]["inputs"]["takes"] = 2
    # Another reader of the run: what is cached would not be told again, should it be quicker than the cancel.
    running = comfy.queue({**prompt, "report": core("PreviewAny", source=["sample", 0])})
    time.sleep(2.0)
    comfy.post("/interrupt", {})
    comfy.wait(running)
    said = comfy.run(prompt)["report"]["text"][0]
    assert said.startswith("7 windows, written anew: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": plan(context=2.0)}, "got 2.0 s of context, expected 0 to 1.5, half the longest window"),
        ({"plan": plan(text=["script", 1])}, "got a script and a text; connect one of them"),
        ({"plan": own("LongVideoPlan", longest=3.0, context=1.0, at_cuts="ignore", duration=0.0)}, "no length given"),
        (
            {"plan": own("LongVideoPlan", longest=3.0, context=1.0, at_cuts="ignore", duration=9.0)},
            "the plan is for 9.000 s, the video's features for 6.006 s",
        ),
    ],
)
def test_mistakes_are_explained(comfy, film, changes, message):
    text = comfy.error(graph(film, **changes))
    assert message in text
    assert len(text.splitlines()) == 1
