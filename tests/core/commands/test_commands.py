import json

import numpy as np
import pytest
import soundfile

from dualdub_core.artifacts import load_codes, load_voice
from dualdub_core.cli import main
from dualdub_core.provenance.stamps import read_provenance


@pytest.fixture
def studio(tmp_path, make_video):
    """A folder with two clips, one of them broken, a script and a voice."""
    clips = tmp_path / "clips"
    clips.mkdir()
    make_video("one.mp4", num_frames=4).rename(clips / "one.mp4")
    (clips / "one.srt").write_text("1\n00:00:00,020 --> 00:00:00,120\n[Anna] hi\n")
    soundfile.write(clips / "one.voice.wav", 0.1 * np.random.default_rng(0).standard_normal(24_000), 24_000)
    (clips / "two.mp4").write_text("no video")
    return clips


def batch(source, out, *more) -> int:
    return main(["batch", str(source), "--out", str(out), "--decoder", "codec", "--quiet", *map(str, more)])


def state(out) -> dict[str, str]:
    items = json.loads((out / "batch.json").read_text())["items"]
    return {name: item["status"] for name, item in items.items()}


def test_a_folder_becomes_soundtracks_and_a_broken_clip_stops_nothing(studio, tmp_path, capfd):
    out = tmp_path / "out"
    assert batch(studio, out, "--seeds", "3,8", "--consent", "A. N., by letter") == 1
    told = capfd.readouterr()
    assert "2 of 4 items failed" in told.err
    assert "two_seed3: script: got no text" in told.out
    assert state(out) == {"one_seed3": "done", "one_seed8": "done", "two_seed3": "failed", "two_seed8": "failed"}
    record = read_provenance(out / "one_seed8" / "one.mp4")
    assert record.seeds == {"speech": 8, "background": 8}
    assert [note.consent for note in record.voices] == ["A. N., by letter"]
    assert (
        record
        == read_provenance(out / "one_seed8" / "mix.wav")
        == load_codes(out / "one_seed8" / "codes.safetensors").made_by
    )
    assert record.fingerprint
    assert record.settings["decoder"]["kind"] == "codec"
    assert batch(studio, out, "--seeds", "3,8", "--consent", "A. N., by letter") == 1
    assert state(out) == {"one_seed3": "kept", "one_seed8": "kept", "two_seed3": "failed", "two_seed8": "failed"}
    (studio / "two.mp4").unlink()
    (studio / "one.srt").write_text("1\n00:00:00,020 --> 00:00:00,120\n[Anna] ho\n")
    assert batch(studio, out, "--seeds", "3", "--consent", "A. N., by letter") == 0
    assert state(out) == {"one_seed3": "done"}


@pytest.mark.parametrize(
    ("table", "more", "message"),
    [
        ("name,video,colour\na,one.mp4,red\n", [], "unknown column 'colour'"),
        ("name,model\na,x\n", [], "unknown column 'model'"),
        ("name,video\na,one.mp4\n", ["--retake", "0:1"], "for one take"),
        ("name,video\na,one.mp4\n", ["--seeds", "x"], "seeds: got 'x'"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_before_any_work(studio, tmp_path, capfd, table, more, message):
    (studio / "t.csv").write_text(table)
    assert batch(studio / "t.csv", tmp_path / "out", *more) == 1
    assert message in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_wrong_cell_fails_its_own_row_only(studio, tmp_path, capfd):
    (studio / "t.csv").write_text(
        "name,video,task,start,fit_background\na,one.mp4,sing,0,\nb,one.mp4,background,soon,\n"
        "c,one.mp4,background,0,perhaps\nd,../clips/one.mp4,background,0,no\n"
    )
    assert batch(studio / "t.csv", tmp_path / "out") == 1
    told = capfd.readouterr().out
    assert "invalid choice: 'sing'" in told
    assert "invalid float value: 'soon'" in told
    assert "expected yes or no" in told
    assert state(tmp_path / "out") == {"a": "failed", "b": "failed", "c": "failed", "d": "done"}


def test_consent_is_asked_for_kept_in_the_voice_and_written_for_each_speaker(studio, tmp_path, capfd):
    voice, kept = studio / "one.voice.wav", tmp_path / "anna.safetensors"
    words = ["generate", str(studio / "one.mp4"), "--decoder", "codec", "--quiet", "--script", f"@{studio / 'one.srt'}"]
    words += ["--out", str(tmp_path / "out"), "--voice", str(voice), "--save-voice", str(kept)]
    assert main([*words, "--speaker", f"Anna={voice}"]) == 0
    assert "nobody's consent is written down for the voice 'Anna'" in capfd.readouterr().err
    assert main([*words, "--speaker", f"Anna={voice}", "--consent", "Anna=she did", "--consent", "he=did"]) == 0
    assert "consent" not in capfd.readouterr().err
    assert load_voice(kept).consent == "he=did"
    voices = read_provenance(tmp_path / "out" / "speech.wav").voices
    assert {note.name: note.consent for note in voices} == {"one.voice": "he=did", "Anna": "she did"}


def test_files_that_cannot_be_signed_are_refused_before_any_work(studio, tmp_path, capfd):
    (tmp_path / "pem").write_text("no key")
    words = ["generate", str(studio / "one.mp4"), "--out", str(tmp_path / "out"), "--task", "background", "--quiet"]
    assert main([*words, "--sign", str(tmp_path / "pem"), str(tmp_path / "pem")]) == 1
    told = capfd.readouterr().err
    assert "content credentials" in told
    assert not (tmp_path / "out").exists()


def test_preflight_says_what_is_wrong_and_doctor_what_there_is(studio, tmp_path, capfd, make_video):
    good = ["preflight", str(make_video()), "--script", "[0:00] hi", "--out", str(tmp_path)]
    assert main(good) == 0
    assert capfd.readouterr().out.endswith("ready\n")
    assert main([*good, "--json", "--models", str(tmp_path)]) == 0
    assert json.loads(capfd.readouterr().out)["ready"] is True
    assert main(["preflight", str(studio / "two.mp4")]) == 1
    assert "not ready: video" in capfd.readouterr().err
    assert main(["doctor"]) == 0
    assert "packages" in json.loads(capfd.readouterr().out)
