import json
import math
from pathlib import Path

import pytest
import soundfile
import torch

from dualdub_core.audio import fit_length
from dualdub_core.dualbench import levels, loudest_frame_dbfs, rms_dbfs
from dualdub_core.dualbench.levels import KEPT_FROM_DBFS
from dualdub_core.errors import InputError
from dualdub_core.mixing.loudness import gain, integrated_lufs
from dualdub_core.types import Audio

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bench"
CASES = json.loads((FIXTURES / "loudness.json").read_text())["cases"]


def read(case):
    samples, rate = soundfile.read(FIXTURES / CASES[case]["file"], dtype="float32", always_2d=True)
    return Audio(torch.from_numpy(samples.T.copy())[None], rate)


@pytest.mark.parametrize("case", CASES)
def test_energy_is_the_golden_one(case):
    assert float(rms_dbfs(read(case))) == pytest.approx(CASES[case]["rms_dbfs_mono"], abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_loudest_frame_is_the_golden_one(case):
    expected = CASES[case]["max_frame_rms_dbfs_25ms_10ms"]
    assert float(loudest_frame_dbfs(read(case))) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_both_filters_keep_the_golden_clips(case):
    audio = read(case)
    assert bool(rms_dbfs(audio) >= KEPT_FROM_DBFS) == CASES[case]["keep_at_-40dB_clip_rms"]
    assert bool(loudest_frame_dbfs(audio) >= KEPT_FROM_DBFS) == CASES[case]["keep_at_-40dB_max_frame_rms"]


@pytest.mark.parametrize("case", CASES)
def test_loudness_is_the_golden_one(case):
    expected = CASES[case]["pyloudnorm_I"]
    expected = -math.inf if expected is None else float(expected)
    assert float(integrated_lufs(read(case))) == pytest.approx(expected, abs=1e-6)


def test_silence_and_a_tenth_of_a_second_have_levels():
    silent = levels(read("digital_silence"), 2.0)
    assert (silent.lufs, silent.true_peak_db, silent.rms_dbfs) == (-math.inf, -math.inf, pytest.approx(-120))
    assert silent.is_silent
    short = levels(fit_length(read("sine"), 1_600), 0.1)
    assert short.lufs == -math.inf
    assert not short.is_silent
    assert short.rms_dbfs == pytest.approx(-9, abs=0.2)


def test_damage_shows_where_it_should():
    audio = read("pink_gated")
    clean = levels(audio, audio.duration)
    assert (clean.excess_seconds, clean.clipped_share) == (0.0, 0.0)
    louder = Audio(gain(audio, 12).waveform.clamp(-1, 1), audio.sample_rate)
    clipped = levels(louder, audio.duration)
    assert clipped.clipped_share > 0.01
    assert clipped.lufs > clean.lufs + 6
    quieter = levels(gain(audio, -20), audio.duration)
    assert quieter.lufs == pytest.approx(clean.lufs - 20, abs=0.1)
    cut = levels(fit_length(audio, audio.num_samples - audio.sample_rate // 2), audio.duration)
    assert cut.excess_seconds == pytest.approx(-0.5)


def test_unusable_sound_is_refused():
    with pytest.raises(InputError, match="NaN or infinite samples"):
        levels(Audio(torch.full((1, 1, 100), math.nan), 16_000), 1.0)
    with pytest.raises(InputError, match="got 0 samples"):
        rms_dbfs(Audio(torch.zeros(1, 1, 0), 16_000))
    with pytest.raises(InputError, match="got a batch of 2"):
        levels(Audio(torch.zeros(2, 1, 100), 16_000), 1.0)
    with pytest.raises(InputError, match=r"got a picture of 0.0 s"):
        levels(read("sine"), 0.0)
