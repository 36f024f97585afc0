import dataclasses
import shutil

import numpy as np
import pytest

from dualdub_core.errors import ConfigError, InputError
from dualdub_core.types import Task
from train.scenes.check import detect_onsets, match, rms_dbfs
from train.scenes.clip import make_clip
from train.scenes.config import CorpusConfig, Kind, Split
from train.scenes.face import envelope, mouth_opening, sound_onset
from train.scenes.impacts import Event, impacts
from train.scenes.rain import Rain
from train.scenes.rooms import ROOMS, impulse_response, reverberate
from train.scenes.sources import SOURCES
from train.scenes.sources.ball import Ball
from train.scenes.speech import say
from train.scenes.splits import split_of_layout, split_of_phrase
from train.scenes.voices import HELD_OUT_VOICES, TRAINING_VOICES

CONFIG = CorpusConfig.mini(3)
needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="apt-get install flite")


@pytest.fixture(scope="module")
def silent_clips():
    return [make_clip(CONFIG, Kind.V2A, split, index) for split in Split for index in range(8)]


@pytest.fixture(scope="module")
def joint_clips():
    return [make_clip(CONFIG, Kind.JOINT, split, index) for split in Split for index in range(6)]


def assert_equal(one, other):
    for field in dataclasses.fields(one):
        np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name), field.name)


def test_the_same_number_gives_the_same_clip_and_another_another(silent_clips):
    assert_equal(make_clip(CONFIG, Kind.V2A, Split.TRAIN, 1), silent_clips[1])
    assert not np.array_equal(silent_clips[0].background[:1000], silent_clips[1].background[:1000])


def test_another_seed_gives_other_clips(silent_clips):
    other = make_clip(CorpusConfig.mini(4), Kind.V2A, Split.TRAIN, 0)
    assert other.layout != silent_clips[0].layout


def test_stems_and_pictures_last_exactly_as_long_as_the_clip(silent_clips):
    for clip in silent_clips:
        assert clip.background.shape == (round(clip.duration * 24_000),)
        assert clip.pictures.shape == (round(clip.duration * 25), 64, 64, 3)
        assert clip.speech is None
        assert clip.text == ""


def test_a_layout_belongs_to_the_split_of_its_clip(silent_clips):
    assert all(split_of_layout(clip.layout) is clip.split for clip in silent_clips)


def test_the_background_begins_to_sound_when_the_events_happen(silent_clips):
    truths = [[event.time for event in clip.events] for clip in silent_clips]
    found = [detect_onsets(clip.background, 24_000).tolist() for clip in silent_clips]
    errors = [error for one, other in zip(truths, found, strict=True) for error in match(one, other)]
    assert len(errors) >= 0.97 * sum(map(len, truths))
    assert len(errors) >= 0.8 * sum(map(len, found))
    assert np.mean(np.abs(errors)) < 0.008


def test_nothing_is_heard_before_the_first_event():
    sound = impacts([Event(0.5, 1.0, "metal")], 24_000, sample_rate=24_000, size=1.0, rng=np.random.default_rng(0))
    assert not sound[:12_000].any()
    assert sound[12_000:12_240].any()


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_events_are_in_order_inside_the_clip_and_apart(name):
    for seed in range(20):
        source = SOURCES[name].draw(np.random.default_rng(seed), 3.6)
        times = [event.time for event in source.events]
        assert all(0.05 <= time <= 3.5 for time in times)
        assert all(gap > 0.2 for gap in np.diff(times))
        assert all(0 < event.strength <= 1 for event in source.events)


def test_a_ball_touches_the_floor_at_its_bounces_and_obeys_gravity():
    ball = Ball(bounces=(-0.2, 0.6, 1.2, 2.0), material="rubber", size=1.0, duration=1.8)
    times = np.arange(0, 1.6, 0.01)
    height = ball._height(times)
    assert ball._height(np.array([0.6, 1.2])) == pytest.approx([0, 0], abs=1e-9)
    fall = np.diff(height[(times > 0.02) & (times < 0.58)], 2)
    assert fall == pytest.approx(np.full_like(fall, fall[0]))
    assert fall[0] < 0
    assert [event.time for event in ball.events] == [0.6, 1.2]
    assert ball.events[0].strength > ball.events[1].strength


def test_rain_is_as_loud_as_it_looks():
    rain = Rain(knots=(0.0, 1.0, 0.0), pattern=0)
    sound = rain.sound(43_200, sample_rate=24_000, rng=np.random.default_rng(0))
    assert np.argmax(envelope(sound, sample_rate=24_000)) * 0.005 == pytest.approx(0.9, abs=0.25)
    assert rain.strength(np.array([0.45, 0.9])) == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_delays_nothing_and_rings_as_long_as_it_says(room):
    response = impulse_response(room, sample_rate=24_000, rng=np.random.default_rng(0))
    click = np.zeros(12_000, dtype=np.float32)
    click[2000] = 0.5
    wet = reverberate(click, response)
    assert np.abs(wet[:2000]).max() < 1e-6
    assert wet[2000] == pytest.approx(0.5, abs=1e-4)
    reflected = (response[1:] ** 2).sum()
    assert reflected == pytest.approx(10 ** (-room.direct_db / 10) if room.reverberation else 0, rel=1e-3)


def test_the_mouth_is_shut_in_silence_and_open_where_it_is_loud():
    time = np.arange(24_000) / 24_000
    sound = (np.sin(2 * np.pi * 200 * time) * ((time > 0.4) & (time < 0.7))).astype(np.float32)
    opening = mouth_opening(sound, np.array([0.2, 0.55, 0.9]), sample_rate=24_000)
    assert opening == pytest.approx([0, 1, 0], abs=0.01)
    assert mouth_opening(sound, np.array([0.4, 0.7]), sample_rate=24_000) == pytest.approx(0.5**0.7, abs=0.08)
    assert sound_onset(sound, sample_rate=24_000) == pytest.approx(0.4, abs=0.006)


def test_lengths_off_the_grid_of_the_features_are_refused():
    with pytest.raises(ConfigError, match=r"0\.5 s is not a whole number"):
        dataclasses.replace(CONFIG, durations=(0.5,))


def test_a_frame_rate_off_the_grid_of_the_features_is_refused():
    with pytest.raises(ConfigError, match="fps is 24"):
        dataclasses.replace(CONFIG, fps=24)


def test_without_the_synthesizer_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install flite"):
        make_clip(CONFIG, Kind.TTS, Split.TRAIN, 0)


def test_kinds_name_the_tasks_they_teach():
    assert [kind.task for kind in Kind] == [Task.BACKGROUND, Task.SPEECH, Task.JOINT, Task.SPEECH]


@needs_flite
def test_joint_clips_are_whole(joint_clips):
    for clip in joint_clips:
        assert clip.speech.shape == clip.background.shape == (round(clip.duration * 24_000),)
        assert np.abs(clip.speech + clip.background).max() < 1
        assert rms_dbfs(clip.speech) > -40
        assert rms_dbfs(clip.background) > -40
        assert [word.word for word in clip.words] == clip.text.replace(",", "").split()
        assert len(clip.mouth_onsets) == len(clip.phrases)


@needs_flite
def test_stems_are_16_bit_so_the_mix_is_exactly_their_sum(joint_clips):
    for clip in joint_clips:
        np.testing.assert_array_equal(clip.speech * 32768, np.rint(clip.speech * 32768))


@needs_flite
def test_words_are_said_in_order_and_where_there_is_sound(joint_clips):
    for clip in joint_clips:
        times = [time for word in clip.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert times[0] > 0.1
        assert times[-1] < clip.duration
        start = round(min(clip.mouth_onsets[0], clip.words[0].start) * 24_000)
        assert np.abs(clip.speech[: start - 240]).max() < 0.02 * np.abs(clip.speech).max()
        assert -0.01 < clip.mouth_onsets[0] - clip.words[0].start < 0.2  # a soft consonant comes first


@needs_flite
def test_training_clips_hold_nothing_that_is_held_out(joint_clips):
    held_out = {voice.name for voice in HELD_OUT_VOICES}
    for clip in joint_clips:
        if clip.split is Split.TEST:
            assert {"phrase", "layout"} <= set(clip.unseen)
            assert ("speaker" in clip.unseen) == (clip.speaker in held_out)
        else:
            assert clip.speaker not in held_out
            assert all(split_of_phrase(phrase) is clip.split for phrase in clip.phrases)


@needs_flite
def test_speech_only_clips_are_whole_codec_frames_and_silent_at_both_ends():
    clip = make_clip(CONFIG, Kind.TTS, Split.TRAIN, 0)
    assert len(clip.speech) % 600 == 0
    assert clip.background is None
    assert clip.pictures is None
    assert np.abs(clip.speech[:1000]).max() < 1e-3


@needs_flite
def test_a_warped_voice_takes_as_long_as_it_was_asked_to():
    plain = next(voice for voice in TRAINING_VOICES if voice.name == "rms-100")
    warped = dataclasses.replace(plain, name="warped", warp=1.2)
    one, other = (say(["two", "seven"], voice, stretch_by=1.0, sample_rate=24_000) for voice in (plain, warped))
    assert len(other.waveform) == pytest.approx(len(one.waveform), rel=0.1)
