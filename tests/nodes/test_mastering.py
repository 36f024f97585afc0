"""Mixing for delivery in a running ComfyUI: presets, known speech, stereo, batches."""

import json

import pytest

pytestmark = [pytest.mark.comfy, pytest.mark.slow]


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def core(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def master(**changes) -> dict:
    values = {
        "delivery": "EBU R 128: -23 LUFS, -1 dBTP", "loudness": -20.0, "ceiling": -3.0, "ducking": 9.0, "attack": 50.0,
        "hold": 100.0, "release": 200.0, "balance": True, "speech_over_bed": 8.0, "stereo": True, "drive": 6.0,
    }  # fmt: skip
    for stem in ("speech", "background"):
        values |= {f"{stem}_gain": 0.0, f"{stem}_pan": 0.0, f"{stem}_fade_in": 0.0, f"{stem}_fade_out": 0.0}
    return own("MasterStems", **{"speech": ["voice", 0], "background": ["bed", 0], **values, **changes})


def graph(**changes) -> dict:
    """The examples' voice over their bed."""
    return {
        "voice": own("LoadAudio", audio="anna.wav", start=0.0, duration=3.0),
        "bed": own("LoadAudio", audio="bed.flac (example)", start=0.0, duration=0.0),
        "script": own("CuedScript", text="[00:00.0-00:03.0] one", file="none", clip_start=0.0),
        "master": master(script=["script", 0]),
        "report": core("PreviewAny", source=["master", 3]),
        "measured": core("PreviewAny", source=["master", 4]),
        **changes,
    }


def test_a_preset_a_balance_and_known_speech_are_reached_and_reported(comfy):
    outputs = comfy.run(graph())
    report = json.loads(outputs["measured"]["text"][0])
    assert report["lufs"]["mix"] == pytest.approx(-23, abs=0.1)
    assert report["true_peak_db"]["mix"] <= -1
    assert report["speech_over_bed"] == pytest.approx(8, abs=0.1)
    assert report["ducking_db"] == pytest.approx(9, abs=0.1)
    assert report["spoken_from"] == "script"
    assert report["unreached"] == []
    assert "asked -23 over the programme" in outputs["report"]["text"][0]
    assert comfy.saved(outputs, "master", "audio")


def test_own_values_count_for_custom_and_without_a_script_energy_tells_speech(comfy):
    part = own("LoadAudio", audio="anna.wav", start=1.0, duration=2.0)
    quieter = core("AudioAdjustVolume", audio=["voice", 0], volume=-12)
    prompt = graph(
        voice=part,
        quieter=quieter,
        master=master(speech=["quieter", 0], delivery="custom", balance=False, speech_pan=-0.5),
    )
    report = json.loads(comfy.run(prompt)["measured"]["text"][0])
    assert report["lufs"]["mix"] == pytest.approx(-20, abs=0.1)
    assert report["true_peak_db"]["mix"] <= -3
    assert report["spoken_from"] == "energy"


def test_silence_is_mixed_and_says_that_nothing_was_reached(comfy):
    outputs = comfy.run(
        graph(
            voice=core("EmptyAudio", duration=2.0, sample_rate=24_000, channels=1),
            bed=core("EmptyAudio", duration=2.0, sample_rate=24_000, channels=1),
            master=master(),
        )
    )
    text = outputs["report"]["text"][0]
    assert "not reached - loudness: silent" in text
    assert "not reached - balance: nobody is heard to speak" in text
