"""Take sheets in a running ComfyUI."""

import json

import pytest
from PIL import Image

pytestmark = [pytest.mark.comfy, pytest.mark.slow]


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def core(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def sheet(speech: list, background: list, **changes) -> dict:
    return own("TakeSheet", **{"speech": speech, "background": background, "title": "", "theme": "light", **changes})


def recordings(**changes) -> dict:
    """Stems from files, so that nothing is sampled."""
    return {
        "voice": own("LoadAudio", audio="anna.wav", start=0.0, duration=1.0),
        "bed": own("LoadAudio", audio="bed.flac (example)", start=0.0, duration=1.0),
        **changes,
    }


def sampled(takes: int = 1, **changes) -> dict:
    """Stems by the built-in model."""
    return {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
        "video": own("LoadVideo", file="clip.mp4", start=0.0, duration=0.6),
        "watch": own("EncodeVideo", video_encoder=["load", 1], video=["video", 0], fps=25.0),
        "script": own("CuedScript", text="[00:00.1-00:00.4] One.", file="none", clip_start=0.0),
        "sample": own(
            "ScriptSampler", model=["load", 0], codec=["load", 2], script=["script", 0], speech_seed=31,
            background_seed=32, takes=takes, rerolls="", background="on its own", duration=0.0, features=["watch", 0],
        ),
        "decode": own("CodecDecode", codec=["load", 2], codes=["sample", 0]),
        **changes,
    }  # fmt: skip


def test_a_sheet_shows_the_take_and_knows_its_model_and_seeds(comfy):
    inputs = {"video": ["video", 0], "script": ["script", 0], "notes": "client: ACME"}
    nodes = {"sheet": sheet(["decode", 0], ["decode", 1], **inputs), "facts": core("PreviewAny", source=["sheet", 1])}
    outputs = comfy.run(sampled(**nodes))
    (picture,) = comfy.saved(outputs, "sheet")
    image = Image.open(picture)
    assert image.width == 1600
    assert image.height > 800
    assert len(image.convert("RGB").getcolors(1 << 24)) > 500
    facts = outputs["facts"]["text"][0].splitlines()
    assert {"checkpoint: built-in mini", "speech seed: 31", "background seed: 32", "client: ACME"} <= set(facts)


def test_several_takes_are_several_pictures_of_one_size(comfy):
    scores = core("PrimitiveString", value=json.dumps([{"sync": 0.4}, {"sync": 0.5, "warnings": ["x"] * 4}]))
    drawn = sheet(["decode", 0], ["decode", 1], scores=["scores", 0], theme="dark", title="reel")
    outputs = comfy.run(sampled(takes=2, scores=scores, sheet=drawn))
    sizes = [Image.open(path).size for path in comfy.saved(outputs, "sheet")]
    assert len(sizes) == 2
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("scores", "message"),
    [("not json", "the scores are not JSON"), ("[{}, {}]", "got scores for 2 takes, expected an object for each of 1")],
)
def test_scores_that_do_not_fit_are_explained(comfy, scores, message):
    given = core("PrimitiveString", value=scores)
    text = comfy.error(recordings(scores=given, sheet=sheet(["voice", 0], ["bed", 0], scores=["scores", 0])))
    assert message in text
