from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import soundfile
import torch

from dualdub_core.artifacts import load_codes, load_voice, save_codes, save_voice
from dualdub_core.checks.inspection import describe
from dualdub_core.errors import ConfigError, InputError
from dualdub_core.media.broadcast import BroadcastInfo, read_broadcast_start, write_broadcast_wav
from dualdub_core.media.muxing import mux
from dualdub_core.media.sound import read_audio, write_wav
from dualdub_core.provenance.provenance import (
    Provenance,
    VoiceNote,
    fingerprint,
    from_json,
    from_values,
    merged,
    script_hash,
)
from dualdub_core.provenance.stamps import read_provenance, video_tags
from dualdub_core.scripts.formats import parse_script
from dualdub_core.timing import FrameClock
from dualdub_core.types import Audio, Codes, Voice
from dualdub_core.version import VERSION
from dualdub_core.voice import blend_voices

RECORD = Provenance(
    model="DualDub mini",
    fingerprint="0123456789abcdef",
    task="joint",
    seeds={"speech": 2**64 - 1, "background": 0},
    script_sha256=script_hash("one"),
    voices=(VoiceNote(name="Änne 🙂", consent="she agreed, 2026-11-21"),),
    recorded=("background",),
    settings={"decoder": {"kind": "flow", "steps": 10}},
    graph={"1": {"class_type": "DualDub_Sampler", "inputs": {"text": "ça"}}},
)


_TORN = '{"software": "DualDub", "voices": 3, "seeds": [1]}'


def sound(samples: int = 2401) -> Audio:
    return Audio(torch.linspace(-0.5, 0.5, samples)[None, None], 24_000)


@pytest.mark.parametrize("samples", [2400, 2401])
def test_a_sound_file_says_what_made_it_and_sounds_the_same(tmp_path, samples):
    write_wav(tmp_path / "plain.wav", sound(samples))
    write_wav(tmp_path / "told.wav", sound(samples), made_by=RECORD)
    assert read_provenance(tmp_path / "told.wav") == RECORD
    assert read_provenance(tmp_path / "plain.wav") is None
    assert torch.equal(read_audio(tmp_path / "told.wav").waveform, read_audio(tmp_path / "plain.wav").waveform)
    size = (tmp_path / "told.wav").stat().st_size
    assert int.from_bytes((tmp_path / "told.wav").read_bytes()[4:8], "little") == size - 8
    with soundfile.SoundFile(tmp_path / "told.wav") as file:
        assert file.software.startswith(f"DualDub {VERSION}")


def test_a_stamped_sound_file_has_both_its_time_and_its_origin(tmp_path):
    info = BroadcastInfo(description="speech", made=datetime(2026, 11, 21), start=3600.0)
    write_broadcast_wav(tmp_path / "s.wav", sound(), info, made_by=RECORD)
    assert read_broadcast_start(tmp_path / "s.wav") == 3600.0
    assert read_provenance(tmp_path / "s.wav") == RECORD
    assert soundfile.info(tmp_path / "s.wav").frames == 2401


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
def test_a_video_says_what_made_its_sound(tmp_path, make_video, suffix):
    path = tmp_path / f"out{suffix}"
    mux(make_video(num_frames=5), sound(), path, metadata=video_tags(RECORD, suffix))
    got = read_provenance(path)
    assert got == (replace(RECORD, graph=None) if suffix == ".avi" else RECORD)


def test_new_sound_takes_the_place_of_the_old_record(tmp_path, make_video):
    first, second, third = (tmp_path / name for name in ("a.mkv", "b.mp4", "c.mp4"))
    mux(make_video(num_frames=5), sound(), first, metadata=video_tags(RECORD, ".mkv"))
    mux(first, sound(), second, metadata=video_tags(Provenance(model="other"), ".mp4"))
    assert read_provenance(second).model == "other"
    mux(first, sound(), third)
    assert read_provenance(third) is None


def test_codes_and_voices_carry_what_made_them(tmp_path):
    codes = Codes(
        speech=torch.zeros(1, 4, dtype=torch.int64), background=None, duration=0.1, codebook_size=8,
        clock=FrameClock(sample_rate=24_000, hop_length=600), made_by=RECORD,
    )  # fmt: skip
    save_codes(tmp_path / "c.safetensors", codes)
    assert load_codes(tmp_path / "c.safetensors").made_by == RECORD == read_provenance(tmp_path / "c.safetensors")
    save_codes(tmp_path / "old.safetensors", replace(codes, made_by=None))
    assert load_codes(tmp_path / "old.safetensors").made_by is None
    voice = Voice(embedding=torch.ones(4), model_id="m", name="Anna", consent="yes, by letter")
    save_voice(tmp_path / "v.safetensors", voice)
    assert load_voice(tmp_path / "v.safetensors").consent == "yes, by letter"
    assert read_provenance(tmp_path / "v.safetensors").voices == (VoiceNote(name="Anna", consent="yes, by letter"),)
    other = replace(voice, consent="Ben, on tape")
    assert blend_voices([voice, other, voice], [1, 1, 1]).consent == "yes, by letter; Ben, on tape"


def test_inspect_shows_the_record_but_not_the_whole_graph(tmp_path):
    write_wav(tmp_path / "told.wav", sound(), made_by=RECORD)
    shown = describe(tmp_path / "told.wav")
    assert shown["made_by"]["seeds"] == RECORD.seeds
    assert shown["made_by"]["synthetic"] is True
    assert shown["made_by"]["graph"] == "1 nodes"


def test_a_record_comes_back_from_its_text_and_nothing_else_is_taken_for_one():
    assert from_json(RECORD.to_json()) == RECORD
    assert RECORD.to_json().isascii()
    for text in ("", "{", "[]", '{"software": "Other"}', '{"software": "DualDub", "later": 1}', _TORN, '{"voices": 3}'):
        assert from_json(text) is None
    with pytest.raises(ConfigError, match="other software"):
        from_values({})


def test_a_mix_of_one_take_is_that_take_and_of_several_names_each():
    assert merged({"speech": RECORD, "background": RECORD}) == RECORD
    assert merged({"speech": None, "background": None}) is None
    assert merged({"speech": replace(RECORD, recorded=()), "background": None}).recorded == ("background",)
    both = merged({"speech": RECORD, "background": Provenance(model="other", seeds={"background": 4})})
    assert both.model == "DualDub mini + other"
    assert both.seeds["background (background)"] == 4
    assert both.settings["speech"]["settings"] == RECORD.settings
    assert both.voices == RECORD.voices


def test_a_fingerprint_changes_with_any_training_of_a_large_file(tmp_path):
    path = tmp_path / "weights"
    content = bytearray(torch.arange(2**21).numpy().tobytes())
    path.write_bytes(content)
    first = fingerprint(path)
    assert first == fingerprint(path)
    assert len(first) == 16
    for index in range(0, len(content), 100_000):
        content[index] ^= 1
    path.write_bytes(content)
    assert fingerprint(path) != first
    path.write_bytes(b"small")
    assert fingerprint(path) != first
    with pytest.raises(InputError, match="no such file"):
        fingerprint(tmp_path / "none")


def test_the_hash_of_a_script_counts_words_times_and_names():
    texts = ["[00:01] [Anna] hi", "[00:02] [Anna] hi", "[00:01] [Ben] hi", "[00:01] [Anna] ho"]
    assert len({script_hash(parse_script(text)) for text in texts}) == 4
    assert script_hash("  ") == ""


def test_a_damaged_file_is_told_apart_from_one_without_a_record(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF\x00\x00")
    with pytest.raises(InputError, match=r"x\.wav"):
        read_provenance(tmp_path / "x.wav")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="damaged"):
        read_provenance(tmp_path / "x.safetensors")


def test_the_version_is_the_packages():
    toml = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert f'version = "{VERSION}"' in toml
