import json

import pytest
import torch

from dualdub_core.scripts.captions import parse_json, parse_srt, parse_vtt
from dualdub_core.scripts.cues import parse_cues
from dualdub_core.scripts.measured import measure_lines
from dualdub_core.scripts.plan import plan_script
from dualdub_core.scripts.words import place_words, split_words
from dualdub_core.types import Audio

RATE = 16_000


def buzz(*levels: tuple[float, float]) -> torch.Tensor:
    """A tone of 1 kHz, so many seconds at each level."""
    gains = torch.cat([torch.full((round(seconds * RATE),), level) for seconds, level in levels])
    return gains * torch.sin(torch.arange(len(gains)) * (2 * torch.pi * 1000 / RATE))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I have seen the snow", ["I ", "have ", "seen ", "the ", "snow"]),
        ("wait -- what?", ["wait -- ", "what?"]),
        ("« oui »", ["« oui »"]),
        ("我们到了。走", ["我", "们", "到", "了。", "走"]),
        ("ok 好", ["ok ", "好"]),
        ("...", ["..."]),
    ],
)
def test_words_joined_are_the_line(text, words):
    assert split_words(text) == words
    assert "".join(words) == text


def test_alike_words_in_even_sound_share_it_but_for_the_last():
    placed = place_words("ten two six", buzz((1.9, 0.5)), RATE)
    shares = [word.end - word.start for word in placed]
    assert shares[0] == pytest.approx(shares[1], abs=0.02)
    assert shares[2] / shares[0] == pytest.approx(2.9 / 1.9, rel=0.05)  # a syllable more
    assert (placed[0].start, placed[-1].end) == pytest.approx((0.0, 1.9), abs=0.011)


def test_borders_move_to_quiet_moments():
    # Shares alone would put the border at 0.39 s.
    waveform = buzz((0.5, 0.5), (0.06, 0.02), (0.44, 0.5))
    assert place_words("one two", waveform, RATE)[1].start == pytest.approx(0.53, abs=0.04)


def test_a_pause_belongs_to_no_word():
    first, second = place_words("one, two", buzz((0.5, 0.5), (0.6, 0.0), (0.5, 0.5)), RATE, begin=10.0)
    assert (first.start, first.end, second.start, second.end) == pytest.approx((10, 10.5, 11.1, 11.6), abs=0.03)


def test_words_have_no_times_where_there_is_no_time_for_them():
    assert place_words("a b c d", buzz((0.03, 0.5)), RATE) == ()
    assert place_words("a", torch.zeros(0), RATE) == ()


def test_a_line_of_minutes_takes_no_more_frames_than_one_of_half_a_minute():
    first, second = place_words("ten, two", buzz((100.0, 0.5), (20.0, 0.0), (100.0, 0.5)), RATE)
    assert (first.end, second.start, second.end) == pytest.approx((100, 120, 220), abs=0.5)


def test_times_do_not_drift_where_frames_are_not_whole_samples():
    waveform = buzz((10.0, 0.5), (1.0, 0.0), (10.0, 0.5))  # as if it were sampled at 22,050 Hz
    assert place_words("ten, two", waveform, 22_050)[1].start == pytest.approx(11 * RATE / 22_050, abs=0.03)


@pytest.fixture
def measured():
    """Two lines, the second of one word, with their words."""
    speech = torch.zeros(4 * RATE)
    speech[RATE : 2 * RATE], speech[3 * RATE : round(3.4 * RATE)] = buzz((1.0, 0.5)), buzz((0.4, 0.5))
    script = parse_cues("[00:01-00:02] [Anna] one <two> & ten [00:03-00:04] end")
    return measure_lines(Audio(speech[None, None], RATE), plan_script(script, 4.0), words=True)


def test_words_are_written_as_cues_tags_and_estimates_and_read_back_the_same(measured):
    texts = measured.captions()
    assert [line.text for line in parse_srt(texts["srt"]).lines] == ["one", "<two> &", "ten", "end"]
    assert parse_srt(texts["srt"]).lines[1].speaker == "Anna"
    lines = parse_vtt(texts["vtt"])
    assert lines == measured.script() == parse_json(texts["json"])
    cue = next(row for row in texts["vtt"].splitlines() if row.startswith("<v Anna>"))
    assert cue.count("<00:00:01.") == 2
    told = json.loads(texts["json"])
    assert "estimated" in told["words_by"]
    assert [word["text"] for word in told["lines"][0]["words"]] == ["one", "<two> &", "ten"]


def test_without_words_nothing_is_said_of_them(measured):
    lines = [line.planned for line in measured.lines]
    plan = plan_script(measured.script(), 4.0)
    plain = measure_lines(Audio(torch.ones(1, 1, 4 * RATE), RATE), plan)
    assert len(plain.lines) == len(lines)
    assert "no word times" in plain.captions()["json"]
    assert '"words"' not in plain.captions()["json"]
    silent = measure_lines(Audio(torch.zeros(1, 1, 4 * RATE), RATE), plan, words=True)
    assert set(silent.captions()) == {"json"}
