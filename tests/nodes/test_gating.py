"""The Gated Sampler in a running ComfyUI."""

import json
import time

import pytest
import soundfile
import torch
from PIL import Image

pytestmark = [pytest.mark.comfy, pytest.mark.slow]

DARING = {
    f"{stream}_{name}": value
    for stream in ("speech", "background")
    for name, value in (("temperature", 3.0), ("top_k", 0), ("top_p", 1.0))
}
"""Takes of other seeds differ, also where the model would be silent."""
SEEDS = {"speech_seed": 5, "background_seed": 9}
OFF = {
    "sync": 0.0, "sync_margin": -1.0, "quietest": -70.0, "loudest": 0.0, "clipped": 1.0, "speech_level": -120.0,
    "background_level": -120.0, "leak": 1.0, "wrong_words": 1.0, "similarity": -1.0,
}  # fmt: skip


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def core(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def gate(**changes) -> dict:
    """The node; only what `changes` asks for is asked."""
    inputs = {"features": ["watch", 0], "task": "speech + background", "takes": 3, "duration": 0.0, **OFF, **SEEDS}
    inputs["sampling"] = ["daring", 0]
    if "lines" not in changes:
        inputs["script"] = ["script", 0]
    return own("GatedSampler", model=["load", 0], codec=["load", 2], **{**inputs, **changes})


def graph(node: dict, **changes) -> dict:
    """A short clip to draft stems through the gate by the built-in model."""
    return {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
        "video": own("LoadVideo", file="clip.mp4", start=0.0, duration=0.6),
        "watch": own("EncodeVideo", video_encoder=["load", 1], video=["video", 0], fps=25.0),
        "script": own("Script", text="One two."),
        "daring": own("SamplingSettings", **DARING, cfg=1.0),
        "gate": node,
        "decode": own("CodecDecode", codec=["load", 2], codes=["gate", 0]),
        "speech": core("PreviewAudio", audio=["decode", 0]),
        "background": core("PreviewAudio", audio=["decode", 1]),
        "scores": core("PreviewAny", source=["gate", 1]),
        "report": core("PreviewAny", source=["gate", 2]),
        "passed": core("PreviewAny", source=["gate", 4]),
        **changes,
    }


def plain() -> dict:
    """The sampler with the same inputs."""
    return own(
        "Sampler", model=["load", 0], features=["watch", 0], script=["script", 0], task="speech + background",
        takes=1, duration=0.0, sampling=["daring", 0], **SEEDS,
    )  # fmt: skip


def without_gate(sampler: dict, **changes) -> dict:
    """The graph with another sampler, and without what only the gate gives."""
    nodes = graph(sampler, **changes)
    return {name: node for name, node in nodes.items() if name not in ("scores", "report", "passed")}


def stem(comfy, outputs: dict, name: str) -> torch.Tensor:
    (path,) = comfy.saved(outputs, name, "audio")
    return torch.from_numpy(soundfile.read(path)[0])


def scores(outputs: dict) -> dict:
    return json.loads(outputs["scores"]["text"][0])


def levels(outputs: dict, name: str) -> list[float]:
    return [take["scores"]["levels"][name]["rms_dbfs"] for take in scores(outputs)["gate"]["takes"]]


def unmet(comfy, stream: str) -> dict:
    """Three takes of which none is loud enough in one stream."""
    return comfy.run(graph(gate(**{f"{stream}_level": -0.5})))


def test_a_first_take_that_passes_is_the_samplers(comfy):
    outputs = comfy.run(graph(gate(quietest=-69.5, video=["video", 0])))
    told = scores(outputs)
    assert told["gate"]["passed"]
    assert told["gate"]["asked"] == {"quietest": -69.5}
    assert told["sync"]["picture_peaks"] >= 0
    assert outputs["passed"]["text"][0] == "True"
    assert outputs["report"]["text"][0] == "take 1 passed\ntake 1: passed"
    same = comfy.run(without_gate(plain()))
    for name in ("speech", "background"):
        assert torch.equal(stem(comfy, outputs, name), stem(comfy, same, name))


@pytest.mark.parametrize(("failed", "kept"), [("background", "speech"), ("speech", "background")])
def test_a_take_below_a_threshold_is_sampled_again_and_the_other_stream_stays(comfy, failed, kept):
    found = levels(unmet(comfy, failed), failed)
    assert len(set(found)) == 3
    better = max(range(1, 3), key=lambda take: found[take])
    limit = round(found[better] - 0.001, 3)
    outputs = comfy.run(graph(gate(**{f"{failed}_level": limit, "takes": 5})))
    takes = scores(outputs)["gate"]["takes"]
    first = next(index for index, level in enumerate(found) if level >= limit)
    assert [take["passed"] for take in takes] == [False] * first + [True]
    assert all(take["sampled"] == [failed] for take in takes[1:])
    assert takes[-1][f"{failed}_seed"] == SEEDS[f"{failed}_seed"] + first
    before = comfy.run(graph(gate(takes=1)))
    assert torch.equal(stem(comfy, outputs, kept), stem(comfy, before, kept))
    if first:
        assert not torch.equal(stem(comfy, outputs, failed), stem(comfy, before, failed))


def test_at_the_limit_the_best_take_comes_out_with_what_it_failed_and_a_picture(comfy):
    outputs = unmet(comfy, "background")
    told, found = scores(outputs)["gate"], levels(outputs, "background")
    assert told["take"] == found.index(max(found)) + 1
    assert not told["passed"]
    assert outputs["passed"]["text"][0] == "False"
    assert told["failed"][0].startswith("background level ")
    first, *lines = outputs["report"]["text"][0].splitlines()
    assert first == f"none of 3 passed, take {told['take']} is the best; the limit is 3"
    assert len(lines) == 3
    (picture,) = comfy.saved(outputs, "gate")
    assert Image.open(picture).height > 250


def test_lines_with_times_keep_their_slots(comfy):
    lines = own("CuedScript", text="[00:00.1-00:00.4] One.", file="none", clip_start=0.0)
    node = gate(lines=["lines", 0], background_level=-0.5, takes=2)
    outputs = comfy.run(graph(node, lines=lines))
    sampler = own(
        "ScriptSampler", model=["load", 0], codec=["load", 2], script=["lines", 0], takes=1, rerolls="",
        background="on its own", duration=0.0, features=["watch", 0], sampling=["daring", 0], **SEEDS,
    )  # fmt: skip
    same = comfy.run(without_gate(sampler, lines=lines))
    assert torch.equal(stem(comfy, outputs, "speech"), stem(comfy, same, "speech"))
    first, second = scores(outputs)["gate"]["takes"]
    assert first["scores"]["levels"]["speech"] == second["scores"]["levels"]["speech"]
    assert second["sampled"] == ["background"]


def test_silence_fails_and_a_locked_stream_is_not_sampled_again(comfy):
    silent = core("EmptyAudio", duration=0.6, sample_rate=24_000, channels=1)
    held = {"codec": ["load", 2], "audio": ["silent", 0], "start": 0.0, "end": 0.0, "duration": 0.6}
    one = own("LockStream", stream="speech", **held)
    both = own("LockStream", stream="background", locks=["one", 0], **held)
    node = gate(locks=["both", 0], quietest=-3.0, takes=9)
    outputs = comfy.run(graph(node, silent=silent, one=one, both=both))
    told = scores(outputs)["gate"]
    assert len(told["takes"]) == 1
    assert told["stopped"] == "no new seed changes the speech or the background"
    assert "asked at least -3 LUFS" in told["failed"][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wrong_words": 0.2}, "wrong_words: is asked for, but there is no recogniser (word_judge)"),
        ({"similarity": 0.5}, "similarity: is asked for, but there is no speaker network (voice_judge)"),
        ({"sync": 0.1}, "sync: is asked for, but there is no video"),
        ({"quietest": -10.0, "loudest": -20.0}, "no take is at least -10 and at most -20 LUFS"),
        ({"decoder": ["load", 3]}, "got one of decoder and vae"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(comfy, changes, message):
    text = comfy.error(graph(gate(**changes)))
    assert message in text
    assert len(text.splitlines()) == 1


def test_final_quality_can_be_judged(comfy):
    outputs = comfy.run(graph(gate(decoder=["load", 3], vae=["load", 4], steps=2, quietest=-69.5, takes=1)))
    assert scores(outputs)["gate"]["takes"][0]["scores"]["levels"]["mix"]["lufs"] < 0


def test_cancel_stops_between_takes_and_the_next_run_is_well(comfy):
    prompt_id = comfy.queue(graph(gate(background_level=-0.5, takes=64, speech_seed=77)))
    deadline = time.monotonic() + 60
    while not comfy.get("/queue")["queue_running"] and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    asked = time.monotonic()
    comfy.post("/interrupt", {})
    result = comfy.wait(prompt_id)
    assert comfy.event(result, "execution_interrupted")["node_type"] == "DualDub_GatedSampler"
    assert time.monotonic() - asked < 10
    assert comfy.run(graph(gate(takes=1)))["passed"]["text"][0] == "True"
