import json
import math
import warnings
from pathlib import Path

import pytest
import soundfile
import torch

from dualdub_core.errors import InputError
from dualdub_core.mixing.loudness import block_peaks, gain, integrated_lufs, true_peak_db
from dualdub_core.types import Audio

FIXTURES = Path(__file__).parents[2] / "fixtures" / "loudness"
CASES = json.loads((FIXTURES / "loudness.json").read_text())["cases"]


def read(case):
    samples, rate = soundfile.read(FIXTURES / CASES[case]["file"], dtype="float32", always_2d=True)
    return Audio(torch.from_numpy(samples.T.copy())[None], rate)


def sine(frequency, rate, seconds=1.0, phase=0.0):
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return Audio(torch.sin(2 * math.pi * frequency * time + phase).float()[None, None], rate)


@pytest.mark.parametrize("case", CASES)
def test_loudness_agrees_with_the_reference(case):
    expected = CASES[case]["pyloudnorm_I"]
    result = float(integrated_lufs(read(case)))
    assert result == pytest.approx(-math.inf if expected is None else float(expected), abs=1e-6)


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case["ffmpeg_ebur128"]])
def test_true_peak_agrees_with_the_other_meter(case):
    expected = float(CASES[case]["ffmpeg_ebur128"]["true_peak_dBFS"])
    assert float(true_peak_db(read(case))) == pytest.approx(expected, abs=0.1)


def test_a_full_scale_sine_in_one_channel_is_3_lu_below_zero():
    # The standard's calibration tone: 997 Hz, 0 dBFS, -3.01 LUFS.
    assert float(integrated_lufs(sine(997, 48_000, 2.0))) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("rate", [1_000, 4_000, 8_000, 11_025, 44_100])
def test_loudness_does_not_depend_on_the_rate(rate):
    assert float(integrated_lufs(sine(200, rate, 2.0))) == pytest.approx(-4.0, abs=0.1)


@pytest.mark.parametrize(
    "waveform",
    [
        torch.zeros(1, 1, 24_000),
        torch.full((1, 2, 24_000), 1e-30),
        torch.ones(1, 1, 1),
        torch.randn(1, 1, 9_599),
    ],
    ids=["silence", "nearly silence", "one sample", "below 400 ms"],
)
def test_what_has_no_loudness_says_so_without_a_warning(waveform):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(integrated_lufs(Audio(waveform, 24_000))) == -math.inf


def test_exactly_400_ms_have_a_loudness():
    assert math.isfinite(float(integrated_lufs(sine(997, 24_000, 0.4))))


def test_batch_items_are_measured_independently():
    loud, quiet = torch.randn(2, 1, 2, 12_000)
    batch = Audio(torch.cat((loud, 0.1 * quiet, torch.zeros(1, 2, 12_000))), 24_000)
    for measure in (integrated_lufs, true_peak_db):
        alone = [measure(Audio(item[None], 24_000)) for item in batch.waveform]
        assert torch.equal(measure(batch), torch.cat(alone))


def test_true_peak_sees_between_the_samples():
    wave = sine(6_000, 24_000, phase=math.pi / 4)  # every sample at 0.707, every top between two of them
    assert 20 * math.log10(wave.waveform.abs().max()) == pytest.approx(-3.01, abs=0.01)
    assert float(true_peak_db(wave)) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.7, 1.1])
@pytest.mark.parametrize("part", [0.05, 0.1, 0.2])
def test_true_peak_of_a_sine_is_its_amplitude(part, phase):
    wave = sine(part * 24_000 + 1, 24_000, phase=phase)
    fade = torch.hann_window(24_000)
    assert float(true_peak_db(Audio(0.5 * wave.waveform * fade, 24_000))) == pytest.approx(-6.02, abs=0.05)


def test_silence_has_no_peak():
    assert float(true_peak_db(Audio(torch.zeros(1, 1, 10), 24_000))) == -math.inf


@pytest.mark.parametrize("samples", [1, 2, 100, 70_000, 140_000])
def test_peaks_by_block_hold_the_peak_of_the_whole(samples):
    waveform = torch.randn(2, samples)
    peaks = block_peaks(waveform, 24)
    assert peaks.shape == (math.ceil(samples / 24),)
    assert peaks.max() == block_peaks(waveform, samples)[0]
    assert (peaks >= block_peaks(waveform, 1)[::24]).all()
    assert (block_peaks(waveform, 1) >= waveform.abs().amax(dim=0)).all()


def test_gain_is_in_decibels_and_none_changes_nothing():
    audio = sine(440, 24_000, 0.1)
    assert torch.equal(gain(audio, 0.0).waveform, audio.waveform)
    torch.testing.assert_close(gain(audio, 20.0).waveform, 10 * audio.waveform)


def test_samples_that_are_not_finite_are_refused():
    broken = Audio(torch.tensor([[[0.0, math.nan]]]), 24_000)
    for measure in (integrated_lufs, true_peak_db):
        with pytest.raises(InputError, match="NaN"):
            measure(broken)


def test_more_than_five_channels_are_refused():
    with pytest.raises(InputError, match="6 channels"):
        integrated_lufs(Audio(torch.randn(1, 6, 24_000), 24_000))
