"""The Score node in a running ComfyUI."""

import json

import pytest
from PIL import Image

from dualdub_core.media.sound import probe

pytestmark = [pytest.mark.comfy, pytest.mark.slow]


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def graph(**changes) -> dict:
    """A recording as speech and the example background under the example clip."""
    return {
        "video": own("LoadVideo", file="clip.mp4", start=0.0, duration=0.0),
        "voice": own("LoadAudio", audio="anna.wav", start=0.0, duration=0.0),
        "bed": own("LoadAudio", audio="bed.flac (example)", start=0.0, duration=0.0),
        "score": own("ScoreSoundtrack", speech=["voice", 0], background=["bed", 0], video=["video", 0]),
        "scores": {"class_type": "PreviewAny", "inputs": {"source": ["score", 0]}},
        "report": {"class_type": "PreviewAny", "inputs": {"source": ["score", 2]}},
        **changes,
    }


def test_a_soundtrack_is_scored_and_painted(comfy):
    outputs = comfy.run(graph())
    scores = json.loads(outputs["scores"]["text"][0])
    assert {"duration", "sync", "levels", "leak", "warnings"} <= set(scores)
    assert scores["duration"] == pytest.approx(probe(comfy.base / "input" / "clip.mp4").duration)
    assert scores["levels"]["background"]["lufs"] < 0
    assert outputs["report"]["text"][0] == ("; ".join(scores["warnings"]) or "nothing stands out")
    (picture,) = comfy.saved(outputs, "score")
    assert Image.open(picture).width == 900


def test_a_trim_is_honoured_and_silence_is_said(comfy):
    video = own("LoadVideo", file="clip.mp4", start=1.0, duration=1.5)
    silent = {"class_type": "EmptyAudio", "inputs": {"duration": 1.5, "sample_rate": 24_000, "channels": 1}}
    score = own("ScoreSoundtrack", speech=["silent", 0], background=["silent", 0], video=["video", 0], script="two")
    outputs = comfy.run(graph(video=video, silent=silent, score=score))
    scores = json.loads(outputs["scores"]["text"][0])
    assert scores["duration"] == pytest.approx(1.5)
    assert scores["levels"]["mix"]["lufs"] is None
    assert "speech: as good as silent" in outputs["report"]["text"][0]


def test_no_name_of_a_judge_leads_outside_of_the_models(comfy):
    graph_of = graph()
    graph_of["score"]["inputs"]["word_judge"] = "../../output"
    assert "not in list" in comfy.refusal(graph_of)
