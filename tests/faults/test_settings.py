"""Every numeric setting of samplers, decoders, mixes and voices: out of range, no number, or of another type."""

import math

import pytest
import torch

from dualdub_core.audio import MelConfig
from dualdub_core.config import from_dict
from dualdub_core.errors import ConfigError, InputError
from dualdub_core.flow import MOST_STEPS, evaluation_times
from dualdub_core.mixing.delivery import delivered
from dualdub_core.mixing.mixing import MixConfig
from dualdub_core.mixing.placing import LONGEST_FADE, Placement
from dualdub_core.sampling import SamplingConfig, Seeds, StreamSampling
from dualdub_core.timing import LONGEST, FrameClock, num_samples, video_feature_times
from dualdub_core.types import Voice
from dualdub_core.voice import blend_voices

# What no numeric setting takes, whatever its range.
WRONG = {"NaN": math.nan, "infinite": math.inf, "text": "0.5", "true": True, "a list": [1.0], "nothing": None}
# where, setting, the values beyond its ends, those that are wrong at any rate
RANGES = {
    "temperature": (StreamSampling, (-0.01, 10.01), WRONG),
    "top_k": (StreamSampling, (-1, 1.5), WRONG),
    "top_p": (StreamSampling, (0.0, -0.1, 1.01), WRONG),
    "cfg_scale": (SamplingConfig, (-0.1, 20.1), WRONG),
    "speech_gain_db": (MixConfig, (-121.0, 61.0), WRONG),
    "background_gain_db": (MixConfig, (-121.0, 61.0), WRONG),
    "ducking_db": (MixConfig, (-0.1, 121.0), WRONG),
    "duck_attack_ms": (MixConfig, (0.0, 10_001.0), WRONG),
    "duck_hold_ms": (MixConfig, (-1.0, 10_001.0), WRONG),
    "duck_release_ms": (MixConfig, (0.0, 10_001.0), WRONG),
    "target_lufs": (MixConfig, (-71.0, 0.1), {k: v for k, v in WRONG.items() if v is not None}),
    "speech_over_bed": (MixConfig, (-41.0, 61.0), {k: v for k, v in WRONG.items() if v is not None}),
    "ceiling_db": (MixConfig, (-61.0, 0.1), WRONG),
    "drive_db": (MixConfig, (-0.1, 24.1), WRONG),
    "pan": (Placement, (-1.01, 1.01), WRONG),
    "fade_in": (Placement, (-0.1, LONGEST_FADE + 1), WRONG),
    "fade_out": (Placement, (-0.1, LONGEST_FADE + 1), WRONG),
}
OUTSIDE = {
    f"{name}: {told}": (kind, name, value)
    for name, (kind, beyond, wrong) in RANGES.items()
    for told, value in ({str(value): value for value in beyond} | wrong).items()
}


@pytest.mark.parametrize("case", OUTSIDE.values(), ids=OUTSIDE)
def test_a_setting_outside_its_range_is_refused_by_name(refused, case):
    kind, name, value = case
    with refused(rf"got {name} .*, expected", ConfigError):
        kind(**{name: value})


@pytest.mark.parametrize("name", RANGES)
def test_a_setting_at_its_default_is_taken(name):
    kind = RANGES[name][0]
    assert getattr(kind(), name) == getattr(kind(**{name: getattr(kind(), name)}), name)


SEEDS = {"negative": -1, "of 65 bits": 2**64, "half": 0.5} | WRONG


@pytest.mark.parametrize("stream", ["speech", "background"])
@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
def test_what_is_no_seed_is_refused(refused, stream, seed):
    with refused("seed: got .*, expected a whole number from 0 to"):
        Seeds(**{stream: seed})


STEPS = {"none": 0, "negative": -1, "half": 1.5, "a thousand million": 10**9, "one too many": MOST_STEPS + 1} | WRONG


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_what_is_no_number_of_steps_is_refused(refused, steps):
    with refused("steps: got .*, expected at least 1 and at most 1000"):
        evaluation_times(steps, "euler")


CHOICES = {
    "a solver": (lambda: evaluation_times(2, "rk9"), InputError, r"got 'rk9', expected one of \['euler', 'midpoint'\]"),
    "a delivery": (lambda: delivered(MixConfig(), "vhs"), ConfigError, "got 'vhs', expected one of r128, a85"),
    "what loudness is measured over": (lambda: MixConfig(target_over="all"), ConfigError, "got target_over 'all'"),
    "a drive of NaN": (lambda: delivered(MixConfig(), "r128", drive_db=math.nan), ConfigError, "got drive_db nan"),
}


@pytest.mark.parametrize("case", CHOICES.values(), ids=CHOICES)
def test_a_choice_that_is_none_is_refused(refused, case):
    make, error, says = case
    with refused(says, error):
        make()


DURATIONS = {"nothing at all": 0.0, "negative": -1.0, "longer than a day": 9e4, "one too long": LONGEST + 1} | WRONG


@pytest.mark.parametrize("measure", [lambda d: num_samples(d, 24_000), video_feature_times], ids=["samples", "times"])
@pytest.mark.parametrize("duration", DURATIONS.values(), ids=DURATIONS)
def test_what_is_no_duration_is_refused(refused, duration, measure):
    with refused("got .* s, expected (a positive number|at most 21600 s)"):
        measure(duration)


CLOCKS = {"that stands": 0, "backwards": -1, "half": 0.5} | WRONG


@pytest.mark.parametrize("setting", ["sample_rate", "hop_length"])
@pytest.mark.parametrize("value", CLOCKS.values(), ids=CLOCKS)
def test_a_clock_that_is_none_is_refused(refused, setting, value):
    with refused("must be positive", ConfigError):
        FrameClock(**({"sample_rate": 24_000, "hop_length": 600} | {setting: value}))


WEIGHTS = {
    "all nothing": [0.0, 0.0],
    "one negative": [2.0, -1.0],
    "one NaN": [1.0, math.nan],
    "one infinite": [1.0, math.inf],
    "one in words": [1.0, "1"],
    "one too few": [1.0],
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_of_voices_that_are_none_are_refused(refused, weights):
    voices = [Voice(torch.ones(4), "a"), Voice(torch.ones(4), "a")]
    with refused("blend: got .*expected"):
        blend_voices(voices, weights)


VALUES = {
    "a scale of NaN": ({"temperature": math.nan}, "config.temperature: got nan, expected a finite number"),
    "an infinite scale": ({"temperature": math.inf}, "got inf, expected a finite number"),
    "a number of 400 digits": ({"temperature": 10**400}, "got 1000.*…, expected a finite number"),
    "a count that is half": ({"top_k": 1.5}, r"got 1.5 \(float\), expected int"),
    "a count that is true": ({"top_k": True}, r"got True \(bool\), expected int"),
    "a count in words": ({"top_k": "x" * 9000}, r"got 'x+… \(str\), expected int"),
    "a setting that nobody knows": ({"top_q": 1}, r"unknown keys \['top_q'\]; known keys are"),
    "a list for an object": ([], "got list, expected an object"),
    "nothing for an object": (None, "got nothing, expected an object"),
}


@pytest.mark.parametrize("case", VALUES.values(), ids=VALUES)
def test_a_configuration_that_is_none_is_refused(refused, case):
    values, says = case
    with refused(says, ConfigError):
        from_dict(StreamSampling, values)


MELS = {"no rate": {"sample_rate": 0}, "no bands": {"n_mels": 0}, "no floor": {"floor": 0.0}, "no window": {"n_fft": 1}}


@pytest.mark.parametrize("change", MELS.values(), ids=MELS)
def test_a_spectrogram_that_is_none_is_refused(refused, change):
    values = {"sample_rate": 24_000, "n_fft": 1024, "hop_length": 256, "n_mels": 80, "floor": 1e-5}
    with refused("must be", ConfigError):
        MelConfig(**(values | change))
