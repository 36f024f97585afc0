import json
import math

import pytest
import torch

from dualdub_core.errors import ConfigError
from dualdub_core.mixing.delivery import DELIVERIES, delivered
from dualdub_core.mixing.mixing import MixConfig, mix
from dualdub_core.mixing.report import mix_report, report_text
from dualdub_core.types import Audio, Soundtrack

RATE = 8_000
SPOKEN = [[(0.5, 1.5)]]


def stems():
    generator = torch.Generator().manual_seed(0)
    speech = torch.zeros(1, 1, 4 * RATE)
    speech[..., RATE // 2 : RATE * 3 // 2] = 0.2 * torch.randn(RATE, generator=generator)
    return Soundtrack(Audio(speech, RATE), Audio(0.05 * torch.randn(1, 1, 4 * RATE, generator=generator), RATE))


@pytest.mark.parametrize("name", list(DELIVERIES))
def test_every_preset_reaches_its_loudness_below_its_ceiling(name):
    preset = DELIVERIES[name]
    config = delivered(MixConfig(speech_over_bed=10, stereo=True), name)
    mixed = mix(stems(), config, spoken=SPOKEN)
    (report,) = mix_report(mixed, config)
    measured = report["dialogue_lufs"] if preset.target_over == "speech" else report["lufs"]["mix"]
    assert measured == pytest.approx(preset.target_lufs, abs=0.1)
    assert report["unreached"] == []
    assert report["true_peak_db"]["mix"] <= preset.ceiling_db
    assert report["speech_over_bed"] == pytest.approx(10, abs=0.05)
    assert f"asked {preset.target_lufs:g} over the {preset.target_over}" in report_text(report)


def test_a_preset_replaces_loudness_and_ceiling_and_nothing_else():
    config = delivered(MixConfig(ducking_db=7, target_lufs=-3, ceiling_db=0), "r128")
    assert (config.ducking_db, config.target_lufs, config.ceiling_db) == (7, -23, -1)
    with pytest.raises(ConfigError, match="got 'tv', expected one of r128, a85"):
        delivered(MixConfig(), "tv")


def test_a_report_is_json_even_of_silence_and_says_what_was_not_reached():
    silence = Audio(torch.zeros(1, 1, RATE), RATE)
    config = delivered(MixConfig(), "podcast")
    (report,) = mix_report(mix(Soundtrack(silence, silence), config), config)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["lufs"] == {"mix": None, "speech": None, "background": None}
    assert "not reached - loudness: silent" in report_text(report)


def test_a_report_tells_gains_ducking_and_spans():
    config = MixConfig(speech_gain_db=-6, ducking_db=9, target_lufs=-30)
    mixed = mix(stems(), config, spoken=SPOKEN)
    (report,) = mix_report(mixed, config)
    assert report["gain_db"]["speech"] - report["gain_db"]["background"] == pytest.approx(-6, abs=0.01)
    assert report["gain_db"]["speech"] == pytest.approx(
        20 * math.log10(float(mixed.speech.waveform.norm() / stems().speech.waveform.norm())), abs=0.01
    )
    assert report["ducking_db"] == pytest.approx(9, abs=0.01)
    assert report["spoken"] == [[pytest.approx(0.5, abs=0.01), pytest.approx(1.5, abs=0.01)]]
    assert report["spoken_from"] == "script"
    assert report["limiter_db"] == 0
