import math

import pytest
import torch

from dualdub_core.errors import InputError
from dualdub_core.mixing.k_weighting import loudness_range, lufs_over
from dualdub_core.mixing.loudness import integrated_lufs
from dualdub_core.types import Audio

RATE = 8_000


def tone(decibels, seconds, channels=2):
    wave = torch.sin(torch.arange(int(seconds * RATE)) * (2 * math.pi * 1000 / RATE))
    return (10 ** (decibels / 20) * wave).expand(channels, -1)


@pytest.mark.parametrize("rate", [4_000, 8_000, 44_100])
def test_over_a_steady_sound_it_is_the_integrated_loudness(rate):
    noise = 0.1 * torch.randn(2, 2 * rate, generator=torch.Generator().manual_seed(0))
    assert lufs_over(noise, rate, [(0.0, 2.0)]) == pytest.approx(
        float(integrated_lufs(Audio(noise[None], rate))), abs=0.1
    )


def test_only_the_chosen_moments_count_and_each_once():
    sound = torch.cat((tone(-20, 1), tone(-40, 1), tone(-10, 1)), dim=1)
    assert lufs_over(sound, RATE, [(0.2, 0.8)]) == pytest.approx(lufs_over(tone(-20, 1), RATE, [(0.2, 0.8)]), abs=0.01)
    assert lufs_over(sound, RATE, [(1.2, 1.8), (1.3, 1.5)]) == lufs_over(sound, RATE, [(1.2, 1.8)])
    assert lufs_over(sound, RATE, []) == lufs_over(0 * sound, RATE, [(0.0, 1.0)]) == -math.inf


@pytest.mark.parametrize(("levels", "wanted"), [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20)])
def test_loudness_range_of_the_ebus_test_signals(levels, wanted):
    """Tech 3342, table 1: two tones of 20 s each; 1 LU off is allowed."""
    sound = torch.cat([tone(level, 20) for level in levels], dim=1)
    assert float(loudness_range(Audio(sound[None], RATE))) == pytest.approx(wanted, abs=1)


def test_too_short_or_silent_sound_has_no_range():
    assert loudness_range(Audio(tone(-20, 2)[None], RATE)).isnan()
    assert loudness_range(Audio(0 * tone(-20, 4)[None], RATE)).isnan()


def test_more_channels_than_the_standard_has_are_refused():
    with pytest.raises(InputError, match="got 6 channels, expected at most 5"):
        lufs_over(torch.zeros(6, RATE), RATE, [(0.0, 1.0)])
