import math

import pytest
import torch

from dualdub_core.dualbench.leak import joint_loudness, leaked_share
from dualdub_core.errors import InputError
from dualdub_core.types import Audio

RATE = 16_000


def noise(seed, seconds=3.0, rate=RATE):
    return Audio(torch.randn(1, 1, round(seconds * rate), generator=torch.Generator().manual_seed(seed)), rate)


def plus(first, second, gain):
    return Audio(first.waveform + gain * second.waveform, first.sample_rate)


@pytest.mark.parametrize("gain", [0.2, 0.5, 1.0, 2.0])
def test_the_share_is_that_of_the_energy_that_was_mixed_in(gain):
    share = leaked_share(noise(0), plus(noise(1), noise(0), gain))
    assert share == pytest.approx(gain**2 / (1 + gain**2), abs=0.03)


def test_unrelated_sounds_share_nothing_and_equal_ones_everything():
    assert leaked_share(noise(0), noise(1)) < 0.01
    assert leaked_share(noise(0), noise(0)) == pytest.approx(1)
    assert leaked_share(noise(0), Audio(-0.01 * noise(0).waveform, RATE)) == pytest.approx(1)


def test_a_leak_through_a_filter_is_still_a_leak():
    speech = noise(0)
    echo = torch.nn.functional.conv1d(speech.waveform, torch.tensor([[[0.5, 0.0, 0.3, -0.2]]]), padding=2)
    background = Audio(noise(1).waveform + echo[..., : speech.num_samples], RATE)
    energy = 0.25 + 0.09 + 0.04
    assert leaked_share(speech, background) == pytest.approx(energy / (1 + energy), abs=0.03)


def test_rates_and_lengths_may_differ():
    speech = noise(0, rate=24_000)
    assert leaked_share(speech, Audio(speech.waveform[..., :-3000], 24_000)) > 0.9
    assert leaked_share(speech, noise(1, seconds=2.5, rate=8_000)) < 0.02


def test_stems_that_are_loud_together_correlate():
    pulses = (torch.arange(3 * RATE) // 4000 % 2).float()
    first, second = (Audio(noise(seed).waveform * pulses, RATE) for seed in (0, 1))
    other = Audio(noise(1).waveform * (1 - pulses), RATE)
    assert joint_loudness(first, second) > 0.95
    assert joint_loudness(first, other) < -0.9
    assert leaked_share(first, second) < 0.05


def test_silence_leaks_nothing_and_a_tenth_of_a_second_says_nothing():
    silent = Audio(torch.zeros(1, 1, RATE), RATE)
    assert leaked_share(silent, noise(0, 1.0)) == leaked_share(noise(0, 1.0), silent) == 0
    assert math.isnan(joint_loudness(silent, noise(0, 1.0)))
    assert math.isnan(leaked_share(noise(0, 0.1), noise(1, 0.1)))
    assert math.isnan(joint_loudness(noise(0, 0.1), noise(1, 0.1)))


def test_unusable_sound_is_refused():
    with pytest.raises(InputError, match="NaN or infinite"):
        leaked_share(noise(0), Audio(torch.full((1, 1, RATE), math.nan), RATE))
    with pytest.raises(InputError, match="got a batch of 2"):
        joint_loudness(Audio(torch.zeros(2, 1, RATE), RATE), noise(0))
