import math
from itertools import combinations, permutations

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from PIL import Image

from dualdub_core.dualbench.intervals import mean, ratio
from dualdub_core.errors import InputError
from dualdub_core.types import Stream
from train.figures.clips import EvalClip, references
from train.figures.compose import Made
from train.figures.decoders import CODEC, decoder_figures
from train.figures.mouths import mouth_figure
from train.figures.onsets import ALONE as BACKGROUND_ALONE
from train.figures.onsets import ANOTHER as ANOTHER_VIDEO
from train.figures.onsets import LATE, count_hits, onset_figures
from train.figures.picture import paint_takes
from train.figures.table import (
    EXPECTATIONS,
    Expectation,
    Figure,
    Gate,
    expected,
    from_json,
    render,
    render_expectations,
    to_json,
    verdict,
)
from train.figures.voices import CHANCE, VoiceJudge, describe, voice_figures
from train.figures.words import ANOTHER as ANOTHER_TEXT
from train.figures.words import Listeners, word_figures

RATE = 24_000


def clip_of(index, **facts):
    values = {
        "id": f"clip-{index}",
        "duration": 1.0,
        "sample_rate": RATE,
        "stems": {},
        "text": "",
        "words": (),
        "spoken": (0.1, 0.9),
        "speaker": "",
        "unseen": frozenset(),
        "events": (),
        "mouth": None,
        "pixels": None,
    }
    return EvalClip(**(values | facts))


def clicks(times, seconds=4.0):
    """Short noises at full scale that begin at `times`."""
    rng = np.random.default_rng(0)
    sound = np.zeros(round(seconds * RATE), dtype=np.float32)
    for time in times:
        start = round(time * RATE)
        decay = np.exp(-np.arange(2400) / 400)
        sound[start : start + 2400] = rng.uniform(-0.8, 0.8, 2400) * decay
    return sound


def a_voice(pitch, colour, seed, seconds=0.8):
    """A buzz of a pitch in Hz whose partials fall off as colour says."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = pitch * (1 + 0.02 * rng.uniform(-1, 1))
    partials = np.arange(1, 30)
    sound = (partials**-colour) @ np.sin(2 * np.pi * pitch * np.outer(partials, time))
    return (0.3 * sound / np.abs(sound).max() + 1e-3 * rng.standard_normal(len(time))).astype(np.float32)


def by_key(figures):
    return {figure.key: figure for figure in figures}


def test_a_ratio_is_of_sums_and_its_interval_holds_it():
    estimate = ratio([1, 0, 3], [2, 2, 4])
    assert estimate.value == 0.5
    assert estimate.low <= 0.5 <= estimate.high
    assert estimate.num_clips == 3
    assert ratio([1, 0, 3], [2, 2, 4]) == estimate


def test_equal_clips_leave_no_doubt_and_nothing_is_no_number():
    assert (mean([0.25] * 5).low, mean([0.25] * 5).high) == (0.25, 0.25)
    assert math.isnan(mean([]).value)
    assert math.isnan(ratio([0, 0], [0, 0]).value)


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    estimate = mean(values.tolist())
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_hits_are_the_largest_matching():
    rng = np.random.default_rng(0)
    for _ in range(60):
        true, found = rng.uniform(0, 0.5, rng.integers(0, 5)), rng.uniform(0, 0.5, rng.integers(0, 5))
        few, many = sorted((true.tolist(), found.tolist()), key=len)
        best = max(
            sum(abs(a - b) <= 0.05 for a, b in zip(few, chosen, strict=True))
            for subset in combinations(many, len(few))
            for chosen in permutations(subset)
        )
        assert count_hits(true.tolist(), found.tolist(), 0.05) == best


def test_hits_are_those_of_mir_eval():
    mir_eval = pytest.importorskip("mir_eval")
    rng = np.random.default_rng(1)
    for _ in range(20):
        true, found = np.sort(rng.uniform(0, 2, 6)), np.sort(rng.uniform(0, 2, 7))
        f, _, _ = mir_eval.onset.f_measure(true, found, window=0.05)
        assert 2 * count_hits(true.tolist(), found.tolist(), 0.05) / 13 == pytest.approx(f)


EVENTS = ((0.5, 1.3, 2.4), (0.9, 1.9, 3.1), (0.7, 2.1, 2.75))


def onsets_of(sounds, *, alone=None):
    clips = [
        clip_of(i, events=times, stems={Stream.BACKGROUND: clicks(times)}, duration=4.0)
        for i, times in enumerate(EVENTS)
    ]
    made = [Made({Stream.BACKGROUND: sound}, RATE) for sound in sounds]
    return by_key(onset_figures("background" if alone is None else "joint", clips, made, alone))


def test_sound_on_every_event_scores_one_and_its_controls_nothing():
    figures = onsets_of([clicks(times) for times in EVENTS])
    assert [figures[f"background.onsets.{name}"].estimate.value for name in ("f1", "recall", "precision")] == [1, 1, 1]
    assert figures["background.onsets.f1"].controls[LATE].value == 0
    assert figures["background.onsets.f1"].controls[ANOTHER_VIDEO].value < 0.4
    assert verdict(figures["background.onsets.recall"]) == "met"


def test_sound_0_2_s_late_or_for_another_video_meets_no_gate():
    late = onsets_of([clicks([time + 0.2 for time in times]) for times in EVENTS])
    swapped = onsets_of([clicks(times) for times in EVENTS[1:] + EVENTS[:1]])
    assert late["background.onsets.recall"].estimate.value == 0
    assert swapped["background.onsets.f1"].controls[ANOTHER_VIDEO].value == 1
    for figures in (late, swapped):
        assert verdict(figures["background.onsets.recall"]) == "not met"
        assert verdict(figures["background.onsets.precision"]) == "not met"


def test_silence_meets_no_gate():
    figures = onsets_of([np.zeros(4 * RATE, dtype=np.float32)] * 3)
    assert math.isnan(figures["background.onsets.precision"].estimate.value)
    assert verdict(figures["background.onsets.precision"]) == "not met"


def test_joint_gates_are_those_of_the_background_alone_and_two_failures_do_not_meet_them():
    good, late = [clicks(times) for times in EVENTS], [clicks([t + 0.2 for t in times]) for times in EVENTS]
    assert verdict(onsets_of(good, alone=onsets_of(good))["joint.onsets.f1"]) == "met"
    assert verdict(onsets_of(late, alone=onsets_of(good))["joint.onsets.f1"]) == "not met"
    assert verdict(onsets_of(late, alone=onsets_of(late))["joint.onsets.f1"]) == "not met"
    assert verdict(onsets_of(good, alone={})["joint.onsets.f1"]) == "no reference"
    assert BACKGROUND_ALONE in onsets_of(good, alone=onsets_of(good))["joint.onsets.f1"].controls


SAID = (("one", "two"), ("three", "four"), ("red", "door"), ("my", "cat"))


def words_of(heard):
    clips = [clip_of(i, words=words, unseen=frozenset({"phrase"})) for i, words in enumerate(SAID)]
    return by_key(word_figures("speech", clips, heard, [list(words) for words in SAID]))


def test_every_word_heard_is_no_error_and_another_text_all_wrong():
    figures = words_of([list(words) for words in SAID])
    for name in ("digits", "words"):
        assert figures[f"speech.{name}.wer"].estimate.value == 0
        assert figures[f"speech.{name}.wer"].controls[ANOTHER_TEXT].value == 1
        assert verdict(figures[f"speech.{name}.wer"]) == "met"
    assert figures["speech.digits.wer"].estimate.num_clips == 2


def test_swapped_texts_are_at_the_control_and_meet_no_gate():
    swapped = words_of([list(SAID[i]) for i in (1, 0, 3, 2)])
    assert swapped["speech.digits.wer"].estimate.value == 1
    assert swapped["speech.digits.wer"].controls[ANOTHER_TEXT].value == 0
    assert verdict(swapped["speech.digits.wer"]) == verdict(swapped["speech.words.wer"]) == "not met"


class Ear:
    """Hears one word, its own name, as often as the sound has seconds."""

    def __init__(self, name):
        self.name = name
        self.calls = 0

    def hear(self, waveform, sample_rate):
        self.calls += 1
        return [self.name] * round(len(waveform) / sample_rate)


def test_digits_and_words_have_their_own_listener_and_originals_are_heard_once():
    ears = Ear("digits"), Ear("words")
    listeners = Listeners(*ears)
    sound = {Stream.SPEECH: np.zeros(2 * RATE, dtype=np.float32)}
    clips = [clip_of(0, words=("one",), stems=sound), clip_of(1, words=("red",), stems=sound)]
    assert listeners.hear(clips, [Made(sound, RATE)] * 2) == [["digits"] * 2, ["words"] * 2]
    assert listeners.hear_originals(clips) == listeners.hear_originals(clips)
    assert [ear.calls for ear in ears] == [2, 2]


VOICES = {"low": (95, 0.5), "middle": (150, 1.0), "high": (220, 1.5)}


@pytest.fixture(scope="module")
def voice_judge():
    heard = {name: [describe(a_voice(*of, seed), RATE) for seed in range(6)] for name, of in VOICES.items()}
    return VoiceJudge({name: heard[name] for name in ("low", "middle")}, {"high": heard["high"]})


def accuracy(judge, names):
    clips = [
        clip_of(
            i,
            speaker=name,
            unseen=frozenset({"speaker"} if name == "high" else ()),
            stems={Stream.SPEECH: a_voice(*VOICES[name], 50 + i)},
        )
        for i, name in enumerate(VOICES)
    ]
    made = [Made({Stream.SPEECH: a_voice(*VOICES[name], 80 + i)}, RATE) for i, name in enumerate(names)]
    return by_key(voice_figures("speech", clips, made, judge))


def test_the_asked_voice_is_found_and_a_swapped_one_is_not(voice_judge):
    right, swapped = accuracy(voice_judge, list(VOICES)), accuracy(voice_judge, ["middle", "low", "low"])
    assert right["speech.voice.accuracy"].estimate.value == right["speech.new_voice.accuracy"].estimate.value == 1
    assert right["speech.voice.accuracy"].controls[CHANCE].value == pytest.approx(1 / 3)
    assert verdict(right["speech.voice.accuracy"]) == "met"
    assert swapped["speech.voice.accuracy"].estimate.value == 0
    assert verdict(swapped["speech.voice.accuracy"]) == "not met"


def test_a_voice_is_described_whatever_its_level_and_even_in_silence():
    sound = a_voice(150, 1.0, 0)
    np.testing.assert_allclose(describe(sound, RATE), describe(sound * 0.25, RATE), atol=1e-4)
    assert np.isfinite(describe(np.zeros(600, dtype=np.float32), RATE)).all()


def test_voices_cannot_be_told_apart_from_one():
    with pytest.raises(InputError, match="got 1 to learn from"):
        VoiceJudge({"low": [np.zeros(3), np.ones(3)]}, {})


def mouths(offset):
    starts = (0.4, 1.0, 2.0)
    clips = [clip_of(i, mouth=s, stems={Stream.SPEECH: clicks([s])}) for i, s in enumerate(starts)]
    return mouth_figure(clips, [Made({Stream.SPEECH: clicks([s + offset])}, RATE) for s in starts])


def test_speech_on_the_mouth_is_on_time_and_late_speech_as_late_as_it_is():
    assert mouths(0.0).estimate.value == pytest.approx(0, abs=0.006)
    assert verdict(mouths(0.0)) == "met"
    assert mouths(0.3).estimate.value == pytest.approx(0.3, abs=0.006)
    assert verdict(mouths(0.3)) == "not met"
    assert mouths(0.0).controls["another video"].value == pytest.approx((0.6 + 1.0 + 1.6) / 3, abs=0.006)


def test_the_nearer_decoder_wins_and_the_same_does_not():
    rng = np.random.default_rng(0)
    sounds = [
        rng.uniform(-0.3, 0.3, RATE // 2).astype(np.float32) * np.hanning(RATE // 2).astype(np.float32)
        for _ in range(3)
    ]
    clips = [clip_of(i, stems={Stream.SPEECH: s, Stream.BACKGROUND: s[::-1].copy()}) for i, s in enumerate(sounds)]
    exact = [Made(clip.stems, RATE) for clip in clips]
    dull = [Made({stream: stem * 0.3 for stream, stem in clip.stems.items()}, RATE) for clip in clips]
    better, equal = decoder_figures(clips, exact, dull), decoder_figures(clips, dull, dull)
    assert [figure.key for figure in better] == [
        "decoders.speech.mel",
        "decoders.speech.stft",
        "decoders.background.mel",
        "decoders.background.stft",
    ]
    assert [figure.estimate.value for figure in better] == [0] * 4
    assert {verdict(figure) for figure in better} == {"met"}
    assert equal[0].estimate == equal[0].controls[CODEC]
    assert {verdict(figure) for figure in equal} == {"not met"}


def figure_of(value, **facts):
    return Figure(**({"key": "k", "title": "t", "better": "higher", "estimate": mean([value] * 4)} | facts))


def test_verdicts_follow_the_gate():
    assert verdict(figure_of(0.9)) == "-"
    assert verdict(figure_of(0.9, gate=Gate(bound=0.9))) == "met"
    assert verdict(figure_of(0.9, gate=Gate(bound=0.9, is_strict=True))) == "not met"
    assert verdict(figure_of(0.9, better="lower", gate=Gate(bound=0.8))) == "not met"
    assert verdict(figure_of(math.nan, gate=Gate(bound=0.0))) == "not met"
    assert verdict(figure_of(0.9, gate=Gate(bound=0.0, beside="alone"))) == "no reference"
    beside = {"alone": mean([0.94] * 4)}
    assert verdict(figure_of(0.9, controls=beside, gate=Gate(bound=-0.05, beside="alone"))) == "met"
    assert verdict(figure_of(0.9, controls=beside, gate=Gate(bound=-0.01, beside="alone"))) == "not met"


def test_a_figure_whose_interval_reaches_chance_meets_no_gate():
    controls = {"chance": mean([0.3] * 4)}
    sure = figure_of(0.5, controls=controls, chance=("chance",), gate=Gate(bound=0.4))
    unsure = figure_of(0.5, estimate=mean([0, 1, 0, 1]), controls=controls, chance=("chance",), gate=Gate(bound=0.4))
    assert (verdict(sure), verdict(unsure)) == ("met", "not met")


def test_ablations_must_be_worse_where_they_should_and_only_there():
    ours, theirs = figure_of(0.9), figure_of(0.7)
    assert expected(Expectation(key="k", worse_by=0.1), ours, theirs) == "met"
    assert expected(Expectation(key="k", worse_by=0.3), ours, theirs) == "not met"
    assert expected(Expectation(key="k", slack=0.02), ours, theirs) == "not met"
    assert expected(Expectation(key="k", slack=0.02), theirs, ours) == "met"
    assert expected(Expectation(key="k", worse_by=0.0), ours, None) == "no reference"
    at_chance = figure_of(0.5, controls={"chance": mean([0.5] * 4)}, chance=("chance",))
    assert expected(Expectation(key="k"), at_chance, at_chance) == "not met"


def test_the_table_says_not_met_and_names_controls_and_other_checkpoints():
    figure = figure_of(0.5, controls={"chance": mean([0.25] * 4)}, gate=Gate(bound=0.9))
    table = render([figure], {"other": {"k": figure_of(0.125)}})
    assert "| t | 4 | 0.500 | 0.500 to 0.500 | >= 0.9 | **not met** | chance 0.250 | 0.125 |" in table
    assert render_expectations({"k": figure}, {"other": {"k": figure}}) == ""
    shown = render_expectations({}, {"no-aligner": {}})
    assert shown.count("no reference") == len(EXPECTATIONS["no-aligner"])


def test_a_figure_survives_its_file():
    figure = figure_of(0.5, controls={"a": mean([0.25])}, chance=("a",), gate=Gate(bound=0.1, beside="a"))
    assert from_json(to_json(figure)) == figure
    assert to_json(figure)["verdict"] == "met"


def test_a_voice_reference_is_of_the_speaker_and_says_something_else():
    clips = [
        clip_of(i, speaker=who, words=(say,))
        for i, (who, say) in enumerate([("a", "one"), ("a", "one"), ("a", "two"), ("b", "one")])
    ]
    found = references(clips, clips)
    assert [clip.id for clip in found] == ["clip-2", "clip-2", "clip-0", "clip-3"]


def test_a_reference_lacks_the_silence_around_the_speech():
    clip = clip_of(0, stems={Stream.SPEECH: np.arange(RATE, dtype=np.float32)}, spoken=(0.25, 0.5))
    assert clip.voice.waveform.shape == (1, 1, round(0.35 * RATE))
    assert float(clip.voice.waveform[0, 0, 0]) == round(0.2 * RATE)


def test_takes_are_painted_with_events_and_onsets(tmp_path):
    clips = [clip_of(i, events=times, duration=4.0, text="one") for i, times in enumerate(EVENTS)]
    paint_takes(tmp_path / "new" / "takes.png", clips, [Made({Stream.BACKGROUND: clicks(t)}, RATE) for t in EVENTS])
    with Image.open(tmp_path / "new" / "takes.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 16)}
    assert {(220, 40, 40), (20, 20, 20)} <= colours
