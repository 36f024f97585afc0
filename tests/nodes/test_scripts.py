"""Scripts with times in a running ComfyUI: read, planned, spoken line by line, measured, handed to an editor."""

import json

import pytest
import soundfile
import torch

from dualdub_core.artifacts import load_codes
from dualdub_core.media.broadcast import read_broadcast_start
from dualdub_core.media.sound import probe
from dualdub_core.scripts.captions import parse_srt

pytestmark = [pytest.mark.comfy, pytest.mark.slow]

LINES = "[00:00.5-00:01.5] [Anna] One two three. [00:02-00:03] [Ben] Four."


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def core(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def script(text: str = LINES, file: str = "none") -> dict:
    return own("CuedScript", text=text, file=file, clip_start=0.0)


def graph(**changes) -> dict:
    """Video to draft stems by a script of two voices; `changes` replace or add nodes."""
    return {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
        "video": own("LoadVideo", file="clip.mp4", start=0.0, duration=0.0),
        "watch": own("EncodeVideo", video_encoder=["load", 1], video=["video", 0], fps=25.0),
        "recording": own("LoadAudio", audio="anna.wav", start=0.0, duration=0.0),
        "voice": own("Voice", model=["load", 0], audio=["recording", 0], name="anna"),
        "anna": own("NamedVoice", voice=["voice", 0], name="anna"),
        "all": own("NamedVoice", voice=["voice", 0], name="", voices=["anna", 0]),
        "script": script(),
        "sample": sampler(),
        "keep": own("SaveCodes", codes=["sample", 0], filename_prefix="dualdub/lines"),
        **changes,
    }


def sampler(**changes) -> dict:
    values = {"speech_seed": 1, "background_seed": 1, "takes": 1, "rerolls": "", "background": "on its own"}
    sockets = {"model": ["load", 0], "codec": ["load", 2], "script": ["script", 0], "features": ["watch", 0]}
    return own("ScriptSampler", **{**sockets, "voices": ["all", 0], "duration": 0.0, **values, **changes})


def newest_codes(comfy):
    return load_codes(max((comfy.base / "output" / "dualdub").glob("lines_*.safetensors")))


def test_lines_are_spoken_in_their_slots_and_one_can_be_rolled_again(comfy):
    comfy.run(graph())
    first = newest_codes(comfy)
    comfy.run(graph(sample=sampler(rerolls="2:9")))
    second = newest_codes(comfy)
    assert first.num_frames == 168
    assert torch.equal(first.background, second.background)
    assert torch.equal(first.speech[:, :80], second.speech[:, :80])
    assert not torch.equal(first.speech[:, 80:120], second.speech[:, 80:120])
    for gap in (slice(60, 80), slice(120, 168)):
        assert torch.equal(first.speech[:, gap], second.speech[:, gap])


def test_the_plan_needs_no_weights(comfy):
    outputs = comfy.run(
        {
            "video": own("LoadVideo", file="clip.mp4", start=1.0, duration=2.5),
            "script": script("[00:00.1] One two three.\n[Ben] Four."),
            "plan": own("PlanPreview", script=["script", 0], duration=0.0, video=["video", 0]),
            "table": core("PreviewAny", source=["plan", 1]),
            "json": core("PreviewAny", source=["plan", 2]),
            "fits": core("PreviewAny", source=["plan", 4]),
        }
    )
    assert "2 lines in 2.500 s, every line has room" in outputs["table"]["text"][0]
    assert json.loads(outputs["json"]["text"][0])["lines"][1]["speaker"] == "Ben"
    assert outputs["fits"]["text"] == ["True"]
    (picture,) = comfy.saved(outputs, "plan")
    assert picture.stat().st_size > 500


def test_captions_come_back_out_of_a_file_that_went_in(comfy):
    (comfy.base / "input" / "lines.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nÇà et là 🙂\n", encoding="utf-8")
    outputs = comfy.run(
        {
            "script": script("", "lines.srt"),
            "speech": core("EmptyAudio", duration=2.0, sample_rate=24_000, channels=1),
            "recording": own("LoadAudio", audio="anna.wav", start=0.0, duration=1.2),
            "join": core("AudioConcat", audio1=["speech", 0], audio2=["recording", 0], direction="before"),
            "captions": own("Captions", script=["script", 0], speech=["join", 0], filename_prefix="c/t", save="srt"),
            "worded": own(
                "Captions",
                script=["script", 0],
                speech=["join", 0],
                filename_prefix="w/t",
                save="none",
                words="words",
            ),
            "srt": core("PreviewAny", source=["captions", 0]),
            "vtt": core("PreviewAny", source=["worded", 1]),
            "report": core("PreviewAny", source=["captions", 3]),
        }
    )
    assert outputs["vtt"]["text"][0].split("\n")[-2].count("<00:00:0") == 2
    (line,) = parse_srt(outputs["srt"]["text"][0]).lines
    assert line.text == "Çà et là 🙂"
    assert 0.4 <= line.start < line.end <= 1.6
    assert "ms from its cue" in outputs["report"]["text"][0]
    (file,) = (comfy.base / "output" / "c").iterdir()
    assert file.name == "t_00001_lines.srt"
    assert file.read_text(encoding="utf-8") == outputs["srt"]["text"][0]


def test_silence_is_reported_and_not_captioned(comfy):
    outputs = comfy.run(
        {
            "script": script(),
            "speech": core("EmptyAudio", duration=4.0, sample_rate=24_000, channels=1),
            "captions": own("Captions", script=["script", 0], speech=["speech", 0], filename_prefix="c/s", save="srt"),
            "report": core("PreviewAny", source=["captions", 3]),
        }
    )
    assert outputs["report"]["text"][0].count("not heard") == 2
    assert not list((comfy.base / "output" / "c").glob("s_*"))


def test_an_editor_gets_tracks_and_stamped_stems(comfy):
    outputs = comfy.run(
        {
            "video": own("LoadVideo", file="clip.mp4", start=0.0, duration=0.0),
            "script": script(),
            "speech": core("EmptyAudio", duration=4.0, sample_rate=44_100, channels=2),
            "background": core("EmptyAudio", duration=4.0, sample_rate=44_100, channels=2),
            "edit": own(
                "Handoff", filename_prefix="edit/a", container="mkv", timeline_start=3600.0, video=["video", 0],
                speech=["speech", 0], background=["background", 0], script=["script", 0],
            ),
            "report": core("PreviewAny", source=["edit", 1]),
        }
    )  # fmt: skip
    names = {path.name for path in (comfy.base / "output" / "edit").iterdir()}
    assert {"a_00001_speech.wav", "a_00001_background.wav", "a_00001_tracks.mkv"} <= names
    assert ("a_00001.otio" in names) != ("pip install opentimelineio" in outputs["report"]["text"][0])
    speech = comfy.base / "output" / "edit" / "a_00001_speech.wav"
    assert read_broadcast_start(speech) == 3600.0
    assert soundfile.info(speech).frames == 4 * 44_100
    assert probe(comfy.base / "output" / "edit" / "a_00001_tracks.mkv").has_audio
    assert "pictures copied" in outputs["report"]["text"][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"script": script("[00:09] late")}, "line 1 starts at 9.000 s, but the clip lasts 4.200 s"),
        ({"script": script("[00:02-00:03] a [00:02.5] b")}, "line 2 starts at 2.500 s, but line 1 ends at 3.000 s"),
        ({"script": script("")}, "got no text"),
        ({"script": script("hi", "two.srt")}, "got a text and the file two.srt"),
        ({"sample": sampler(rerolls="x")}, "reroll: got 'x', expected LINE:SEED"),
        ({"sample": sampler(voices=["anna", 0])}, "line 2 is spoken by 'Ben', but the voices are anna"),
        ({"all": own("NamedVoice", voice=["voice", 0], name="ANNA", voices=["anna", 0])}, "got 'ANNA' twice"),
    ],
)
def test_mistakes_in_scripts_are_explained(comfy, changes, message):
    (comfy.base / "input" / "two.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nhi\n")
    text = comfy.error(graph(**changes))
    assert message in text
    assert len(text.splitlines()) == 1
