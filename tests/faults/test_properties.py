"""What holds for every clock, cue, lock and part, whatever the numbers and words."""

import math
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dualdub_core.errors import InputError
from dualdub_core.generation import FREE
from dualdub_core.media.sound import read_audio
from dualdub_core.pipeline import Lock, forced_codes, retake_locks
from dualdub_core.scripts.captions import to_json, to_srt, to_vtt
from dualdub_core.scripts.cues import to_cues
from dualdub_core.scripts.formats import parse_script
from dualdub_core.scripts.plan import plan_script
from dualdub_core.scripts.rerolls import line_seeds
from dualdub_core.scripts.script import Script, ScriptLine, seconds_of, stamp
from dualdub_core.text import normalise
from dualdub_core.timing import (
    LONGEST,
    FrameClock,
    nearest_times,
    num_overlapping,
    num_samples,
    overlapping_frames,
    video_feature_times,
)
from dualdub_core.types import Codes, Stream, Task

FEW = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
RATES = st.sampled_from([1_000, 8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
CLOCKS = st.builds(FrameClock, sample_rate=RATES, hop_length=st.integers(1, 4096))
SECONDS = st.floats(0.001, 60.0, allow_nan=False)
WORDS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="[]<>&{}\ufeff\u200b\u2060"),
    min_size=1,
    max_size=30,
).filter(lambda text: text.strip() and "-->" not in text)


def check_message(error, start=""):
    assert str(error).startswith(start)
    assert len(str(error).splitlines()) == 1
    assert len(str(error)) < 500


@FEW
@given(CLOCKS, SECONDS)
def test_a_clock_covers_a_clip_with_the_fewest_frames(clock, duration):
    samples = num_samples(duration, clock.sample_rate)
    frames = clock.num_frames(duration)
    assert (frames - 1) * clock.hop_length < samples <= frames * clock.hop_length
    assert clock.num_frames(clock.duration(frames)) == frames
    assert clock.frame_at(clock.duration(frames)) == frames
    assert abs(samples / clock.sample_rate - duration) <= 0.5 / clock.sample_rate + 1e-9 or samples == 1


@FEW
@given(CLOCKS, CLOCKS, st.integers(1, 60))
def test_what_a_frame_overlaps_is_all_of_it(source, target, num_target):
    samples = num_target * target.hop_length * source.sample_rate
    num_source = -(-samples // (source.hop_length * target.sample_rate))
    if num_overlapping(source, target) > 2000:
        return
    index, weight = overlapping_frames(source, target, num_source=num_source, num_target=num_target)
    assert torch.allclose(weight.sum(1), torch.ones(num_target, dtype=torch.float64))
    assert 0 <= int(index.min()) <= int(index.max()) < num_source


@FEW
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30, unique=True), st.lists(st.floats(-5, 105), max_size=30))
def test_no_time_is_nearer_than_the_nearest(times, wanted):
    ascending = torch.tensor(sorted(times), dtype=torch.float64)
    asked = torch.tensor(wanted, dtype=torch.float64)
    found = (ascending[nearest_times(ascending, asked)] - asked).abs()
    least = (ascending[None] - asked[:, None]).abs().amin(1) if wanted else asked
    assert torch.equal(found, least)


@FEW
@given(SECONDS)
def test_a_video_is_looked_at_from_its_start_to_its_end(duration):
    times = video_feature_times(duration)
    assert times[0] == 0
    assert float(times[-1]) < max(duration, 1e-6)
    assert duration - float(times[-1]) <= 3 / 25 + 1e-6


@FEW
@given(st.one_of(st.floats(), st.integers(), st.booleans(), st.text(max_size=5), st.none()))
def test_whatever_a_duration_is_it_is_counted_or_refused(duration):
    try:
        samples = num_samples(duration, 24_000)
    except InputError as error:
        check_message(error)
    else:
        assert 1 <= samples <= LONGEST * 24_000


@st.composite
def scripts(draw, *, is_timed):
    """Lines that follow each other."""
    lines, free = [], 0
    for _ in range(draw(st.integers(1, 5))):
        start = free + draw(st.integers(0, 5000))
        end = start + draw(st.integers(1, 5000))
        speaker = draw(st.sampled_from(["", "Anna", "Ärger Wang", "Ben-2"]))
        has_times, has_end = is_timed or draw(st.booleans()), is_timed or draw(st.booleans())
        times = (start / 1000, end / 1000 if has_end else None) if has_times else (None, None)
        lines.append(ScriptLine(normalise(draw(WORDS)), *times, speaker))
        free = end
    return Script(tuple(lines))


@pytest.mark.parametrize("write", [to_cues, to_srt, to_vtt, to_json])
@FEW
@given(scripts(is_timed=True))
def test_a_script_is_the_same_after_writing_and_reading(write, script):
    assert parse_script(write(script)) == script


@FEW
@given(scripts(is_timed=False), st.one_of(st.none(), st.floats(0.1, 60)))
def test_slots_follow_each_other_within_the_clip(script, duration):
    try:
        plan = plan_script(script, duration)
    except InputError:
        return
    assert len(plan.lines) == len(script.lines) == len(line_seeds(script, 1))
    edges = [edge for line in plan.lines for edge in (line.start, line.end)]
    assert all(later - earlier >= -1e-9 for earlier, later in pairwise(edges))
    assert edges[0] >= 0
    assert edges[-1] <= plan.duration + 1e-9


@settings(FEW, max_examples=200)
@given(st.text(st.sampled_from("[]<>-:.,0123 \n\r\tabv/{}\\&;#WEBVTT\"'\ud800\u202e🙂\0"), max_size=60))
@example("[00:01][00:02]")
@example('{"lines"')
def test_any_text_is_a_script_or_one_clear_line(text):
    try:
        script = parse_script(text)
    except InputError as error:
        check_message(error)
    else:
        assert all(line.text.encode() for line in script.lines)


@FEW
@given(st.integers(0, 10**9))
def test_a_time_is_the_same_after_writing_and_reading(milliseconds):
    seconds = milliseconds / 1000
    read = seconds_of(stamp(seconds))
    assert read is None if seconds >= 3_600_000 else math.isclose(read, seconds, abs_tol=1e-6)


@FEW
@given(st.integers(1, 80), st.floats(0, 2.2), st.floats(0, 2.2), st.sets(st.sampled_from(list(Stream)), min_size=1))
def test_a_retake_frees_its_frames_and_no_other(tiny_model, frames, start, end, streams):
    clock = tiny_model.config.clock
    rows = torch.arange(frames)[None] % 24
    codes = Codes(rows, rows, clock.duration(frames), clock, 24)
    try:
        locks = retake_locks(codes, start=start, end=end, streams=list(streams))
    except InputError:
        assert not 0 <= start < end <= codes.duration + 1e-6
        return
    held = forced_codes(tiny_model, Task.JOINT, locks, frames, 1)
    first, last = clock.frame_at(start), min(frames, clock.frame_at(end))
    for index, stream in enumerate((Stream.BACKGROUND, Stream.SPEECH)):
        free = torch.zeros(frames, dtype=torch.bool)
        free[first:last] = stream in streams
        assert torch.equal(held[0, index] == FREE, free)
        assert torch.equal(held[0, index][~free], rows[0][~free])


@FEW
@given(st.integers(1, 40), st.floats(-1, 2), st.one_of(st.none(), st.floats(-1, 2)), st.integers(1, 45))
def test_a_lock_holds_what_it_says_or_is_refused(tiny_model, frames, start, end, length):
    lock = Lock(Stream.SPEECH, torch.full((1, length), 7), start, end)
    try:
        held = forced_codes(tiny_model, Task.JOINT, [lock], frames, 1)
    except InputError as error:
        check_message(error, "lock: ")
        return
    assert length == frames
    assert int((held[0, 1] == 7).sum()) >= 1
    assert bool((held[0, 0] == FREE).all())


@FEW
@given(RATES, st.integers(1, 500), st.integers(1, 500))
def test_the_parts_of_a_sound_are_the_whole(tmp_path, rate, first, second):
    path = tmp_path / "a.wav"
    samples = np.arange(first + second, dtype=np.float32) / 2048
    soundfile.write(path, samples, rate, subtype="FLOAT")
    parts = [read_audio(path, duration=first / rate), read_audio(path, start=first / rate, duration=second / rate)]
    assert [part.num_samples for part in parts] == [first, second]
    assert np.array_equal(torch.cat([part.waveform for part in parts], dim=-1)[0, 0].numpy(), samples)
