import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from dualdub_core.audio import MelConfig, fit_length, log_mel, mel_filters, resample, to_mono, with_rate
from dualdub_core.errors import ConfigError, InputError
from dualdub_core.types import Audio

FIXTURES = Path(__file__).parents[1] / "fixtures" / "formats"
CASES = json.loads((FIXTURES / "resample.json").read_text())["cases"]
RATES = (1_000, 8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 44_101, 48_000)


def sine(frequency, rate, seconds=0.2):
    return torch.sin(2 * math.pi * frequency * torch.arange(round(seconds * rate), dtype=torch.float64) / rate).float()


@pytest.mark.parametrize("case", CASES)
def test_resampling_agrees_with_the_reference(case):
    tensors = load_file(FIXTURES / "resample.io.safetensors")
    ours = resample(tensors[f"{case}.in"], CASES[case]["sr_in"], CASES[case]["sr_out"])
    torch.testing.assert_close(ours, tensors[f"{case}.out"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("target", [24_000, 44_100])
def test_a_low_sine_is_the_same_sine_at_another_rate(source, target):
    result = resample(sine(100, source), source, target)
    expected = sine(100, target)
    assert result.shape == (math.ceil(round(0.2 * source) * target / source),)
    middle = slice(len(expected) // 4, -len(expected) // 4)
    torch.testing.assert_close(result[: len(expected)][middle], expected[middle], rtol=0, atol=0.03)


def test_what_the_lower_rate_cannot_hold_is_removed():
    assert resample(sine(10_000, 48_000), 48_000, 16_000)[200:-200].abs().max() < 0.02


def test_equal_rates_return_the_input_itself():
    waveform = torch.randn(2, 1, 50)
    assert resample(waveform, 24_000, 24_000) is waveform


def test_a_long_recording_is_the_sum_of_its_parts():
    # Longer than one working set, so pieces meet: shifting by whole periods of the rates shifts the output.
    waveform = torch.randn(147 * 3_000)
    whole = resample(waveform, 44_100, 24_000)
    shifted = resample(waveform[147 * 1_500 :], 44_100, 24_000)
    assert whole.shape == (80 * 3_000,)
    torch.testing.assert_close(shifted[100:], whole[80 * 1_500 + 100 :], rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.sampled_from(RATES), st.sampled_from(RATES), st.integers(1, 3))
def test_any_length_at_any_ratio_gives_the_rounded_up_length(samples, source, target, channels):
    result = resample(torch.ones(2, channels, samples), source, target)
    assert result.shape == (2, channels, math.ceil(samples * target / source))
    assert result.isfinite().all()


def test_batch_items_are_resampled_independently():
    batch = torch.randn(3, 2, 500)
    together = resample(batch, 16_000, 24_000)
    assert torch.equal(together[1:2], resample(batch[1:2], 16_000, 24_000))


def test_half_precision_is_kept_and_computed_in_single():
    waveform = torch.randn(400).half()
    result = resample(waveform, 16_000, 24_000)
    assert result.dtype == torch.float16
    assert torch.equal(result, resample(waveform.float(), 16_000, 24_000).half())


@pytest.mark.parametrize("rates", [(0, 24_000), (24_000, -1)])
def test_rates_that_are_not_positive_are_refused(rates):
    with pytest.raises(InputError, match="positive rates"):
        resample(torch.zeros(10), *rates)


def test_mono_is_the_mean_of_the_channels():
    audio = to_mono(Audio(torch.tensor([[[1.0, 0.0], [0.0, 0.5]]]), 8_000))
    assert torch.equal(audio.waveform, torch.tensor([[[0.5, 0.25]]]))


def test_a_new_rate_keeps_the_duration():
    audio = with_rate(Audio(torch.randn(1, 2, 4_410), 44_100), 24_000)
    assert (audio.sample_rate, audio.waveform.shape) == (24_000, (1, 2, 2_400))


@pytest.mark.parametrize("length", [2, 5, 8])
def test_fitting_cuts_or_adds_silence(length):
    audio = Audio(torch.arange(1.0, 6).expand(1, 2, 5), 8_000)
    fitted = fit_length(audio, length).waveform
    kept = min(length, 5)
    assert fitted.shape == (1, 2, length)
    assert torch.equal(fitted[..., :kept], audio.waveform[..., :kept])
    assert not fitted[..., kept:].any()


def test_three_seconds_give_282_mel_frames():
    assert log_mel(torch.randn(2, 72_000), MelConfig.paper()).shape == (2, 282, 80)


@pytest.mark.parametrize("samples", [1, 255, 256, 512, 513, 1_025])
def test_the_shortest_sound_has_a_mel_spectrogram(samples):
    config = MelConfig.mini()
    mel = log_mel(torch.randn(1, samples), config)
    assert mel.shape == (1, config.num_frames(samples), 80)
    assert mel.isfinite().all()


def test_silence_is_the_floor():
    config = MelConfig.paper()
    torch.testing.assert_close(log_mel(torch.zeros(1, 2_000), config), torch.full((1, 8, 80), math.log(config.floor)))


def test_a_sine_is_loudest_in_the_band_around_it():
    config = MelConfig.paper()
    band = int(log_mel(sine(1_000, 24_000)[None], config)[0, 5].argmax())
    corners = 700 * (10 ** (torch.linspace(0, 2595 * math.log10(1 + 12_000 / 700), 82) / 2595) - 1)
    assert corners[band] < 1_000 < corners[band + 2]


def test_twice_the_amplitude_adds_the_logarithm_of_two():
    waveform = torch.randn(1, 3_000)
    config = MelConfig.paper()
    torch.testing.assert_close(log_mel(2 * waveform, config), log_mel(waveform, config) + math.log(2))


def test_every_band_listens_and_neighbours_share_what_lies_between():
    filters = mel_filters(MelConfig.paper())
    assert (filters.sum(dim=0) > 0).all()
    # Between the first and last centre the two triangles over a frequency add to one.
    inside = (filters > 0).sum(dim=1) == 2
    torch.testing.assert_close(filters[inside].sum(dim=1), torch.ones(int(inside.sum())))


def test_no_sound_has_no_mel_spectrogram():
    with pytest.raises(InputError, match="0 samples"):
        log_mel(torch.zeros(1, 0), MelConfig.paper())


def test_a_contradictory_mel_configuration_is_refused():
    with pytest.raises(ConfigError, match="hop_length"):
        MelConfig(sample_rate=24_000, n_fft=256, hop_length=512, n_mels=80, floor=1e-5)
    with pytest.raises(ConfigError, match="positive"):
        MelConfig(sample_rate=24_000, n_fft=256, hop_length=64, n_mels=0, floor=1e-5)
