import math

import pytest
import torch

from dualdub_core.errors import ConfigError
from dualdub_core.mixing.loudness import integrated_lufs
from dualdub_core.mixing.placing import Placement, placed
from dualdub_core.types import Audio

RATE = 8_000


def noise(channels, samples=RATE, seed=0):
    return 0.1 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pan", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_a_panned_mono_stem_keeps_its_power_and_its_loudness(pan):
    mono = noise(1)
    both = placed(mono, RATE, Placement(pan=pan), stereo=True)
    torch.testing.assert_close(both.square().sum(0), mono[0].square())
    before, after = (float(integrated_lufs(Audio(sound[None], RATE))) for sound in (mono, both))
    assert after == pytest.approx(before, abs=1e-4)
    assert both[1].norm() / both[0].norm() == pytest.approx(math.tan((pan + 1) * math.pi / 4), rel=1e-3, abs=1e-5) or (
        pan == 1 and float(both[0].norm()) < 1e-5
    )


def test_a_stereo_stem_in_the_middle_is_left_as_it_is_and_leans_by_constant_power():
    stereo = noise(2)
    assert placed(stereo, RATE, Placement(), stereo=True) is stereo
    left, right = placed(stereo, RATE, Placement(pan=0.5), stereo=True) / stereo
    torch.testing.assert_close(left.square() + right.square(), torch.full_like(left, 2.0))
    assert right.mean() > left.mean()


def test_fades_begin_and_end_in_silence_and_leave_the_middle_alone():
    stem = torch.ones(1, RATE)
    faded = placed(stem, RATE, Placement(fade_in=0.25, fade_out=0.5), stereo=False)[0]
    assert faded[0] == faded[-1] == 0
    assert torch.equal(faded[RATE // 4 : RATE // 2], torch.ones(RATE // 4))
    assert faded[RATE // 8] == pytest.approx(0.5, abs=1e-3)
    assert faded[RATE * 3 // 4] == pytest.approx(0.5, abs=1e-3)
    assert faded.diff().abs().max() < 0.001
    long = placed(stem, RATE, Placement(fade_in=9), stereo=False)[0]
    assert long[0] == 0
    assert long[-1] > 0.999


@pytest.mark.parametrize(("name", "value"), [("pan", 1.5), ("pan", math.nan), ("fade_in", -1.0), ("fade_out", 1e9)])
def test_places_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"got {name} {value}"):
        Placement(**{name: value})
