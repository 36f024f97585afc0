"""Sets from a corpus and from films: what is kept, what is left out and why, and the same again."""

import io
import json
import shutil
import sys

import av
import numpy as np
import pytest
import soundfile
import torch

pa = pytest.importorskip("pyarrow")

import pyarrow.parquet as pq  # noqa: E402

from dualdub_core.dualbench.av_align import read_pictures  # noqa: E402
from dualdub_core.dualbench.testset import read_set  # noqa: E402
from dualdub_core.errors import InputError  # noqa: E402
from dualdub_core.media.sound import probe, read_audio  # noqa: E402
from train.film_parts import write_film_part  # noqa: E402
from train.scenes.shards import SCHEMA  # noqa: E402
from train.scenes.video import encode_film  # noqa: E402
from train.testset import _parser, main, run  # noqa: E402

RATE = 24_000
SRT = """1
00:00:00,500 --> 00:00:01,250
One two.

2
00:00:01,530 --> 00:00:02,410
Three!

3
00:00:02,700 --> 00:00:03,100
Four.

4
00:00:09,000 --> 00:00:09,500
Gone.
"""


def tone(seconds, frequency, level=0.2, rate=RATE):
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def flac(samples):
    target = io.BytesIO()
    soundfile.write(target, samples, RATE, format="FLAC", subtype="PCM_16")
    return target.getvalue()


def row(kind, number, *, speaker="low", text="one two", level=0.2, seconds=1.2, film=True):
    pictures = np.full((round(seconds * 25), 16, 16, 3), 10 * number, np.uint8)
    joint = kind == "joint"
    return {
        **dict.fromkeys(SCHEMA.names),
        "id": f"test-{kind}-{number}",
        "task": "joint" if joint else "speech",
        "kind": kind,
        "split": "test",
        "duration": seconds,
        "sample_rate": RATE,
        "text": text,
        "speaker": speaker,
        "event_times": [0.3] if joint else [],
        "source": "ball" if joint else "",
        "speech_flac": flac(tone(seconds, 200 + number, level)),
        "background_flac": flac(tone(seconds, 2000 + number)) if joint else None,
        "film_mp4": encode_film(pictures, fps=25) if joint and film else None,
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Five joint clips, one silent and one without a film, and readings by one of the two speakers."""
    folder = tmp_path_factory.mktemp("corpus") / "test"
    folder.mkdir()
    rows = {
        "joint": [
            row("joint", 0),
            row("joint", 1, level=0.001),
            row("joint", 2, text="two one", speaker="high"),
            row("joint", 3, film=False),
            row("joint", 4, text="one two", speaker="high", seconds=1.4),
        ],
        "tts": [
            row("tts", 0, text="one, two", seconds=2.0),
            row("tts", 1, text="three", seconds=1.0),
            row("tts", 2, text="three one", seconds=2.0),
        ],
    }
    for kind, made in rows.items():
        pq.write_table(pa.Table.from_pylist(made, schema=SCHEMA), folder / f"{kind}-00000.parquet")
    return folder


@pytest.fixture(scope="module")
def v2c(tmp_path_factory):
    """A film of 4 s at 24 pictures a second in stereo, 480 pixels wide: three parts in it and one behind its end."""
    root = tmp_path_factory.mktemp("v2c")
    (root / "movies").mkdir()
    (root / "SRT").mkdir()
    with av.open(str(root / "movies" / "Ice.mp4"), "w") as container:
        pictures, track = container.add_stream("libx264", rate=24), container.add_stream("aac", rate=48_000)
        pictures.width, pictures.height, pictures.pix_fmt, track.layout = 480, 320, "yuv420p", "stereo"
        for index in range(96):
            picture = np.full((320, 480, 3), 2 * index + 10, np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode(None))
        sound = tone(4.0, 300, rate=48_000) + tone(4.0, 3000, rate=48_000)
        sound[int(2.6 * 48_000) :] = tone(4.0, 300, rate=48_000)[int(2.6 * 48_000) :]  # the last part has no background
        frame = av.AudioFrame.from_ndarray(np.stack([sound, sound]), "fltp", "stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    (root / "SRT" / "Ice.srt").write_text(SRT)
    said = {"Ice": {"Elsa": ["0000", "0001", "0002"], "Old Man": ["0003"]}}
    (root / "movie_speaker_id.json").write_text(json.dumps(said))
    names = ["Elsa_00_0000_00", "Elsa_00_0001_00", "Elsa_00_0002_00", "Old Man_00_0003_00"]
    (root / "test.txt").write_text("".join(f"Ice@{name}|text\n" for name in names))
    return root


class LowBand:
    """All below 1 kHz is speech."""

    name = "below 1 kHz"

    def __call__(self, waveform, sample_rate):
        spectrum = torch.fft.rfft(waveform)
        spectrum[round(1000 * len(waveform) / sample_rate) :] = 0
        return torch.fft.irfft(spectrum, len(waveform))


def built(*arguments, separator=None):
    return run(_parser().parse_args([str(argument) for argument in arguments]), separator)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_corpus_becomes_a_set_with_reasons_for_what_is_left_out(corpus, tmp_path):
    card = built("--corpus", corpus, "--out", tmp_path / "mini")
    assert (card["found"], card["kept"]) == (5, 3)
    assert [one["id"] for one in card["left_out"]] == ["test-joint-1", "test-joint-3"]
    assert card["left_out"][0]["reason"].startswith("speech is at -63")
    assert card["reasons"] == {"speech is at # dB, below # dB": 1, "no film": 1}
    assert card["seconds"] == pytest.approx(1.2 + 1.2 + 1.4)
    found = read_set(tmp_path / "mini")
    assert (found.name, len(found.clips)) == ("mini", 3)
    for clip in found.clips:
        assert probe(clip.video).has_audio is False
        lengths = {read_audio(path).num_samples for path in (clip.speech, clip.background)}
        assert lengths == {round(probe(clip.video).duration * RATE)} == {round(clip.duration * RATE)}
        assert clip.events == (0.3,)
    assert found.clips[0].script == "one two"


def test_a_voice_is_another_recording_with_other_words_and_a_long_one(corpus, tmp_path):
    built("--corpus", corpus, "--out", tmp_path)
    voices = {clip.id: clip.voice_of for clip in read_set(tmp_path).clips}
    # "one, two" are the words of the first clip, and "three" is short beside "three one".
    assert voices == {"test-joint-0": "test-tts-2", "test-joint-2": "test-joint-4", "test-joint-4": "test-joint-2"}


def test_a_speaker_of_one_text_lends_the_own_voice_and_is_counted(corpus, tmp_path):
    (tmp_path / "test").mkdir()
    shutil.copy(corpus / "joint-00000.parquet", tmp_path / "test")
    card = built("--corpus", tmp_path / "test", "--out", tmp_path / "mini", "--clips", 2)
    assert card["own_voice"] == 2
    assert [clip.voice_of for clip in read_set(tmp_path / "mini").clips] == ["test-joint-0", "test-joint-2"]


def test_the_same_corpus_gives_the_same_set_and_nothing_is_written_twice(corpus, tmp_path):
    for name in ("first", "second"):
        built("--corpus", corpus, "--out", tmp_path / name, "--name", "mini")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    (tmp_path / "first" / "set.json").unlink()
    lost = tmp_path / "first" / "clips" / "test-joint-2.speech.flac"
    lost.unlink()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "first" / "clips").glob("test-joint-[04]*")}
    built("--corpus", corpus, "--out", tmp_path / "first", "--name", "mini")
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_as_many_clips_as_asked_for_or_an_error(corpus, tmp_path):
    assert built("--corpus", corpus, "--out", tmp_path / "two", "--clips", 2)["kept"] == 2
    with pytest.raises(InputError, match="has 3 clips to keep, 9 were asked for"):
        built("--corpus", corpus, "--out", tmp_path / "nine", "--clips", 9)


def test_films_become_a_set_by_the_papers_preparation(v2c, tmp_path):
    arguments = ("--layout", "v2c", "--root", v2c, "--out", tmp_path / "bench", "--no-ray", "--rows-per-shard", 2)
    card = built(*arguments, separator=LowBand())
    assert (card["found"], card["kept"]) == (4, 2)
    reasons = {one["id"]: one["reason"] for one in card["left_out"]}
    assert reasons["v2c/Ice/Elsa/0002"].startswith("background is at -")
    assert "the film is shorter than its subtitles" in reasons["v2c/Ice/Old Man/0003"]
    first, second = read_set(tmp_path / "bench").clips
    assert (first.script, second.script, first.source) == ("One two.", "Three!", "v2c")
    assert (first.voice_of, second.voice_of) == (second.id, first.id)
    assert first.events is None
    info = probe(first.video)
    assert (info.width, info.height, info.has_audio) == (360, 240, False)
    for clip in (first, second):
        seconds = probe(clip.video).duration
        assert clip.duration == pytest.approx(seconds, abs=1e-5)
        assert read_audio(clip.speech).num_samples == round(clip.duration * 48_000)
    background = read_audio(second.background).waveform[0, 0]
    spectrum = torch.fft.rfft(background[2400:-2400]).abs()
    assert int(spectrum.argmax()) * 48_000 / (len(background) - 4800) == pytest.approx(3000, abs=10)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix in (".mp4", ".parquet")}
    assert len(stamps) == 4
    before = contents(tmp_path / "bench")
    built(*arguments, separator=LowBand())
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert contents(tmp_path / "bench") == before


def test_a_part_of_a_film_begins_with_the_picture_that_is_on_the_screen(v2c, tmp_path):
    film = v2c / "movies" / "Ice.mp4"
    for start, duration, shown in ((0.0, 0.5, range(12)), (0.51, 0.25, range(12, 19)), (3.9, 1.0, range(93, 96))):
        path = tmp_path / f"{start}.mp4"
        write_film_part(film, path, start=start, duration=duration, height=64)
        levels = [picture.mean() for picture in read_pictures(path)]
        assert levels == pytest.approx([2 * index + 10 for index in shown], abs=2)
        assert probe(path).duration == pytest.approx(min(duration, 4.0 - start), abs=1 / 24 + 0.001)
    with pytest.raises(InputError, match=r"Ice.mp4: has no pictures from 9.000 s on"):
        write_film_part(film, tmp_path / "gone.mp4", start=9.0, duration=1.0, height=64)
    assert not (tmp_path / "gone.mp4").exists()


def test_what_cannot_be_made_is_said_in_one_line(corpus, v2c, tmp_path, capsys):
    mini = ["--out", str(tmp_path / "out"), "--no-ray"]
    for arguments, message in (
        ([], "give either --corpus FOLDER, or --layout and --root"),
        (["--corpus", str(corpus), "--layout", "v2c"], "give either --corpus"),
        (["--layout", "v2c"], "needs --root"),
        (["--layout", "v2c", "--root", str(v2c)], "give --separator a checkpoint"),
        (["--layout", "v2c", "--root", str(v2c), "--separator", str(tmp_path / "no.ckpt")], "no such file"),
        (["--corpus", str(tmp_path)], "no joint clips; make some"),
    ):
        with pytest.raises(SystemExit):
            main([*mini, *arguments])
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out" / "set.json").exists()


def test_the_command_says_what_it_made(corpus, tmp_path, capsys):
    main(["--corpus", str(corpus), "--out", str(tmp_path / "mini"), "--clips", "3"])
    said = capsys.readouterr().out
    assert "3 clips of 5" in said
    assert "left out 1: speech is at # dB, below # dB" in said


@pytest.mark.slow
def test_ray_makes_the_set_of_the_loop(v2c, tmp_path):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    common = ("--layout", "v2c", "--root", v2c, "--rows-per-shard", 2, "--name", "bench")
    built(*common, "--out", tmp_path / "loop", "--no-ray", separator=LowBand())
    try:
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        built(*common, "--out", tmp_path / "spread", "--ray", separator=LowBand())
    finally:
        ray.shutdown()
    assert contents(tmp_path / "loop") == contents(tmp_path / "spread")
