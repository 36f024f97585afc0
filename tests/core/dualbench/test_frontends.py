import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dualdub_core.audio import resample
from dualdub_core.dualbench import beats_fbank, judged_waveform, panns_log_mel, vggish_patches
from dualdub_core.errors import InputError
from dualdub_core.types import Audio

GOLDEN = np.load(Path(__file__).parents[2] / "fixtures" / "bench" / "frontends.npz")


def golden(name):
    return torch.from_numpy(GOLDEN[name])


def sine(frequency, rate, seconds=1.0):
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (0.5 * torch.sin(2 * math.pi * frequency * time)).float()


@pytest.mark.parametrize("rates", [(24_000, 16_000), (44_100, 16_000), (48_000, 32_000), (16_000, 24_000)])
def test_resampling_is_torchaudios(rates):
    name = f"resample_{rates[0]}_{rates[1]}"
    assert torch.allclose(resample(golden(f"{name}__in"), *rates), golden(f"{name}__out"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", [16_000, 32_000])
def test_the_panns_spectrogram_is_torchlibrosas(rate):
    expected = golden(f"panns{rate // 1000}k__logmel")
    apart = (panns_log_mel(golden(f"panns{rate // 1000}k__in")[None], rate)[0] - expected).abs()
    is_loud = expected > expected.amax(dim=1, keepdim=True) - 60
    assert apart[is_loud].max() < 5e-4
    assert apart.max() < 0.05  # dB; near -100 dB the reference is float32 rounding


def test_vggish_patches_are_torchvggishs():
    assert torch.allclose(vggish_patches(golden("vggish__in")), golden("vggish__examples"), rtol=0, atol=1e-5)


def test_the_beats_filter_bank_is_kaldis():
    expected = golden("beats__fbank_norm")
    apart = (beats_fbank(golden("beats__in")[None])[0] - expected).abs()
    is_loud = expected > expected.amax(dim=1, keepdim=True) - 1.05  # 60 dB in its units
    assert apart[is_loud].max() < 1e-4
    assert apart.max() < 0.04  # 80 dB below the loudest the reference is float32 rounding


def test_a_higher_tone_is_loudest_in_a_higher_band():
    tones = [sine(frequency, 16_000) for frequency in (200, 800, 3_000, 7_000)]
    for bands in (
        [int(panns_log_mel(tone[None], 16_000)[0].mean(0).argmax()) for tone in tones],
        [int(vggish_patches(tone)[0].mean(0).argmax()) for tone in tones],
        [int(beats_fbank(tone[None])[0].mean(0).argmax()) for tone in tones],
    ):
        assert bands == sorted(set(bands))


def test_vggish_hears_nothing_in_less_than_a_patch():
    assert vggish_patches(torch.zeros(15_599)).shape == (0, 96, 64)
    assert vggish_patches(torch.zeros(15_600)).shape == (1, 96, 64)
    assert vggish_patches(torch.zeros(10)).shape == (0, 96, 64)


def test_silence_is_the_floor_of_each_spectrogram():
    assert panns_log_mel(torch.zeros(1, 3_200), 16_000).unique().tolist() == [-100.0]
    assert vggish_patches(torch.zeros(16_000)).unique().tolist() == [pytest.approx(math.log(0.01))]
    assert beats_fbank(torch.zeros(1, 1_600)).isfinite().all()


def test_the_judged_waveform_is_the_first_channel_without_its_mean_padded_to_32000_samples():
    waveform = torch.stack([sine(300, 16_000, 0.1) + 0.25, torch.zeros(1_600)])[None]
    judged = judged_waveform(Audio(waveform, 16_000), 16_000)
    assert judged.shape == (1, 32_000)
    assert torch.allclose(judged[0, :1_600], sine(300, 16_000, 0.1), atol=1e-6)
    assert not judged[0, 1_600:].any()


def test_first_channel_and_channel_mean_are_told_apart():
    stereo = Audio(torch.stack([sine(300, 16_000), -sine(300, 16_000)])[None], 16_000)
    assert judged_waveform(stereo, 16_000).abs().max() > 0.4
    assert judged_waveform(stereo, 16_000, channels="mean").abs().max() == 0


def test_recordings_of_one_sound_at_different_rates_are_judged_alike():
    judged = [judged_waveform(Audio(sine(440, rate, 2.5)[None, None], rate), 16_000) for rate in (16_000, 24_000)]
    assert judged[0].shape == judged[1].shape
    assert torch.allclose(judged[0][0, 100:-100], judged[1][0, 100:-100], atol=2e-3)


def test_unusable_sound_is_refused():
    with pytest.raises(InputError, match="NaN or infinite samples"):
        judged_waveform(Audio(torch.full((1, 1, 9), math.nan), 16_000), 16_000)
    with pytest.raises(InputError, match="got 0 samples"):
        judged_waveform(Audio(torch.zeros(1, 1, 0), 16_000), 16_000)
    with pytest.raises(InputError, match="got 24000 Hz, expected one of"):
        panns_log_mel(torch.zeros(1, 9_000), 24_000)
    with pytest.raises(InputError, match="expected more than 256; pad the clip"):
        panns_log_mel(torch.zeros(1, 256), 16_000)
    with pytest.raises(InputError, match="BEATs: got 399 samples"):
        beats_fbank(torch.zeros(1, 399))
