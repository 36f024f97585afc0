from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dualdub_core.errors import ConfigError, InputError
from dualdub_core.timing import FrameClock, nearest_frames, nearest_times, num_samples, video_feature_times

CODES = FrameClock(sample_rate=24_000, hop_length=600)
LATENTS = FrameClock(sample_rate=44_100, hop_length=2048)


def test_rates_are_the_papers():
    assert CODES.frame_rate == 40
    assert LATENTS.frame_rate == pytest.approx(21.533, abs=1e-3)


@given(
    st.integers(1, 20_000),
    st.sampled_from([Fraction(24_000, 1001), Fraction(25), Fraction(30_000, 1001), Fraction(60)]),
)
def test_a_clip_has_as_many_frames_as_its_sound_encodes_to(pictures, fps):
    duration = float(pictures / fps)
    samples = num_samples(duration, CODES.sample_rate)
    assert CODES.num_frames(duration) == CODES.num_frames_of_samples(samples)
    assert 0 <= CODES.num_frames(duration) * CODES.hop_length - samples < CODES.hop_length
    assert samples == round(duration * 24_000)


@given(st.integers(1, 7200))
def test_a_latent_reads_the_code_that_covers_its_centre_however_long_the_clip(num_codes):
    num_latents = LATENTS.num_frames(CODES.duration(num_codes))
    index = nearest_frames(CODES, LATENTS, num_source=num_codes, num_target=num_latents)
    seconds = (torch.arange(num_latents, dtype=torch.float64) + 0.5) * 2048 / 44_100
    inside = seconds < CODES.duration(num_codes)
    assert ((seconds - (index.double() + 0.5) / 40).abs()[inside] <= 0.5 / 40 + 1e-9).all()
    assert int(index.max()) == num_codes - 1


def test_a_map_at_equal_rates_is_the_identity():
    assert torch.equal(nearest_frames(CODES, CODES, num_source=100, num_target=100), torch.arange(100))


def test_a_25_fps_video_is_looked_at_every_third_frame():
    times = torch.arange(100, dtype=torch.float64) / 25
    assert torch.equal(nearest_times(times, video_feature_times(4.0)), torch.arange(0, 100, 3))


@pytest.mark.parametrize("fps", [24_000 / 1001, 30.0, 60.0, 240.0])
def test_at_any_rate_the_nearest_picture_is_at_most_half_a_frame_away(fps):
    times = torch.arange(round(5 * fps), dtype=torch.float64) / fps
    wanted = video_feature_times(times.numel() / fps)
    chosen = times[nearest_times(times, wanted)]
    assert ((chosen - wanted).abs() <= 0.5 / fps + 1e-9).all()


def test_one_picture_is_enough():
    assert video_feature_times(0.04).tolist() == [0.0]
    assert nearest_times(torch.zeros(1, dtype=torch.float64), CODES.centres(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), float("inf")])
def test_no_duration_is_refused(duration):
    with pytest.raises(InputError, match="expected a positive number"):
        num_samples(duration, 24_000)


def test_a_clock_that_stands_is_refused():
    with pytest.raises(ConfigError, match="must be positive"):
        FrameClock(sample_rate=24_000, hop_length=0)
