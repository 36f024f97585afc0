from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualdub_core.errors import ConfigError, InputError
from dualdub_core.long.plan import plan_long
from dualdub_core.long.plan_picture import draw_long_plan
from dualdub_core.long.windows import WindowConfig, plan_windows
from dualdub_core.scripts.cues import parse_cues
from dualdub_core.timing import FrameClock

CODES = FrameClock(sample_rate=24_000, hop_length=600)
TEN = WindowConfig(longest=10.0, context=2.0)


def edges(num_frames: int, **changes) -> list[tuple[int, int]]:
    return [(w.start, w.end) for w in plan_windows(num_frames, CODES, **({"config": TEN} | changes))]


def test_a_clip_up_to_the_longest_window_is_one():
    assert edges(400) == [(0, 400)]
    assert edges(1) == [(0, 1)]
    (window,) = plan_windows(400, CODES, cuts=[3.0], cues=[(1.0, 2.0)], config=TEN)
    assert (window.context, window.is_cut, window.cues) == (0, False, (0,))


def test_without_cuts_and_cues_windows_are_equal():
    assert edges(401) == [(0, 201), (201, 401)]
    assert edges(1000) == [(0, 334), (334, 667), (667, 1000)]


def test_windows_end_at_the_last_cut_within_reach_and_start_afresh_there():
    windows = plan_windows(1000, CODES, cuts=[3.0, 8.0, 9.5, 17.0], config=TEN)
    assert [(w.start, w.end, w.context, w.is_cut) for w in windows] == [
        (0, 380, 0, False), (380, 680, 0, True), (680, 1000, 0, True),
    ]  # fmt: skip


def test_at_cuts_windows_may_hear_on_or_cuts_may_not_matter():
    def windows(at_cuts):
        config = WindowConfig(longest=10.0, context=2.0, at_cuts=at_cuts)
        return [(w.start, w.context) for w in plan_windows(700, CODES, cuts=[6.0], config=config)]

    assert windows("carry on") == [(0, 0), (240, 80), (470, 80)]
    assert windows("ignore") == [(0, 0), (350, 80)]


def test_a_far_cut_ends_a_stretch_that_is_divided_evenly():
    assert edges(900, cuts=[15.0]) == [(0, 300), (300, 600), (600, 900)]
    assert edges(900, cuts=[0.1, 15.0]) == [(0, 300), (300, 600), (600, 900)]


def test_a_window_ends_beside_a_cue_that_lies_at_its_end():
    assert edges(600, cues=[(7.0, 9.0)]) == [(0, 280), (280, 600)]
    assert edges(600, cues=[(5.0, 8.0)]) == [(0, 320), (320, 600)]
    assert edges(600, cues=[(7.0, 9.0)], cuts=[8.0]) == [(0, 280), (280, 600)]


def test_a_cue_longer_than_a_window_is_cut_and_no_other():
    windows = plan_windows(1200, CODES, cues=[(2.0, 16.0), (17.0, 21.0)], config=TEN)
    assert [(w.start, w.end, w.cues) for w in windows] == [
        (0, 80, ()), (80, 480, (0,)), (480, 840, (0, 1)), (840, 1200, ()),
    ]  # fmt: skip


def test_context_is_never_more_than_the_window_before():
    config = WindowConfig(longest=10.0, context=5.0, at_cuts="carry on")
    windows = plan_windows(700, CODES, cuts=[3.0, 12.0], config=config)
    assert [(w.start, w.context) for w in windows] == [(0, 0), (120, 120), (480, 200)]


def test_a_cue_that_moves_changes_only_windows_of_its_stretch_between_cuts():
    cuts = [9.0, 18.5, 40.0]
    before = edges(2400, cuts=cuts, cues=[(25.0, 27.0)])
    after = edges(2400, cuts=cuts, cues=[(25.5, 28.0)])
    assert before[:2] == after[:2] == [(0, 360), (360, 740)]
    assert before != after
    assert [w for w in before if w[0] >= 1600] == [w for w in after if w[0] >= 1600]


spans = st.lists(st.tuples(st.floats(0, 80), st.floats(0.01, 30)), max_size=12)


@settings(max_examples=100, deadline=None)
@given(
    num_frames=st.integers(1, 4000),
    hop=st.sampled_from([600, 320, 601, 1920]),
    cuts=st.lists(st.floats(0, 100), max_size=15),
    spans=spans,
    longest=st.floats(1, 20),
    at_cuts=st.sampled_from(["start afresh", "carry on", "ignore"]),
)
def test_windows_cover_every_frame_once_and_cut_only_cues_that_do_not_fit(
    num_frames, hop, cuts, spans, longest, at_cuts
):
    clock = FrameClock(sample_rate=24_000, hop_length=hop)
    cues = [(start, start + length) for start, length in spans]
    config = WindowConfig(longest=longest, context=longest / 4, at_cuts=at_cuts)
    windows = plan_windows(num_frames, clock, cuts=cuts, cues=cues, config=config)
    most = max(1, clock.frame_at(longest))
    assert [w.index for w in windows] == list(range(len(windows)))
    assert windows[0].start == 0 == windows[0].context
    assert windows[-1].end == num_frames
    assert all(a.end == b.start for a, b in pairwise(windows))
    assert all(0 < w.num_frames <= most and w.first >= 0 for w in windows)
    merged: list[list[int]] = []
    for first, last in sorted((clock.frame_at(s), max(clock.frame_at(s) + 1, clock.frame_at(e))) for s, e in cues):
        if merged and first < merged[-1][1]:
            merged[-1][1] = max(last, merged[-1][1])
        else:
            merged.append([first, last])
    for window in windows[1:]:
        assert all(last - first > most for first, last in merged if first < window.start < last)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"longest": 0.5}, "got 0.5 s as the longest, expected 1 to 600"),
        ({"context": 6.0}, "got 6.0 s of context, expected 0 to 5, half the longest"),
        ({"at_cuts": "stop"}, "got 'stop' at cuts, expected one of"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        WindowConfig(**({"longest": 10.0, "context": 2.0} | changes))
    with pytest.raises(InputError, match="got 0 frames"):
        plan_windows(0, CODES)


def test_every_word_is_said_in_one_window():
    text = " ".join(f"word{n}" for n in range(60))
    plan = plan_long(CODES, 30.0, script=parse_cues(f"[00:01.0-00:25.0] [Anna] {text} [00:26] the end"), config=TEN)
    assert len(plan.windows) > 2
    pieces = [piece for window in plan.windows for piece in plan.said(window.start, window.end)]
    assert " ".join(piece.said.text for piece in pieces) == f"{text} the end"
    assert {piece.said.speaker for piece in pieces} == {"Anna"}
    for window in plan.windows:
        for piece in plan.said(window.start, window.end):
            assert 0 <= piece.said.start < piece.said.end <= CODES.duration(window.num_frames) + 1e-9


def test_words_alone_are_divided_into_sentences_where_the_clip_is_long():
    text = "It rains. Who is there? 你好。再见。 Nobody, at 3.5 metres!"
    assert len(plan_long(CODES, 8.0, script=text).lines.lines) == 1
    lines = plan_long(CODES, 80.0, script=text).lines.lines
    assert [line.text for line in lines] == [
        "It rains.", "Who is there?", "你好。", "再见。", "Nobody, at 3.5 metres!",
    ]  # fmt: skip


@pytest.mark.parametrize("fps", [24_000 / 1001, 29.97, 12.5, 59.94])
def test_any_frame_rate_gives_exact_windows(fps):
    duration = 777 / fps
    plan = plan_long(CODES, duration, cuts=[n / fps for n in (101, 402, 403)])
    assert plan.windows[-1].end == CODES.num_frames(duration)
    assert sum(window.num_frames for window in plan.windows) == CODES.num_frames(duration)


def test_the_plan_is_shown_as_a_table_and_a_picture():
    script = parse_cues("[00:01-00:02] hello [00:11-00:13] [Ben] there")
    plan = plan_long(CODES, 130.0, script=script, cuts=[9.0, 17.0], config=TEN)
    rows = plan.table().splitlines()
    assert rows[1].split() == ["1", "00:00.000", "00:09.000", "9.00", "0.00", "1"]
    assert rows[2].split() == ["2|", "00:09.000", "00:17.000", "8.00", "0.00", "2"]
    assert "14 windows in 130.000 s, 2 cuts; the longest run takes 11" in rows[-1]
    assert plan.as_dict()["windows"][1]["lines"] == [2]
    picture = draw_long_plan(plan)
    assert picture.size == (960, 3 * 92 + 12)
    assert (196, 80, 74) in {colour for _, colour in picture.getcolors(1 << 20)}
    assert draw_long_plan(plan_long(CODES, 0.1)).height == 104
    assert draw_long_plan(plan_long(CODES, 7200.0)).height == 40 * 92 + 12
