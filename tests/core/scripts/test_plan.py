import pytest

from dualdub_core.errors import InputError
from dualdub_core.scripts.cues import parse_cues
from dualdub_core.scripts.formats import parse_script
from dualdub_core.scripts.plan import plan_script
from dualdub_core.scripts.plan_picture import draw_plan
from dualdub_core.scripts.script import Script, ScriptLine
from dualdub_core.scripts.speaking import COMFORTABLE, HURRIED, speaking_seconds, syllables


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("banana", 3),
        ("One red ball", 4),
        ("été à Noël", 4),
        ("Привет", 2),
        ("καλημέρα", 4),
        ("你好世界", 4),
        ("こんにちは", 5),
        ("안녕", 2),
        ("42", 3),
        ("hmm", 1),
        ("🙂 !", 0),
    ],
)
def test_syllables_are_counted_in_many_scripts(text, count):
    assert syllables(text) == pytest.approx(count)


def test_more_words_and_breaths_take_longer_and_haste_takes_less():
    assert speaking_seconds("banana") == pytest.approx(3 / COMFORTABLE)
    assert speaking_seconds("banana. Banana") == pytest.approx(6 / COMFORTABLE + 0.35)
    assert speaking_seconds("banana, banana.") == pytest.approx(6 / COMFORTABLE + 0.15)
    assert speaking_seconds("banana", HURRIED) == pytest.approx(3 / HURRIED)
    assert speaking_seconds("🙂") > 0


def slots(text, duration=None):
    return [(round(e.start, 3), round(e.end, 3)) for e in plan_script(parse_script(text), duration).lines]


def test_cues_are_slots_and_say_whether_the_words_fit():
    plan = plan_script(parse_cues("[00:01-00:02] banana [00:03-00:03.5] banana [00:04-00:04.2] banana"), 5.0)
    assert [(e.start, e.end, e.verdict) for e in plan.lines] == [
        (1.0, 2.0, "fits"),
        (3.0, 3.5, "tight"),
        (4.0, 4.2, "too long"),
    ]
    assert not plan.fits
    assert plan.script().lines[0] == ScriptLine("banana", 1.0, 2.0)
    assert plan.as_dict()["lines"][2]["verdict"] == "too long"


def test_words_alone_have_the_whole_clip():
    assert slots("banana", 4.0) == [(0.0, 4.0)]


def test_an_open_cue_lasts_up_to_the_next_but_not_much_longer_than_its_words():
    (first, second) = slots("[00:01] banana [00:02] banana", 30.0)
    assert first == (1.0, 2.0)
    assert second == (2.0, pytest.approx(2.0 + 2 * 3 / COMFORTABLE + 1.0, abs=1e-3))


def test_lines_without_times_share_what_is_left_by_their_words():
    first, second = slots("[Anna] banana\n[Ben] banana banana", 2.0)
    assert first[0] == 0.0
    assert second[0] == pytest.approx(first[1] + 0.25, abs=2e-3)
    assert second[1] - second[0] == pytest.approx(2 * (first[1] - first[0]), abs=2e-3)
    assert second[1] <= 2.0
    squeezed = slots("[Anna] banana\n[Ben] banana\n[00:00.5] end", 2.0)
    assert squeezed[:2] == [(0.0, 0.25), (0.25, 0.5)]


def test_slots_follow_each_other_within_the_clip():
    text = "[A] one\n[00:02-00:03] two\n[B] three, four\n[A] five\n[00:05] six\n[B] seven"
    found = slots(text, 9.0)
    edges = [edge for slot in found for edge in slot]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= 9.0
    assert found[1] == (2.0, 3.0)
    assert found[4][0] == 5.0


def test_without_a_clip_the_last_line_ends_it():
    plan = plan_script(parse_script("[00:01-00:02] a\n[00:04] banana"))
    assert plan.duration == plan.lines[-1].end > 4.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[00:10] hi", "line 1 starts at 10.000 s, but the clip lasts 4.000 s"),
        ("[00:01-00:05] hi", "line 1 ends at 5.000 s, but the clip lasts 4.000 s"),
        ("[00:01-00:02] a\n[A] b\n[00:02] c", "no time is left for line 2 between 2.000 s and 2.000 s"),
        ("[00:01-00:04] a\n[A] b", "no time is left for line 2 between 4.000 s and 4.000 s"),
    ],
)
def test_what_has_no_room_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        plan_script(parse_script(text), 4.0)


def test_rounded_ends_are_cut_to_the_clip():
    assert slots("[00:01-00:04.04] hi", 4.0) == [(1.0, 4.0)]


def test_the_table_has_a_row_a_line_and_marks_proposed_times():
    table = plan_script(parse_script("[00:01-00:02] banana\n[Ben] hi"), 4.0).table().splitlines()
    assert len(table) == 4
    assert "  1  00:01.000  00:02.000    1.00    0.58  fits      banana" in table[1]
    assert table[2].startswith("  2*")
    assert table[-1] == "2 lines in 4.000 s, every line has room"


def test_the_picture_shows_verdicts_where_the_slots_are():
    picture = draw_plan(plan_script(parse_cues("[00:01-00:02] banana [00:03-00:03.2] banana"), 4.0))
    assert picture.size == (960, 28 + 2 * 24 + 12)
    x = [12 + seconds * 936 / 4 for seconds in (1.0, 3.0)]
    assert picture.getpixel((x[0] + 1, 40)) == (74, 148, 98)
    assert picture.getpixel((x[1] + 1, 64)) == (190, 74, 68)


def test_a_long_script_has_a_picture_of_bounded_height():
    script = Script(tuple(ScriptLine("hi", float(i), i + 0.9) for i in range(500)))
    assert draw_plan(plan_script(script, 600.0)).height < 1600


def test_any_language_can_be_drawn():
    assert draw_plan(plan_script(parse_cues("[00:00] שלום 你好 🙂 नमस्ते"), 2.0)).width == 960
