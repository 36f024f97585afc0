import json
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import torch

from dualdub_core.artifacts import load_codes
from dualdub_core.cli import main
from dualdub_core.media.sound import probe
from dualdub_core.system import BUILTIN, load_system


@pytest.fixture
def voice(tmp_path):
    path = tmp_path / "voice.wav"
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.standard_normal(3 * 24_000), 24_000)
    return path


@pytest.fixture
def run(tmp_path, voice, capfd):
    """Runs `dualdub generate`; gives exit code, output folder and what was said."""

    def generate(*arguments, script="one red ball", out="out", **_):
        words = ["generate", *map(str, arguments), "--voice", str(voice), "--out", str(tmp_path / out), "--quiet"]
        if script and "--script" not in arguments:
            words += ["--script", script]
        code = main(words)
        return code, tmp_path / out, capfd.readouterr()

    return generate


def lengths(folder):
    return {name: soundfile.info(folder / f"{name}.wav").frames for name in ("speech", "background", "mix")}


def test_a_video_becomes_stems_a_mix_a_dubbed_video_and_a_report(run, make_video):
    video = make_video(rate=Fraction(24_000, 1001), num_frames=23)
    code, out, said = run(video, "--speech-seed", 5)
    assert code == 0
    assert said.out.split() == [
        str(out / n)
        for n in ("speech.wav", "background.wav", "mix.wav", "codes.safetensors", "clip.mp4", "report.json")
    ]
    assert {p.name for p in out.iterdir()} == {p.rpartition("/")[2] for p in said.out.split()}
    report = json.loads((out / "report.json").read_text())
    assert set(lengths(out).values()) == {round(23 * 1001 / 24_000 * 24_000)} == {report["num_samples"]}
    assert report["seeds"] == {"speech": 5, "background": 0}
    assert report["model"]["name"] == load_system(components=[]).header.info["name"]
    assert set(report["seconds"]) == {"watch", "generate", "decode", "mix"}
    assert -120 < report["loudness"]["mix_lufs"] < 0
    assert report["loudness"]["true_peak_db"] <= -1
    info = probe(out / "clip.mp4")
    assert (info.duration, info.has_audio, info.num_frames) == (probe(video).duration, True, 23)
    assert report["video"]["copied"] is True


def test_the_same_seeds_write_the_same_files(run, make_video):
    video = make_video()
    for out in ("a", "b"):
        _, folder, _ = run(video, out=out)
    for name in ("speech.wav", "background.wav", "codes.safetensors"):
        assert (folder.parent / "a" / name).read_bytes() == (folder.parent / "b" / name).read_bytes()


@pytest.mark.parametrize("decoder", ["flow", "codec"])
@pytest.mark.parametrize(
    "clip",
    [
        {"rate": Fraction(24_000, 1001), "num_frames": 24},
        {"rate": 60, "num_frames": 31},
        {"rate": 30, "stamps": [0, 1, 2, 7, 8, 15, 16, 30]},
        {"rate": 25, "num_frames": 1},
        {"rate": Fraction(30_000, 1001), "num_frames": 7, "name": "clip.mkv"},
        {"rate": 12, "num_frames": 9, "name": "clip.avi"},
        {"rate": 25, "num_frames": 9, "name": "clip.ts"},
    ],
    ids=["23.976", "60", "variable", "one frame", "mkv", "avi", "a kind that is not written"],
)
def test_any_frame_rate_gives_stems_of_exactly_the_videos_length(run, make_video, clip, decoder):
    video = make_video(**clip)
    code, out, said = run(video, "--decoder", decoder)
    assert code == 0, said.err
    assert set(lengths(out).values()) == {round(probe(video).duration * 24_000)}


def test_background_alone_needs_no_script_and_leaves_speech_silent(run, make_video):
    code, out, _ = run(make_video(), "--task", "background", script="")
    assert code == 0
    assert not soundfile.read(out / "speech.wav")[0].any()
    assert soundfile.read(out / "background.wav")[0].any()
    assert load_codes(out / "codes.safetensors").speech is None


def test_speech_alone_needs_no_video(run):
    code, out, _ = run("--task", "speech", "--duration", 0.8)
    assert code == 0
    assert set(lengths(out).values()) == {19_200}
    assert not (out / "clip.mp4").exists()


def test_a_locked_background_is_kept_and_a_retake_changes_only_its_range(run, make_video, voice):
    video = make_video()
    _, out, _ = run(video, "--lock-background", voice)
    locked = load_codes(out / "codes.safetensors")
    _, out, _ = run(video, "--lock-background", voice, "--speech-seed", 9)
    assert load_codes(out / "codes.safetensors").background.equal(locked.background)
    # The recording itself is the stem, up to the mix's gain.
    stem, recording = soundfile.read(out / "background.wav")[0], soundfile.read(voice)[0][:24_000]
    assert np.corrcoef(stem, recording)[0, 1] > 0.99
    first = load_codes(out / "codes.safetensors")
    daring = ("--speech-temperature", 3, "--background-temperature", 3)  # or silence may follow silence
    code, out, _ = run(video, "--retake", "0.25:0.5", "--seed", 77, *daring)
    again = load_codes(out / "codes.safetensors")
    assert code == 0
    for a, b in ((first.speech, again.speech), (first.background, again.background)):
        assert a[:, :10].equal(b[:, :10])
        assert a[:, 20:].equal(b[:, 20:])
        assert not a[:, 10:20].equal(b[:, 10:20])


def test_part_of_a_video_is_dubbed(run, make_video):
    code, out, _ = run(make_video(num_frames=50), "--start", 0.4, "--length", 0.8)
    assert code == 0
    assert set(lengths(out).values()) == {19_200}
    assert probe(out / "clip.mp4").duration == pytest.approx(0.8, abs=0.02)


def test_untrained_weights_say_so(run, make_video):
    _, _, said = run(make_video(num_frames=3))
    assert ("untrained" in said.err) == (not load_system(components=[]).header.is_trained)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4"], "nowhere.mp4: no such file"),
        (["."], ".: is a folder, expected a file"),
        (["{video}", "--script", "@nowhere.txt"], "script: nowhere.txt: no such file"),
        ([], "task 'joint' needs a video file"),
        (["{video}", "--retake", "2:1"], "codes.safetensors: no such file; make a first take into this folder"),
        (["{video}", "--retake", "soon"], "retake: got 'soon', expected FROM:TO in seconds"),
        (["{video}", "--start", "9"], "expected 0 up to less than the clip's 1.000 s"),
        (["{video}", "--steps", "0"], "expected at least 1"),
        (["{video}", "--speech-temperature", "-1"], "temperature -1.0, expected a number from 0 to 10"),
        (["{video}", "--seed", "-4"], "seed: got -4"),
        (["{video}", "--model", "{video}"], "clip.mp4: damaged, truncated or not safetensors"),
        (["{video}", "--lock-speech", "{video}"], "clip.mp4: has no sound track"),
        (["{text}"], "words.mp4"),
        (["{video}", "--save-voice", "{text}/anna.safetensors"], "words.mp4"),
        (["{video}", "--device", "abacus"], "device: 'abacus' cannot be used here"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_one(run, make_video, tmp_path, arguments, message):
    video, text = make_video(), tmp_path / "words.mp4"
    text.write_text("these are words")
    code, out, said = run(*[a.format(video=video, text=text) for a in arguments])
    errors = [line for line in said.err.splitlines() if line.startswith("dualdub: ")]
    assert code == 1
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in said.err
    assert not out.exists() or not any(out.iterdir())


def test_a_folder_that_cannot_be_made_is_found_before_any_work(run, make_video, tmp_path):
    (tmp_path / "file").touch()
    code, _, said = run(make_video(), out="file/out")
    assert code == 1
    assert "the folder cannot be made" in said.err


def test_the_video_is_never_written_over_itself(run, make_video, tmp_path):
    video = make_video()
    before = video.read_bytes()
    code, _, said = run(video, out=".")
    assert code == 1
    assert "would be replaced" in said.err
    assert video.read_bytes() == before


def test_inspect_describes_every_kind_of_file(run, make_video, voice, tmp_path, capfd):
    video = make_video()
    run(video, "--save-voice", tmp_path / "anna.safetensors")
    seen = {}
    for path in (BUILTIN, video, tmp_path / "out" / "codes.safetensors", tmp_path / "anna.safetensors", voice):
        assert main(["inspect", str(path)]) == 0
        seen[path.name] = json.loads(capfd.readouterr().out)
    assert [s["kind"] for s in seen.values()] == ["checkpoint", "video", "codes", "voice", "sound"]
    assert seen[BUILTIN.name]["parameters"].keys() == {"model", "video_encoder", "codec", "decoder", "vae"}
    assert seen["clip.mp4"]["duration"] == 1.0
    assert seen["codes.safetensors"]["frames"] == 40
    assert main(["inspect", str(tmp_path / "none")]) == 1


def test_inspect_counts_weights_of_another_origin_without_running_their_pickle(tmp_path, capfd):
    path = tmp_path / "published.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(2, 3)}}, path)
    assert main(["inspect", str(path)]) == 0
    assert json.loads(capfd.readouterr().out)["parameters"] == 6
    path.write_bytes(b"no pickle")
    assert main(["inspect", str(path)]) == 1


def test_the_dubbed_videos_sound_lasts_as_long_as_its_picture(run, make_video):
    _, out, _ = run(make_video(rate=Fraction(30_000, 1001), num_frames=29))
    with av.open(str(out / "clip.mp4")) as container:
        rate = container.streams.audio[0].rate
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert abs(samples - 29 * 1001 / 30_000 * rate) <= 1024


def test_half_precision_gives_stems_of_the_same_length(run, make_video):
    video = make_video()
    _, full, _ = run(video, out="full")
    code, half, said = run(video, "--precision", "bf16", out="half")
    assert code == 0, said.err
    assert lengths(full) == lengths(half)


@pytest.mark.slow
def test_three_minutes_have_exactly_three_minutes_of_sound(run, make_video):
    video = make_video(rate=10, num_frames=1801)
    code, out, said = run(video, "--decoder", "codec")
    assert code == 0, said.err
    assert set(lengths(out).values()) == {round(180.1 * 24_000)}


def test_a_script_with_times_is_spoken_line_by_line_and_measured(run, make_video, tmp_path, voice):
    captions = tmp_path / "lines.srt"
    captions.write_text(
        "1\n00:00:05,100 --> 00:00:05,400\n[Anna] one red ball\n\n2\n00:00:05,600 --> 00:00:05,900\ntwo\n"
    )
    video = make_video(num_frames=150)
    clip = ("--start", 5, "--length", 1, "--decoder", "codec", "--speech-temperature", 3, "--speech-top-k", 0)
    code, out, said = run(video, "--script", f"@{captions}", "--speaker", f"Anna={voice}", *clip)
    assert code == 0, said.err
    report = json.loads((out / "report.json").read_text())
    assert [line["slot"] for line in report["lines"]] == [[0.1, 0.4], [0.6, 0.9]]
    assert report["script"] == "one red ball two"
    assert json.loads((out / "captions.json").read_text())["lines"] == report["lines"]
    assert set(lengths(out).values()) == {24_000}
    first = load_codes(out / "codes.safetensors")
    _, again, _ = run(
        video, "--script", f"@{captions}", "--speaker", f"Anna={voice}", *clip, "--reroll", "2:9", out="b"
    )
    second = load_codes(again / "codes.safetensors")
    assert torch.equal(first.background, second.background)
    assert torch.equal(first.speech[:, :24], second.speech[:, :24])
    assert not torch.equal(first.speech[:, 24:36], second.speech[:, 24:36])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--script", "[00:09] hi"], "line 1 starts at 9.000 s, but the clip lasts 1.000 s"),
        (["--script", "[00:00.1] hi", "--reroll", "2:1"], "got a new seed for line 2, expected 1 to 1"),
        (["--script", "[00:00.1] hi", "--reroll", "x"], "reroll: got 'x', expected LINE:SEED"),
        (["--script", "[00:00.1] hi", "--speaker", "Anna"], "speaker: got 'Anna', expected NAME=FILE"),
        (["--script", "hi", "--reroll", "1:1"], "the script has no lines with times or names"),
        (["--script", "1\n00:00:01,000 -> 00:00:02,000\nhi"], "srt: block 1: got"),
    ],
)
def test_mistakes_in_a_script_are_told_in_one_line(run, make_video, voice, arguments, message):
    words = [argument.format(voice=voice) for argument in arguments]
    code, _, said = run(make_video(), *words)
    assert code == 1
    assert message in said.err
    assert said.err.count("dualdub: ") == 1


def test_the_plan_of_a_script_is_printed_without_weights(tmp_path, make_video, capfd):
    script = tmp_path / "lines.txt"
    script.write_text("[00:00.2-00:00.9] [Anna] one red ball\n[00:05] late")
    video = make_video(num_frames=150)
    assert main(["plan", str(script), "--video", str(video), "--picture", str(tmp_path / "plan.png")]) == 0
    table = capfd.readouterr().out
    assert "00:00.200  00:00.900" in table
    assert "2 lines in 6.000 s, every line has room" in table
    assert (tmp_path / "plan.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["plan", str(script), "--video", str(video), "--start", "4.5", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["lines"][0]["start"] == 0.5
    assert main(["plan", str(script), "--video", str(video), "--length", "0.1"]) == 1
    assert "none of its 2 lines starts between" in capfd.readouterr().err
