"""Which takes pass, and takes made until one does."""

from dataclasses import replace

import pytest
import torch

from dualdub_core.dualbench.leak import joint_loudness, leaked_share
from dualdub_core.dualbench.levels import levels
from dualdub_core.dualbench.scoring import Judges
from dualdub_core.errors import ConfigError, InputError
from dualdub_core.gate.gate import FIGURES, Thresholds, Verdict, applicable, judged, reading
from dualdub_core.gate.picture import draw_gate
from dualdub_core.gate.rolling import Roll, first_that_passes, free_streams
from dualdub_core.pipeline import Lock, sample_codes
from dualdub_core.sampling import SamplingConfig, Seeds, StreamSampling
from dualdub_core.scripts.formats import parse_script
from dualdub_core.scripts.scripted import sample_script
from dualdub_core.system import Take
from dualdub_core.text import TextTokenizer
from dualdub_core.timing import video_feature_times
from dualdub_core.types import Audio, Soundtrack, Stream, Task, VideoFeatures

SECONDS = 0.7
SPEECH, BACKGROUND = Stream.SPEECH, Stream.BACKGROUND


def scores(**changes) -> dict:
    """Figures of a good take; `changes` by the threshold's name."""
    values = {
        "sync": {"av_align": {"background": 0.4}, "turned round": {"background": 0.15}},
        "levels": {
            "mix": {"lufs": -23.0, "clipped_share": 0.0},
            "speech": {"lufs": -24.0, "rms_dbfs": -26.0, "clipped_share": 0.0},
            "background": {"lufs": -30.0, "rms_dbfs": -31.0, "clipped_share": 0.0},
        },
        "leak": {"background": 0.02},
        "words": {"wer": 0.1},
        "voice": {"sim_ref": 0.8},
    }
    for name, value in changes.items():
        *groups, key = FIGURES[name].path
        place = values
        for group in groups:
            place = place[group]
        place[key] = value
    return values


def fails(name: str, value: float = 1.0) -> Verdict:
    """A verdict in which only one threshold is not met, by so many notches."""
    figure = FIGURES[name]
    good = reading(scores(), name)
    return judged(scores(), Thresholds(**{name: good + (1 if figure.at_least else -1) * value * figure.step}))


@pytest.fixture
def make(tiny_model):
    """Samples a take as the plain sampler does, and keeps what it was asked."""

    def take(roll: Roll) -> Take:
        times = video_feature_times(SECONDS)
        features = torch.randn(times.numel(), 8, generator=torch.Generator().manual_seed(0))
        codes = sample_codes(
            tiny_model,
            TextTokenizer.mini(),
            task=Task.JOINT,
            features=VideoFeatures(torch.nn.functional.normalize(features, dim=-1), times, SECONDS),
            script="one red ball",
            seeds=roll.seeds,
            locks=roll.locks,
        )
        take.made.append(roll.kept(codes))
        return Take(codes=take.made[-1], soundtrack=None, mixed=None)

    take.made = []
    return take


def in_turn(*verdicts):
    left = iter(verdicts)
    return lambda take: next(left)


def test_a_take_that_meets_all_limits_passes_with_rank_0():
    limits = Thresholds(
        sync=0.4, sync_margin=0.25, quietest=-23, loudest=-23, clipped=0, speech_level=-26, background_level=-31,
        leak=0.02, wrong_words=0.1, similarity=0.8,
    )  # fmt: skip
    verdict = judged(scores(), limits)
    assert verdict.passed
    assert verdict.rank == 0
    assert limits.asked.keys() == FIGURES.keys()
    assert judged({}, Thresholds()).passed


@pytest.mark.parametrize(
    ("name", "value", "steps", "streams"),
    [
        ("sync", 0.2, 2.0, (BACKGROUND,)),
        ("speech_level", -38.0, 2.0, (SPEECH,)),
        ("background_level", -37.0, 1.0, (BACKGROUND,)),
        ("leak", 0.32, 3.0, (BACKGROUND,)),
        ("wrong_words", 0.35, 2.5, (SPEECH,)),
        ("similarity", 0.75, 0.5, (SPEECH,)),
    ],
)
def test_a_failure_says_how_far_off_it_is_and_whom_to_sample_anew(name, value, steps, streams):
    limit = reading(scores(), name)
    verdict = judged(scores(**{name: value}), Thresholds(**{name: limit}))
    assert verdict.streams == streams
    assert verdict.rank == pytest.approx(-steps)
    (failure,) = verdict.failures
    assert f"{name.replace('_', ' ')} {value:.3g}" in str(failure)
    assert f"{FIGURES[name].bound} {limit:.3g}" in str(failure)


def test_ranks_add_up_so_the_least_bad_take_is_the_highest():
    limits = Thresholds(sync=0.4, leak=0.02)
    ranks = [judged(scores(**bad), limits).rank for bad in ({}, {"sync": 0.3}, {"leak": 0.2}, {"sync": 0, "leak": 1})]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[-1] == pytest.approx(-4 - 9.8)


def test_a_loud_mix_is_the_fault_of_the_stem_that_is_too_loud_alone():
    values = scores(loudest=-10.0)
    values["levels"]["background"]["lufs"] = -10.5
    assert judged(values, Thresholds(loudest=-14)).streams == (BACKGROUND,)
    assert judged(scores(loudest=-10.0), Thresholds(loudest=-14)).streams == (SPEECH, BACKGROUND)


def test_a_silent_take_fails_loudness_and_does_not_crash():
    silence = Audio(torch.zeros(1, 1, 24_000), 24_000)
    stems = Soundtrack(silence, silence)
    measured = {"mix": stems.sum(), "speech": silence, "background": silence}
    values = {name: levels(sound, 1.0) for name, sound in measured.items()}
    told = {
        "levels": {
            n: {"lufs": None, "rms_dbfs": v.rms_dbfs, "clipped_share": v.clipped_share} for n, v in values.items()
        },
        "leak": {"background": leaked_share(silence, silence), "joint": joint_loudness(silence, silence)},
    }
    assert values["mix"].lufs == -float("inf")
    verdict = judged(told, Thresholds(quietest=-40, loudest=-10, clipped=0, speech_level=-40, leak=0.1))
    assert [failure.name for failure in verdict.failures] == ["quietest", "speech_level"]
    assert str(verdict.failures[0]) == "quietest -70 LUFS, asked at least -40 LUFS"
    assert verdict.streams == (SPEECH, BACKGROUND)


def test_a_figure_that_could_not_be_measured_fails_what_asks_for_it():
    verdict = judged({"sync": None, "leak": {"background": None}}, Thresholds(sync=0.1, sync_margin=0.0, leak=0.1))
    assert [str(failure).split(",")[0] for failure in verdict.failures] == [
        "sync not measured", "sync margin not measured", "leak not measured",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quietest": -10.0, "loudest": -20.0}, "no take is at least -10 and at most -20 LUFS"),
        ({"leak": float("nan")}, "leak: got nan, expected a number"),
    ],
)
def test_thresholds_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Thresholds(**changes)


@pytest.mark.parametrize(
    ("asked", "given", "message"),
    [
        ({"sync": 0.1}, {}, "sync: is asked for, but there is no video; give one"),
        ({"sync": 0.1}, {"task": Task.SPEECH, "has_video": True}, "task 'speech' writes no background"),
        ({"wrong_words": 0.2}, {"has_script": True}, r"wrong_words: .* no recogniser \(word_judge\); give one"),
        ({"wrong_words": 0.2}, {"judges": Judges(transcriber=object())}, "wrong_words: .* no script"),
        ({"similarity": 0.2}, {"has_voice": True}, r"similarity: .* no speaker network \(voice_judge\)"),
        ({"similarity": 0.2}, {"judges": Judges(speakers=object())}, "similarity: .* no recording of the speaker"),
    ],
)
def test_what_nothing_can_tell_is_refused_in_one_line(asked, given, message):
    with pytest.raises(InputError, match=message) as error:
        applicable(Thresholds(**asked), **{"task": Task.JOINT, **given})
    assert len(str(error.value).splitlines()) == 1


def test_the_level_of_a_stream_that_is_not_written_is_not_asked():
    limits = Thresholds(speech_level=-40, background_level=-40, leak=0.1)
    assert applicable(limits, Task.JOINT) == limits
    assert applicable(limits, Task.SPEECH) == replace(limits, background_level=None)
    assert applicable(limits, Task.BACKGROUND) == replace(limits, speech_level=None)


def test_a_take_below_a_threshold_is_sampled_again_and_the_first_that_passes_is_it(make):
    outcome = first_that_passes(make, in_turn(fails("leak"), fails("leak"), judged(scores(), Thresholds())),
                                seeds=Seeds(speech=3, background=8), limit=5)  # fmt: skip
    assert outcome.passed
    assert outcome.take.codes is make.made[2]
    assert [(a.roll.seeds.speech, a.roll.seeds.background) for a in outcome.attempts] == [(3, 8), (3, 9), (3, 10)]
    assert outcome.text().splitlines()[0] == "take 3 passed"
    first_that_passes(make, in_turn(fails("leak"), fails("leak")), seeds=Seeds(speech=3, background=8), limit=2)
    assert torch.equal(make.made[4].background, make.made[1].background)


@pytest.mark.parametrize(
    ("name", "changes", "stays"), [("leak", "background", "speech"), ("wrong_words", "speech", "background")]
)
def test_the_stream_that_did_not_fail_keeps_its_codes(make, name, changes, stays):
    first_that_passes(make, in_turn(fails(name), fails(name)), seeds=Seeds(), limit=2)
    first, second = make.made
    assert torch.equal(getattr(first, stays), getattr(second, stays))
    assert not torch.equal(getattr(first, changes), getattr(second, changes))


def test_both_streams_are_sampled_anew_where_it_is_not_known_which_failed(make):
    first_that_passes(make, in_turn(fails("quietest"), fails("quietest")), seeds=Seeds(), limit=2)
    first, second = make.made
    assert not torch.equal(first.speech, second.speech)
    assert not torch.equal(first.background, second.background)


def test_lines_that_are_kept_stay_silent_between_their_slots(tiny_model, tiny_codec):
    script = parse_script("[00:00.1-00:00.3] one [00:00.4-00:00.6] two")
    times = video_feature_times(SECONDS)
    features = VideoFeatures(torch.ones(times.numel(), 8) / 8**0.5, times, SECONDS)
    made = []

    def make(roll):
        codes = sample_script(
            tiny_model, TextTokenizer.mini(), tiny_codec, script=script, features=features, seeds=roll.seeds,
            locks=roll.locks,
        )  # fmt: skip
        made.append(roll.kept(codes))
        return Take(codes=made[-1], soundtrack=None, mixed=None)

    first_that_passes(make, in_turn(fails("leak"), fails("wrong_words"), fails("leak")), seeds=Seeds(), limit=3)
    first, second, third = made
    assert torch.equal(first.speech, second.speech)
    assert first.spoken == second.spoken == third.spoken
    assert not torch.equal(first.background, second.background)
    assert torch.equal(second.background, third.background)
    assert not torch.equal(second.speech, third.speech)


def test_at_the_limit_the_best_take_is_it_and_says_what_failed(make):
    verdicts = (fails("leak", 5), fails("leak", 2), fails("leak", 9))
    outcome = first_that_passes(make, in_turn(*verdicts), seeds=Seeds(), limit=3)
    assert not outcome.passed
    assert outcome.best.roll.number == 2
    assert outcome.take.codes is make.made[1]
    assert outcome.text().splitlines()[0] == "none of 3 passed, take 2 is the best; the limit is 3"
    told = outcome.as_dict(Thresholds(leak=0.01))
    assert told["leak"] == scores()["leak"]
    assert told["gate"]["failed"] == [str(failure) for failure in outcome.best.verdict.failures]
    assert [take["rank"] for take in told["gate"]["takes"]] == [-5, -2, -9]
    assert [take["sampled"] for take in told["gate"]["takes"]] == [["speech", "background"], *[["background"]] * 2]


def test_a_stream_that_no_seed_changes_is_not_sampled_in_vain(make):
    outcome = first_that_passes(make, in_turn(fails("leak")), seeds=Seeds(), streams=(SPEECH,), limit=9)
    assert len(make.made) == 1
    assert outcome.stopped == "no new seed changes the background"


def test_cancel_between_takes_passes_through(make):
    def cancel(stage, done, total):
        if (stage, done) == ("takes", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first_that_passes(make, in_turn(fails("leak")), seeds=Seeds(), limit=3, progress=cancel)
    assert len(make.made) == 1


def test_a_callers_own_cancel_in_the_middle_of_a_take_is_not_a_mishap(make):
    class CancelledError(RuntimeError):
        pass

    def make_one(roll):
        if roll.number == 2:
            raise CancelledError
        return make(roll)

    with pytest.raises(CancelledError):
        first_that_passes(make_one, in_turn(fails("leak")), seeds=Seeds(), limit=3)


def test_the_best_take_outlives_a_later_one_that_fails(make):
    def make_two(roll):
        if roll.number == 3:
            raise torch.OutOfMemoryError("out of memory")
        return make(roll)

    outcome = first_that_passes(make_two, in_turn(fails("leak", 4), fails("leak", 6)), seeds=Seeds(), limit=9)
    assert outcome.take.codes is make.made[0]
    assert outcome.stopped == "take 3 failed (out of memory)"
    with pytest.raises(RuntimeError, match="out of memory"):
        first_that_passes(lambda roll: make_two(replace(roll, number=3)), in_turn(), seeds=Seeds(), limit=2)
    with pytest.raises(InputError, match="got a limit of 0 takes, expected at least 1"):
        first_that_passes(make, in_turn(), seeds=Seeds(), limit=0)


def test_seeds_change_streams_that_are_neither_locked_nor_greedy():
    codes = torch.zeros(1, 28, dtype=torch.long)
    assert free_streams(Task.JOINT) == (SPEECH, BACKGROUND)
    assert free_streams(Task.SPEECH) == (SPEECH,)
    assert free_streams(Task.JOINT, locks=[Lock(SPEECH, codes)]) == (BACKGROUND,)
    assert free_streams(Task.JOINT, locks=[Lock(SPEECH, codes, 0.0, 0.2)]) == (SPEECH, BACKGROUND)
    greedy = SamplingConfig(background=StreamSampling(temperature=0))
    assert free_streams(Task.JOINT, sampling=greedy) == (SPEECH,)


def test_the_picture_has_a_row_for_each_take(make):
    verdicts = (judged(scores(sync=0.1), Thresholds(sync=0.3, leak=0.1)), judged(scores(), Thresholds()))
    outcome = first_that_passes(make, in_turn(*verdicts), seeds=Seeds(), limit=2)
    pictures = [
        draw_gate(outcome.attempts[:count], Thresholds(sync=0.3, leak=0.1), best=2, title="two") for count in (1, 2)
    ]
    assert pictures[1].height - pictures[0].height == 58
    assert pictures[1].size[0] == pictures[0].size[0]
    assert len(pictures[1].getcolors(1 << 16)) > 5
    draw_gate(outcome.attempts, Thresholds(), best=2)
