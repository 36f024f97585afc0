"""Tiny trees in the published layouts, and what is read out of them."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from dualdub_core.errors import InputError
from dualdub_core.media.sound import read_audio
from dualdub_core.media.video import read_frames
from dualdub_core.timing import nearest_times, video_feature_times
from dualdub_core.types import Task
from train.datasets import LAYOUTS, Clip, anim400k_clips, libritts_clips, v2c_clips, vggsound_clips
from train.datasets.clip import split_by
from train.datasets.v2c import read_subtitles
from train.films import read_film_pictures, read_film_sound
from train.precompute import LeftOut, read
from train.stems import CORPUS, to_row

RATE = 48_000
SRT = """1
00:00:00,500 --> 00:00:01,250
<i>One two.</i>

2
00:00:03,030 --> 00:00:04,700
{\\an8}Three
45

3
00:00:05,000 --> 00:00:06,5
- Six?
"""


def beeps(seconds, channels):
    """Each channel has its own tone, all a click at every whole second and a third."""
    times = np.arange(round(seconds * RATE)) / RATE
    sound = np.stack([0.1 * np.sin(2 * np.pi * 200 * (c + 1) * times) for c in range(channels)])
    for second in range(int(seconds)):
        first = round((second + 1 / 3) * RATE)
        sound[:, first : first + 200] += 0.5 * np.hanning(200)
    return sound.astype(np.float32)


def film(path, *, seconds=6.0, channels=2, key=40):
    """Pictures brighten with time; key frames are `key` pictures apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=25, options={"g": str(key), "crf": "12"})
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
        sound = container.add_stream("aac", rate=RATE, layout=layout)
        for index in range(round(seconds * 25)):
            picture = np.full((64, 64, 3), 20 + index, np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(beeps(seconds, channels)), "fltp", layout)
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


@pytest.fixture(scope="module")
def v2c(tmp_path_factory):
    root = tmp_path_factory.mktemp("v2c")
    film(root / "movies" / "Ice.mp4", channels=6)
    (root / "SRT").mkdir()
    for name in ("Ice", "Gone"):
        (root / "SRT" / f"{name}.srt").write_text(SRT, encoding="utf-8-sig")
    said = {"Ice": {"Elsa": ["0001"], "Old_Man": ["0000"]}, "Gone": {"Nobody": ["0002"]}}
    (root / "movie_speaker_id.json").write_text(json.dumps(said))
    (root / "test.txt").write_text("Ice@Old_Man_00_0000_00|one two|Old_Man|ref|text\n")
    return root


def test_vggsound_is_its_list(tmp_path):
    (tmp_path / "vggsound.csv").write_text('a-B_1,30,"hail, rain",train\n--xyz,0,dog barking,test\ngone,5,cat,train\n')
    (tmp_path / "test").mkdir()
    for name in ("video/a-B_1_000030.mp4", "test/--xyz_000000.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    first, second, gone = vggsound_clips(tmp_path)
    assert (first.id, first.split, first.task, first.is_mix) == (
        "vggsound/a-B_1_000030",
        "train",
        Task.BACKGROUND,
        True,
    )
    assert first.sound == first.picture == tmp_path / "video/a-B_1_000030.mp4"
    assert (second.split, second.sound.name) == ("test", "--xyz_000000.mp4")
    assert not gone.sound.exists()


def test_libritts_takes_normalised_texts(tmp_path):
    for part, speaker in (("dev-clean", "84"), ("train-other-500", "1034")):
        folder = tmp_path / "LibriTTS" / part / speaker / "77"
        folder.mkdir(parents=True)
        for number in (0, 1):
            soundfile.write(folder / f"{speaker}_77_00000{number}_000000.wav", np.full(2400, 0.1), 24_000)
        (folder / f"{speaker}_77_000000_000000.normalized.txt").write_text("Mister Brown, eleven.\n")
        (folder / f"{speaker}_77_000000_000000.original.txt").write_text("Mr. Brown, 11.\n")
        (folder / f"{speaker}_77.trans.tsv").write_text("not read\n")
    clips = list(libritts_clips(tmp_path))
    assert [clip.split for clip in clips] == ["validation"] * 2 + ["train"] * 2
    assert [clip.text for clip in clips] == ["Mister Brown, eleven.", ""] * 2
    assert clips[2].id == "libritts/train-other-500/1034_77_000000_000000"
    assert {(clip.task, clip.speaker, clip.is_mix) for clip in clips[2:]} == {(Task.SPEECH, "libritts/1034", False)}
    assert libritts_clips(tmp_path / "LibriTTS").__next__() == clips[0]


def test_anim400k_keeps_shows_together(tmp_path):
    def said(name, speakers):
        return {
            "jp_clip": f"jp/{name}",
            "en_clip": name,
            "jp_text": "x",
            "en_text": f"text {name} ",
            "speakers": speakers,
        }

    shows = {
        f"show{number}": {
            "episodes": {"1": {"clips": [said(f"ab{number}", ["S1"]), said(f"ab/cd{number}", ["S1", "S2"])]}}
        }
        for number in range(40)
    }
    (tmp_path / "anim400K_anntions.json").write_text(json.dumps(shows))
    for folder in ("anim400k_audio_clips", "anim400k_video_clips"):
        (tmp_path / folder).mkdir()
    clips = {clip.id: clip for clip in anim400k_clips(tmp_path)}
    assert len(clips) == 80
    alone, both = clips["anim400k/ab7"], clips["anim400k/cd7"]
    assert alone.sound == tmp_path / "anim400k_audio_clips" / "ab" / "ab7.mp3"
    assert alone.picture == tmp_path / "anim400k_video_clips" / "ab" / "ab7.mp4"
    assert (alone.text, alone.speaker, both.speaker) == ("text ab7", "anim400k/show7/1/S1", "")
    assert all(clips[f"anim400k/ab{n}"].split == clips[f"anim400k/cd{n}"].split for n in range(40))
    assert {clip.split for clip in clips.values()} == {"train", "validation", "test"}


def test_splits_by_key_have_their_shares():
    splits = [split_by(str(key)) for key in range(4000)]
    assert splits.count("test") / 4000 == pytest.approx(0.05, abs=0.01)
    assert splits.count("validation") / 4000 == pytest.approx(0.05, abs=0.01)


def test_v2c_clips_are_parts_of_the_films(v2c):
    gone, elsa, old = v2c_clips(v2c)
    assert (elsa.id, elsa.text, elsa.start, elsa.duration) == ("v2c/Ice/Elsa/0001", "Three 45", 3.03, 1.67)
    assert elsa.sound == elsa.picture == v2c / "movies" / "Ice.mp4"
    assert (elsa.split, old.split, old.text) == ("train", "test", "One two.")
    assert gone.duration == 1.5
    assert not gone.sound.exists()


def test_subtitles_count_by_position():
    assert [subtitle.text for subtitle in read_subtitles(SRT)] == ["One two.", "Three 45", "- Six?"]
    assert read_subtitles("")[:1] == []
    empty = "7\n00:00:01,000 --> 00:00:02,000\n\n8\n00:00:03,000 --> 00:00:04,000\n12"
    assert [subtitle.text for subtitle in read_subtitles(empty)] == ["", "12"]


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
@pytest.mark.parametrize("channels", [2, 6])
def test_a_part_of_a_film_is_what_reading_all_of_it_gives(tmp_path, name, channels):
    path = film(tmp_path / name, channels=channels)
    for start, duration in ((3.03, 1.67), (0.0, 0.5), (5.2, 0.7)):
        sound, rate = read_film_sound(path, start=start, duration=duration)
        whole = read_audio(path, start=start, duration=duration).waveform[0].mean(0)
        n = min(len(whole), len(sound))
        assert (rate, len(sound)) == (RATE, round(duration * RATE))
        shifts = range(-48, 49)
        offsets = [float((sound[48 + k : n - 48 + k] - whole[48 : n - 48]).abs().max()) for k in shifts]
        # Timestamps of mkv are rounded to 1 ms.
        assert min(offsets) < 1e-3
        assert abs(shifts[int(np.argmin(offsets))]) <= (0 if name.endswith("mp4") else 48)
        pictures = read_film_pictures(path, start=start, duration=duration, size=32)
        frames = read_frames(path, start=start, duration=duration, size=32)
        assert torch.equal(pictures, frames.pixels[nearest_times(frames.times, video_feature_times(duration))])


def test_the_full_mix_is_recut_at_the_sample(v2c):
    elsa = list(v2c_clips(v2c))[1]
    row = to_row(elsa, separator=_Nothing(), picture_size=32)
    background = read(row).stems
    mix = next(stem for stream, stem in background.items() if stream.value == "background").numpy()
    expected = beeps(6.0, 6).mean(0)[round(3.03 * RATE) :][: round(1.67 * RATE)]
    times = 3.03 + np.arange(len(mix)) / RATE
    for channel in (0, 1, 2, 4, 5):  # the bass channel has no tone
        tone = np.exp(2j * np.pi * 200 * (channel + 1) * times)
        assert 2 * abs((mix * tone).mean()) == pytest.approx(0.1 / 6, rel=0.15)
    assert abs(int(mix[: RATE // 2].argmax()) - int(expected[: RATE // 2].argmax())) <= 3
    assert row["frames_shape"] == [14, 32, 32, 3]
    brightness = np.frombuffer(row["frames"], np.uint8).reshape(14, -1).mean(1)
    wanted = 20 + np.round((3.03 + np.arange(14) * 0.12) * 25)
    np.testing.assert_allclose(brightness, wanted, atol=3)
    assert (row["speaker"], row["text"], row["duration"]) == ("v2c/Ice/Elsa", "Three 45", 1.67)
    assert set(row) == set(CORPUS.names)


class _Nothing:
    """Hears no speech in anything."""

    name = "nothing"

    def __call__(self, waveform, sample_rate):
        return torch.zeros_like(waveform)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"sound": "none.mp4"}, "no such file"),
        ({"sound": "broken.mp4"}, "damaged"),
        ({"sound": "mono.mp4", "start": 1.0, "duration": 1.0}, "one channel; give the film with its full mix"),
        ({"sound": "stereo.mp4", "start": 7.0, "duration": 1.0}, "shorter than its subtitles"),
        ({"sound": "long.wav", "picture": "stereo.mp4"}, r"sound lasts 9\.00 s, pictures 6\.00 s"),
    ],
)
def test_clips_that_cannot_be_read_say_why(tmp_path, facts, reason):
    film(tmp_path / "mono.mp4", channels=1)
    film(tmp_path / "stereo.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"nothing like a film")
    soundfile.write(tmp_path / "long.wav", np.zeros(9 * 8000), 8000)
    paths = {"picture": facts["sound"]} | facts
    facts = {key: tmp_path / value if isinstance(value, str) else value for key, value in paths.items()}
    clip = Clip(id="x", task=Task.BACKGROUND, split="train", source="x", is_mix=True, **facts)
    with pytest.raises(LeftOut, match=reason):
        to_row(clip, separator=_Nothing(), picture_size=32)


def test_every_layout_names_what_it_misses(tmp_path):
    for layout in LAYOUTS.values():
        with pytest.raises(InputError, match=str(tmp_path)):
            list(layout(tmp_path))


def test_wrong_lists_are_refused(v2c, tmp_path):
    for name in ("movies", "SRT"):
        (tmp_path / name).mkdir()
    (tmp_path / "SRT" / "Ice.srt").write_text(SRT)
    (tmp_path / "movie_speaker_id.json").write_text('{"Ice": {"Elsa": ["0003"]}}')
    with pytest.raises(InputError, match="has 3 subtitles, Elsa says number 3"):
        list(v2c_clips(tmp_path))
    (tmp_path / "test.txt").write_text("Elsa 3\n")
    with pytest.raises(InputError, match="expected <film>@<character>"):
        list(v2c_clips(tmp_path))


def test_a_fingerprint_follows_the_files(tmp_path):
    clip = Clip(id="x", task=Task.SPEECH, split="train", source="x", sound=Path(tmp_path / "x.wav"))
    missing = clip.fingerprint()
    soundfile.write(clip.sound, np.zeros(100), 8000)
    assert clip.fingerprint() != missing
