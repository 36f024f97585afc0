"""What happens in a running ComfyUI: cancelling, caching, mistakes, and what the templates do not show."""

import time

import pytest
import soundfile
import torch

from dualdub_core import checkpoint
from dualdub_core.media.sound import probe
from dualdub_core.system import BUILTIN

pytestmark = [pytest.mark.comfy, pytest.mark.slow]


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def core(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def graph(**changes) -> dict:
    """Video to draft stems by the built-in model; `changes` replace or add nodes."""
    return {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
        "video": own("LoadVideo", file="clip.mp4", start=0.0, duration=0.0),
        "watch": own("EncodeVideo", video_encoder=["load", 1], video=["video", 0], fps=25.0),
        "script": own("Script", text="One two three."),
        "sample": sampler(features=["watch", 0], script=["script", 0]),
        "decode": own("CodecDecode", codec=["load", 2], codes=["sample", 0]),
        "speech": core("PreviewAudio", audio=["decode", 0]),
        "background": core("PreviewAudio", audio=["decode", 1]),
        **changes,
    }


def sampler(**changes) -> dict:
    defaults = {"task": "speech + background", "speech_seed": 1, "background_seed": 1, "takes": 1, "duration": 0.0}
    return own("Sampler", model=["load", 0], **{**defaults, **changes})


def samples(comfy, outputs: dict, name: str) -> torch.Tensor:
    (path,) = comfy.saved(outputs, name, "audio")
    return torch.from_numpy(soundfile.read(path)[0])


def test_stems_last_exactly_as_long_as_the_video(comfy):
    outputs = comfy.run(graph())
    duration = probe(comfy.base / "input" / "clip.mp4").duration
    for stem in ("speech", "background"):
        (path,) = comfy.saved(outputs, stem, "audio")
        assert soundfile.info(path).frames == round(duration * soundfile.info(path).samplerate)


def test_the_same_prompt_again_comes_from_the_cache(comfy):
    prompt = graph(sample=sampler(features=["watch", 0], script=["script", 0], speech_seed=77))
    comfy.run(prompt)
    cached = comfy.event(comfy.wait(comfy.queue(prompt)), "execution_cached")["nodes"]
    assert {"load", "video", "watch", "sample", "decode"} <= set(cached)


def test_one_seed_changes_one_run_only(comfy):
    first = comfy.run(graph())
    again = comfy.run(graph(sample=sampler(features=["watch", 0], script=["script", 0], speech_seed=2)))
    assert not torch.equal(samples(comfy, first, "speech"), samples(comfy, again, "speech"))


def test_cancel_stops_the_sampler_within_a_moment(comfy):
    comfy.run(graph())
    long = sampler(task="speech only", script=["script", 0], duration=300.0, takes=2)
    prompt_id = comfy.queue(graph(sample=long))
    deadline = time.monotonic() + 60
    while not comfy.get("/queue")["queue_running"] and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    asked = time.monotonic()
    comfy.post("/interrupt", {})
    result = comfy.wait(prompt_id)
    assert comfy.event(result, "execution_interrupted")["node_type"] == "DualDub_Sampler"
    assert time.monotonic() - asked < 10
    comfy.run(graph())


def test_images_with_their_frame_rate_do_as_well_as_a_video(comfy):
    outputs = comfy.run(
        graph(
            raw=core("LoadVideo", file="clip.mp4"),
            parts=core("GetVideoComponents", video=["raw", 0]),
            watch=own("EncodeVideo", video_encoder=["load", 1], images=["parts", 0], fps=["parts", 2]),
        )
    )
    assert len(samples(comfy, outputs, "speech")) == round(4.2 * 24_000)


def test_a_trim_by_either_loader_or_slice_node_is_honoured(comfy):
    ours = comfy.run(graph(video=own("LoadVideo", file="clip.mp4", start=1.0, duration=1.5)))
    assert len(samples(comfy, ours, "background")) == 1.5 * 24_000
    cut = core("Video Slice", video=["raw", 0], start_time=1.0, duration=1.5, strict_duration=False)
    theirs = comfy.run(graph(raw=core("LoadVideo", file="clip.mp4"), video=cut))
    assert torch.equal(samples(comfy, ours, "background"), samples(comfy, theirs, "background"))


def test_a_trimmed_video_is_saved_trimmed(comfy):
    outputs = comfy.run(
        graph(
            video=own("LoadVideo", file="clip.mp4", start=0.5, duration=2.0),
            mix=own("MixStems", speech=["decode", 0], background=["decode", 1], **levels()),
            save=own(
                "SoundtrackToVideo", video=["video", 0], audio=["mix", 0], filename_prefix="trim/t", container="auto"
            ),
            report=core("PreviewAny", source=["save", 1]),
        )
    )
    (path,) = comfy.saved(outputs, "save")
    assert probe(path).duration == pytest.approx(2.0, abs=0.041)
    assert "encoded again" in outputs["report"]["text"][0]


def test_a_video_made_of_images_gets_its_sound(comfy):
    outputs = comfy.run(
        {
            "raw": core("LoadVideo", file="clip.mp4"),
            "parts": core("GetVideoComponents", video=["raw", 0]),
            "made": core("CreateVideo", images=["parts", 0], fps=25.0),
            "sound": own("LoadAudio", audio="bed.flac (example)", start=0.0, duration=0.0),
            "save": own(
                "SoundtrackToVideo", video=["made", 0], audio=["sound", 0], filename_prefix="a/b", container="auto"
            ),
        }
    )
    (path,) = comfy.saved(outputs, "save")
    assert path.parent == comfy.base / "output" / "a"
    assert probe(path).has_audio


def test_several_takes_come_out_as_a_batch_and_one_can_be_picked(comfy):
    several = sampler(features=["watch", 0], script=["script", 0], takes=3)
    picked = own("SelectTake", codes=["sample", 0], take=2)
    outputs = comfy.run(graph(sample=several))
    assert len(comfy.saved(outputs, "speech", "audio")) == 3
    second = soundfile.read(comfy.saved(outputs, "speech", "audio")[1])[0]
    one = comfy.run(graph(sample=several, pick=picked, decode=own("CodecDecode", codec=["load", 2], codes=["pick", 0])))
    assert abs(second - samples(comfy, one, "speech").numpy()).max() < 1e-4
    wrong = own("SelectTake", codes=["sample", 0], take=9)
    prompt = graph(sample=several, pick=wrong, decode=own("CodecDecode", codec=["load", 2], codes=["pick", 0]))
    assert "got take 9, expected 1 to 3" in comfy.error(prompt)


def test_a_locked_stream_stays_and_a_retake_keeps_the_rest(comfy):
    first = graph(keep=own("SaveCodes", codes=["sample", 0], filename_prefix="dualdub/first"))
    before = comfy.run(first)
    retake = own("RetakeRange", codes=["earlier", 0], start=1.0, end=2.0, streams="speech")
    after = comfy.run(
        graph(
            earlier=own("LoadCodes", file="dualdub/first_00001_.codes.safetensors [output]"),
            retake=retake,
            sample=sampler(features=["watch", 0], script=["script", 0], speech_seed=9, locks=["retake", 0]),
        )
    )
    assert torch.equal(samples(comfy, before, "background"), samples(comfy, after, "background"))
    assert not torch.equal(samples(comfy, before, "speech"), samples(comfy, after, "speech"))
    lock = own(
        "LockStream", codec=["load", 2], audio=["bed", 0], stream="background", start=0.0, end=0.0, duration=0.0,
        features=["watch", 0],
    )  # fmt: skip
    bed = own("LoadAudio", audio="bed.flac (example)", start=0.0, duration=0.0)
    locked = [
        comfy.run(
            graph(
                bed=bed,
                lock=lock,
                sample=sampler(features=["watch", 0], script=["script", 0], background_seed=seed, locks=["lock", 0]),
            )
        )
        for seed in (1, 2)
    ]
    assert torch.equal(*(samples(comfy, outputs, "background") for outputs in locked))


def test_voices_are_kept_and_found_again(comfy):
    sound = own("LoadAudio", audio="anna.wav", start=0.0, duration=3.0)
    voice = own("Voice", model=["load", 0], audio=["sound", 0], name="Anna")
    keep = own("SaveVoice", voice=["voice", 0], name="anna", overwrite=False)
    load = graph()["load"]
    comfy.run({"load": load, "sound": sound, "voice": voice, "keep": keep})
    comfy.run(
        {"load": load, "sound": {**sound, "inputs": {**sound["inputs"], "start": 1.0}}, "voice": voice, "keep": keep}
    )
    options = comfy.get("/object_info/DualDub_LoadVoice")["DualDub_LoadVoice"]["input"]["required"]["voice"][1][
        "options"
    ]
    assert {"anna.safetensors", "anna_2.safetensors"} <= set(options)
    again = own("LoadVoice", voice="anna.safetensors")
    other = own("LoadVoice", voice="anna_2.safetensors")
    blend = own("BlendVoices", voice_a=["again", 0], voice_b=["other", 0], blend=0.25)
    speaks = sampler(features=["watch", 0], script=["script", 0], voice=["blend", 0])
    comfy.run(graph(again=again, other=other, blend=blend, sample=speaks))
    outside = own("SaveVoice", voice=["voice", 0], name="../anna", overwrite=False)
    assert "expected one without slashes" in comfy.error(
        {"load": load, "sound": sound, "voice": voice, "keep": outside}
    )


def test_untrained_weights_say_so_wherever_they_are_heard(comfy):
    built_in = checkpoint.load(BUILTIN)
    info = {"name": "draft zero", "status": checkpoint.UNTRAINED}
    checkpoint.save(comfy.base / "models" / "dualdub" / "draft.safetensors", built_in.modules, info=info)
    outputs = comfy.run(
        graph(
            load=own("LoadDualDub", checkpoint="draft.safetensors", precision="fp32"),
            final=own(
                "FlowDecode",
                decoder=["load", 3],
                vae=["load", 4],
                codes=["sample", 0],
                steps=2,
                solver="euler",
                cfg=1.0,
                seed=0,
            ),
            listen=core("PreviewAudio", audio=["final", 0]),
        )
    )
    for name in ("load", "sample", "decode", "final"):
        assert "UNTRAINED weights (draft zero)" in outputs[name]["text"][0], name


def test_parts_load_on_their_own_and_missing_ones_are_named(comfy):
    part = {"file": "built-in mini"}
    outputs = comfy.run(
        graph(
            codec=own("LoadCodec", **part, download=False),
            decoder=own("LoadFlowDecoder", **part),
            vae=own("LoadAudioVAE", **part, download=False),
            clip=own("LoadCLIP", **part, download=False),
            watch=own("EncodeVideo", video_encoder=["clip", 0], video=["video", 0], fps=25.0),
            decode=own(
                "FlowDecode",
                decoder=["decoder", 0],
                vae=["vae", 0],
                codes=["sample", 0],
                steps=2,
                solver="midpoint",
                cfg=1.0,
                seed=0,
            ),
        )
    )
    assert len(samples(comfy, outputs, "speech")) > 0
    model = checkpoint.load(BUILTIN, components=("model",))
    info = {"name": "model alone", "status": checkpoint.TRAINED}
    checkpoint.save(comfy.base / "models" / "dualdub" / "alone.safetensors", model.modules, info=info)
    alone = own("LoadDualDub", checkpoint="alone.safetensors", precision="auto")
    assert "no video encoder on this input" in comfy.error(graph(load=alone))


def test_nothing_is_fetched_unless_asked_for(comfy):
    name = "wavtokenizer_large_unify_600_24k.ckpt"
    message = comfy.error(
        graph(
            decode=own("CodecDecode", codec=["codec", 0], codes=["sample", 0]),
            codec=own("LoadCodec", file=name, download=False),
        )
    )
    assert "turn on 'download'" in message
    assert "https://" in message
    asked = own("LoadCodec", file=name, download=True)
    assert "download of 'wavtokenizer' failed" in comfy.error(
        graph(decode=own("CodecDecode", codec=["codec", 0], codes=["sample", 0]), codec=asked)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"script": own("Script", text="   ")}, "script"),
        ({"sample": sampler(script=["script", 0])}, "connect Encode Video"),
        ({"watch": own("EncodeVideo", video_encoder=["load", 1], fps=25.0)}, "either a video or images"),
        ({"video": own("LoadVideo", file="clip.mp4", start=9.0, duration=0.0)}, "lasts only 4.200 s"),
        ({"video": own("LoadVideo", file="anna.mp4", start=0.0, duration=0.0)}, "picture"),
        ({"load": own("LoadDualDub", checkpoint="elsewhere.safetensors", precision="auto")}, "elsewhere.safetensors"),
    ],
)
def test_mistakes_are_explained(comfy, changes, message):
    (comfy.base / "input" / "anna.mp4").write_bytes((comfy.base / "input" / "anna.wav").read_bytes())
    text = comfy.error(graph(**changes))
    assert message in text
    assert len(text.splitlines()) == 1


def test_a_video_without_sound_is_refused_as_a_voice(comfy):
    silent = core("GetVideoComponents", video=["video", 0])
    voice = own("Voice", model=["load", 0], audio=["silent", 1], name="")
    speaks = sampler(features=["watch", 0], script=["script", 0], voice=["voice", 0])
    assert "no sound on this input" in comfy.error(graph(silent=silent, voice=voice, sample=speaks))


@pytest.mark.parametrize("name", ["../server.log", "/etc/hostname", "nowhere.mp4", "../assets.py (example)"])
def test_no_name_leads_outside_the_folders(comfy, name):
    answer = comfy.refusal(graph(video=own("LoadVideo", file=name, start=0.0, duration=0.0)))
    assert "not allowed" in answer or "no such file" in answer


def levels() -> dict:
    return {
        "speech_gain": 0.0, "background_gain": 0.0, "ducking": 0.0, "attack": 50.0, "release": 250.0,
        "normalize": False, "loudness": -23.0, "ceiling": -1.0,
    }  # fmt: skip
