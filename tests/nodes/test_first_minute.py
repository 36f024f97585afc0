"""Batches, provenance and the preflight in a running ComfyUI."""

import json
import shutil

import pytest
import soundfile

from dualdub_core.artifacts import load_voice
from dualdub_core.media.sound import probe
from dualdub_core.provenance.stamps import read_provenance

pytestmark = [pytest.mark.comfy, pytest.mark.slow]


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def core(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def drafts(**changes) -> dict:
    """Speech without a video to stems that are saved; `changes` replace or add nodes."""
    return {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
        "recording": own("LoadAudio", audio="anna.wav", start=0.0, duration=0.0),
        "voice": own("Voice", model=["load", 0], audio=["recording", 0], name="anna", consent="Anna agreed, 2026"),
        "sample": own(
            "Sampler", model=["load", 0], task="speech only", speech_seed=7, background_seed=1, takes=1, duration=0.3,
            script="One.", voice=["voice", 0],
        ),
        "decode": own("CodecDecode", codec=["load", 2], codes=["sample", 0]),
        "save": own(
            "SaveStems", filename_prefix="o/s", speech=["decode", 0], background=["decode", 1]
        ),
        **changes,
    }  # fmt: skip


def folder(comfy, name: str) -> list:
    return sorted((comfy.base / "output" / name).iterdir())


def text(outputs: dict, node: str) -> str:
    return outputs[node]["text"][0]


def test_every_file_says_what_made_it_and_whose_voice_it_is(comfy):
    comfy.run(
        drafts(
            video=own("LoadVideo", file="clip.mp4", start=0.0, duration=0.3),
            dub=own(
                "SoundtrackToVideo", video=["video", 0], audio=["decode", 0], filename_prefix="o/v", container="mkv"
            ),
            keep=own("SaveCodes", codes=["sample", 0], filename_prefix="o/c"),
            own_voice=own("SaveVoice", voice=["voice", 0], name="with consent", overwrite=True),
            hand=own(
                "Handoff", filename_prefix="o/h", container="mp4", timeline_start=0.0, video=["video", 0],
                speech=["decode", 0],
            ),
        )
    )  # fmt: skip
    files = [path for path in folder(comfy, "o") if path.suffix != ".otio"]
    records = {path.name: read_provenance(path) for path in files}
    assert len(records) == 6
    assert {"s_00001_speech.wav", "v_00001_.mkv", "c_00001_.codes.safetensors", "h_00001_tracks.mp4"} <= set(records)
    for name, record in records.items():
        assert record.seeds == {"speech": 7}, name
        assert [note.consent for note in record.voices] == ["Anna agreed, 2026"], name
        assert record.model.startswith("DualDub mini"), name
        assert len(record.fingerprint) == 16, name
    graph = records["s_00001_speech.wav"].graph
    assert graph["sample"]["inputs"]["speech_seed"] == 7
    assert records["v_00001_.mkv"].graph == graph
    assert records["s_00001_speech.wav"].settings["decoder"]["kind"] == "codec"
    assert load_voice(comfy.base / "models/dualdub/voices/with consent.safetensors").consent == "Anna agreed, 2026"


def test_a_grid_runs_every_item_under_a_name_of_its_own_and_leaves_out_what_cannot_work(comfy):
    clips = comfy.base / "input" / "shots"
    clips.mkdir()
    shutil.copy(comfy.base / "input" / "clip.mp4", clips / "a.mp4")
    (clips / "broken.mp4").write_text("no video")
    scripts = "[00:00.1-00:01] [Anna] one\n---\n[00:09] beyond the clip"
    outputs = comfy.run(
        {
            "videos": own("VideoList", folder="shots", pattern="*.mp4"),
            "texts": own("ScriptList", text=scripts),
            "seeds": own("SeedList", seeds="3, 5"),
            "grid": own(
                "BatchGrid", prefix="g/x", combine="every combination", videos=["videos", 0], names=["videos", 1],
                scripts=["texts", 0], seeds=["seeds", 0],
            ),
            "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
            "sample": own(
                "Sampler", model=["load", 0], task="speech only", speech_seed=["grid", 4], background_seed=0, takes=1,
                duration=0.2, script=["grid", 2],
            ),
            "decode": own("CodecDecode", codec=["load", 2], codes=["sample", 0]),
            "dub": own(
                "SoundtrackToVideo", video=["grid", 0], audio=["decode", 0], filename_prefix=["grid", 5],
                container="auto",
            ),
            "left": core("PreviewAny", source=["videos", 2]),
            "report": core("PreviewAny", source=["grid", 6]),
        }
    )  # fmt: skip
    assert "left out: broken.mp4" in text(outputs, "left")
    told = text(outputs, "report").splitlines()
    assert told[0] == "g/x/a_script1_seed3"
    assert told[2].startswith("g/x/a_script2_seed3: left out: script: line 1 starts at 9.000 s")
    files = folder(comfy, "g/x")
    assert [path.name for path in files] == ["a_script1_seed3_00001_.mp4", "a_script1_seed5_00001_.mp4"]
    assert [read_provenance(path).seeds["speech"] for path in files] == [3, 5]
    assert probe(files[0]).has_audio


def test_a_row_of_a_table_names_everything_and_its_end_is_told(comfy):
    (comfy.base / "input" / "row.srt").write_text("1\n00:00:00,100 --> 00:00:01,000\nhi there\n")
    table = "name,video,script,voice,seed\nfirst,clip.mp4,@row.srt,anna.wav,9\nsecond,,hello,,\n"

    def row(number: int, **more) -> dict:
        return {
            "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
            "row": own("BatchRow", table=table, row=number, prefix="rows", model=["load", 0]),
            "words": core("PreviewAny", source=["row", 2]),
            "name": core("PreviewAny", source=["row", 5]),
            "seed": core("PreviewAny", source=["row", 4]),
            **more,
        }

    first = comfy.run(row(1, save=own("SaveVoice", voice=["row", 3], name="of a row", overwrite=True)))
    assert [text(first, node) for node in ("words", "name", "seed")] == ["hi there", "rows/first", "9"]
    second = comfy.run(row(2))
    assert [text(second, node) for node in ("words", "name")] == ["hello", "rows/second"]
    assert "got row 3, but the table has 2" in comfy.error(row(3))


def test_kept_voices_come_as_a_list(comfy):
    comfy.run(drafts(keep=own("SaveVoice", voice=["voice", 0], name="listed", overwrite=True)))
    outputs = comfy.run({"voices": own("VoiceList", names="listed"), "names": core("PreviewAny", source=["voices", 1])})
    assert text(outputs, "names") == "listed"


def test_the_preflight_finds_what_is_missing_before_a_run(comfy):
    facts = {
        "task": "speech + background",
        "decoder": "flow",
        "steps": 10,
        "takes": 1,
        "precision": "auto",
        "duration": 0.0,
    }
    outputs = comfy.run(
        {
            "video": own("LoadVideo", file="clip.mp4", start=0.0, duration=0.0),
            "good": own("Preflight", checkpoint="built-in mini", video=["video", 0], text="one two", **facts),
            "bad": own("Preflight", checkpoint="elsewhere.safetensors", text="one two", **facts),
            "report": core("PreviewAny", source=["good", 0]),
            "json": core("PreviewAny", source=["good", 1]),
            "ready": core("PreviewAny", source=["good", 2]),
            "around": core("PreviewAny", source=["good", 3]),
            "not": core("PreviewAny", source=["bad", 0]),
        }
    )
    assert text(outputs, "ready") == "True"
    assert "https://huggingface.co/timm/" in text(outputs, "report")
    assert str(comfy.base / "models" / "dualdub") in text(outputs, "report")
    assert json.loads(text(outputs, "json"))["estimate"]["seconds"]["generate"] > 0
    around = json.loads(text(outputs, "around"))
    assert "cpu" in around["comfyui"]["switches"]
    assert str(comfy.base) not in text(outputs, "around")
    assert "elsewhere.safetensors: damaged" in text(outputs, "not")
    assert "none given" in text(outputs, "not")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"n": own("VideoList", folder="../..", pattern="*"), "p": core("PreviewAny", source=["n", 2])}, "not allowed"),
        ({"n": own("SeedList", seeds="x"), "p": core("PreviewAny", source=["n", 0])}, "seeds: got 'x'"),
        ({"n": own("ScriptList", text="---"), "p": core("PreviewAny", source=["n", 1])}, "got no text"),
        (
            {"n": own("BatchGrid", prefix="p", combine="side by side"), "p": core("PreviewAny", source=["n", 6])},
            "nothing is connected",
        ),
        (
            {
                "n": own("ContentCredentials", certificate="nobody", author=""),
                "t": core("EmptyAudio", duration=0.1, sample_rate=24_000, channels=1),
                "p": own("SaveStems", filename_prefix="x", speech=["t", 0], credentials=["n", 0]),
            },
            "no nobody.pem and nobody.key",
        ),
    ],
)
def test_mistakes_are_explained(comfy, prompt, message):
    told = comfy.error(prompt)
    assert message in told
    assert len(told.splitlines()) == 1


def test_stems_are_signed_where_the_package_and_a_certificate_are(comfy):
    """Without the package, the artist reads what to install; with it, a broken certificate is named."""
    home = comfy.base / "models" / "dualdub" / "credentials"
    home.mkdir(parents=True, exist_ok=True)
    (home / "mine.pem").write_text("no certificate")
    (home / "mine.key").write_text("no key")
    sound = core("EmptyAudio", duration=0.1, sample_rate=24_000, channels=1)
    prompt = {
        "n": own("ContentCredentials", certificate="mine", author="A"),
        "t": sound,
        "p": own("SaveStems", filename_prefix="signed/x", speech=["t", 0], credentials=["n", 0]),
    }
    told = comfy.error(prompt)
    assert "pip install" in told or "mine.key: not a private key" in told
    assert not (comfy.base / "output" / "signed").exists()
    off = comfy.run({**prompt, "n": own("ContentCredentials", certificate="none", author="")})
    assert "x_00001_speech.wav" in text(off, "p")
    assert soundfile.info(folder(comfy, "signed")[0]).frames == 2400
