import json

import pytest
import torch

from dualdub_core.errors import InputError
from dualdub_core.scripts.captions import parse_json
from dualdub_core.scripts.cues import parse_cues
from dualdub_core.scripts.measured import heard_span, measure_lines
from dualdub_core.scripts.plan import plan_script
from dualdub_core.types import Audio

RATE = 24_000


def speech(*spans: tuple[float, float, float], seconds: float = 4.0) -> Audio:
    """A buzz of the given level in each span of seconds."""
    wave = torch.zeros(round(seconds * RATE))
    for start, end, level in spans:
        first, last = round(start * RATE), round(end * RATE)
        wave[first:last] = level * torch.sin(torch.arange(last - first) * 0.5)
    return Audio(wave[None, None], RATE)


def test_lines_are_found_where_they_are_heard():
    plan = plan_script(parse_cues("[00:00.5-00:01.5] a [00:02-00:03] b"), 4.0)
    measured = measure_lines(speech((0.53, 1.2, 0.5), (2.0, 2.9, 0.01)), plan)
    assert [line.start for line in measured.lines] == pytest.approx([0.53, 2.0], abs=0.006)
    assert [line.end for line in measured.lines] == pytest.approx([1.2, 2.9], abs=0.006)
    assert [line.start_error for line in measured.lines] == pytest.approx([0.03, 0.0], abs=0.006)


def test_silent_lines_have_no_times_and_are_left_out_of_captions():
    plan = plan_script(parse_cues("[00:00.5-00:01.5] [Anna] a [00:02-00:03] b"), 4.0)
    measured = measure_lines(speech((2.1, 2.5, 0.5)), plan)
    assert measured.lines[0].start is None
    assert measured.lines[0].start_error is None
    assert [line.text for line in measured.script().lines] == ["b"]
    said = json.dumps(measured.as_dict())
    assert parse_json(said).lines[0].speaker == "Anna"
    assert "no word times" in said
    with pytest.raises(InputError, match="no line is heard"):
        measure_lines(speech(), plan).script()


def test_what_a_neighbour_says_is_not_taken_for_the_line():
    plan = plan_script(parse_cues("[00:00.5-00:01] a [00:01.1-00:02] b"), 4.0)
    measured = measure_lines(speech((1.06, 1.9, 0.5)), plan)
    assert measured.lines[0].start is None
    assert measured.lines[1].start == pytest.approx(1.06, abs=0.006)


def test_a_faint_breath_before_a_line_is_not_its_start():
    wave = speech((0.0, 0.5, 0.001), (0.5, 1.0, 0.5), seconds=1.0).waveform[0, 0]
    assert heard_span(wave, RATE)[0] == pytest.approx(0.5, abs=0.006)
    assert heard_span(wave[:100], RATE) is None
    assert heard_span(torch.zeros(1000), RATE) is None


def test_one_stem_at_a_time():
    plan = plan_script(parse_cues("[00:00.5] a"), 4.0)
    with pytest.raises(InputError, match="got a batch of 2 stems"):
        measure_lines(Audio(torch.zeros(2, 1, 100), RATE), plan)


def test_a_known_hum_is_no_speech():
    wave = speech((0.0, 1.0, 0.02), (0.5, 0.8, 0.3), seconds=1.0).waveform[0, 0]
    assert heard_span(wave, RATE)[0] == pytest.approx(0.0, abs=0.006)
    assert heard_span(wave, RATE, floor=0.02**2) == pytest.approx((0.5, 0.8), abs=0.006)
    assert heard_span(wave[: RATE // 4], RATE, floor=0.02**2) is None
