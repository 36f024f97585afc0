import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dualdub_core.errors import ConfigError, InputError
from dualdub_core.mixing.k_weighting import lufs_over
from dualdub_core.mixing.loudness import gain, integrated_lufs, true_peak_db
from dualdub_core.mixing.mixing import MixConfig, mix
from dualdub_core.mixing.placing import Placement
from dualdub_core.types import Audio, Soundtrack

RATE = 24_000
KINDS = ("noise", "impulses", "constant", "square", "silence", "one", "nyquist")


def soundtrack(speech, background, rate=RATE):
    return Soundtrack(Audio(speech, rate), Audio(background, rate))


def noise(*shape, seed=0, scale=0.1):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def signal(kind, samples, amplitude, seed):
    index = torch.arange(samples)
    shapes = {
        "noise": noise(samples, seed=seed, scale=1),
        "impulses": (noise(samples, seed=seed, scale=1) > 2.5).float(),
        "constant": torch.ones(samples),
        "square": 1 - 2 * (index // (3 + seed % 50) % 2).float(),
        "silence": torch.zeros(samples),
        "one": (index == seed % samples).float(),
        "nyquist": 1 - 2 * (index % 2).float(),
    }
    return amplitude * shapes[kind][None, None]


def syllables():
    """Half a second of speech-like noise from 1.0 s, in 3 s."""
    speech = torch.zeros(1, 1, 3 * RATE)
    speech[..., RATE : RATE + RATE // 2] = noise(RATE // 2, seed=1)
    return speech


def test_below_the_ceiling_nothing_changes():
    speech, background = noise(2, 2, 5_000, seed=1), noise(2, 2, 5_000, seed=2)
    mixed = mix(soundtrack(speech, background), MixConfig())
    assert torch.equal(mixed.speech.waveform, speech)
    assert torch.equal(mixed.background.waveform, background)
    assert torch.equal(mixed.mix.waveform, speech + background)
    assert torch.equal(mixed.gain_reduction_db, torch.zeros(2, dtype=torch.float64))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(KINDS),
    st.integers(1, 3_000),
    st.sampled_from([0.3, 1.0, 7.0, 1e4, 1e30]),
    st.sampled_from([-1.0, 0.5, 1.0, 1e3]),
    st.integers(0, 1_000),
    st.sampled_from([-30.0, -6.0, -1.0, 0.0]),
    st.sampled_from([8_000, 24_000, 44_100]),
    st.sampled_from([0.0, 12.0]),
)
def test_the_true_peak_never_exceeds_the_ceiling(
    kind_a, kind_b, samples, level_a, level_b, seed, ceiling, rate, ducking
):
    stems = soundtrack(signal(kind_a, samples, level_a, seed), signal(kind_b, samples, level_b, seed + 7), rate)
    mixed = mix(stems, MixConfig(ceiling_db=ceiling, ducking_db=ducking))
    assert mixed.mix.waveform.isfinite().all()
    assert float(true_peak_db(mixed.mix)) <= ceiling
    assert torch.equal(mixed.mix.waveform, mixed.speech.waveform + mixed.background.waveform)


def test_huge_stems_that_cancel_still_end_below_the_ceiling():
    huge = torch.full((1, 1, 4_000), 1e30)
    mixed = mix(soundtrack(huge, -huge + noise(1, 1, 4_000, scale=1e25)), MixConfig())
    assert float(true_peak_db(mixed.mix)) <= -1


def test_both_stems_get_the_same_gain():
    speech, background = noise(1, 2, RATE, seed=1, scale=0.6), noise(1, 2, RATE, seed=2, scale=0.6)
    mixed = mix(soundtrack(speech, background), MixConfig(ceiling_db=-3))
    gains = [mixed.speech.waveform / speech, mixed.background.waveform / background]
    for channel in (0, 1):
        torch.testing.assert_close(gains[0][0, channel], gains[1][0, 0], rtol=1e-5, atol=1e-6)


def test_a_peak_turns_the_sound_down_around_it_only():
    background = 0.1 * torch.sin(torch.arange(3 * RATE) * 0.3).expand(1, 1, -1)
    speech = torch.zeros(1, 1, 3 * RATE)
    speech[..., RATE : RATE + 240] = 3 * torch.hann_window(240)
    mixed = mix(soundtrack(speech, background), MixConfig())
    curve = (mixed.mix.waveform / (speech + background))[0, 0].nan_to_num(1.0)
    reduction = float(mixed.gain_reduction_db)
    assert reduction == pytest.approx(20 * math.log10(3.1) + 1, abs=0.3)
    # Where the limiter is at rest only the correction of the whole is left, and that is small.
    assert curve[: RATE - RATE // 100].min() > 0.99
    assert curve[RATE + RATE :].min() > 0.99
    decibels = 20 * curve.log10()
    assert decibels[RATE : RATE + 240].max() < -5
    assert decibels.diff().abs().max() < 0.12  # 11 dB within 5 ms are 0.09 dB a sample


def test_the_limiter_spends_what_it_must_and_hardly_more():
    loud = soundtrack(noise(1, 1, 2 * RATE, scale=0.5), torch.zeros(1, 1, 2 * RATE))
    mixed = mix(loud, MixConfig())
    assert -1.01 < float(mixed.true_peak_db) <= -1
    peak = float(true_peak_db(loud.speech))
    assert float(mixed.gain_reduction_db) == pytest.approx(peak + 1, abs=0.3)


def test_gains_are_applied_before_everything_else():
    speech, background = noise(1, 1, 4_000, seed=1), noise(1, 1, 4_000, seed=2)
    mixed = mix(soundtrack(speech, background), MixConfig(speech_gain_db=3, background_gain_db=-12))
    torch.testing.assert_close(mixed.speech.waveform, gain(Audio(speech, RATE), 3).waveform)
    torch.testing.assert_close(mixed.background.waveform, gain(Audio(background, RATE), -12).waveform)


def test_ducking_lowers_the_background_while_somebody_speaks():
    background = torch.full((1, 1, 3 * RATE), 0.1)
    config = MixConfig(ducking_db=12, duck_attack_ms=100, duck_release_ms=400)
    mixed = mix(soundtrack(syllables(), background), config)
    curve = 20 * (mixed.background.waveform / background)[0, 0].log10()
    assert torch.equal(mixed.speech.waveform, syllables())
    assert curve[RATE : RATE + RATE // 2].max() < -11.99
    assert torch.equal(curve[: RATE - RATE // 8], torch.zeros(RATE - RATE // 8))
    assert torch.equal(curve[2 * RATE :], torch.zeros(RATE))
    # Steepest in the middle of a raised cosine: 12 dB * pi / 2 over 100 ms.
    assert curve.diff().abs().max() < 12 * math.pi / 2 / (0.1 * RATE) * 1.05


def test_silent_speech_ducks_nothing():
    background = noise(1, 1, RATE)
    for level in (0.0, 1e-5):
        speech = noise(1, 1, RATE, seed=3, scale=level)
        mixed = mix(soundtrack(speech, background), MixConfig(ducking_db=20))
        assert torch.equal(mixed.background.waveform, background)


def test_noise_under_the_speech_does_not_hold_the_background_down():
    speech = syllables() + noise(1, 1, 3 * RATE, seed=4, scale=3e-4)
    background = torch.full((1, 1, 3 * RATE), 0.1)
    mixed = mix(soundtrack(speech, background), MixConfig(ducking_db=12))
    assert torch.equal(mixed.background.waveform[..., 2 * RATE :], background[..., 2 * RATE :])


@pytest.mark.parametrize("target", [-30.0, -16.0])
def test_the_sum_reaches_the_wanted_loudness(target):
    stems = soundtrack(noise(2, 2, RATE, seed=1), noise(2, 2, RATE, seed=2))
    mixed = mix(stems, MixConfig(target_lufs=target, ceiling_db=0))
    torch.testing.assert_close(mixed.lufs, torch.full((2,), target, dtype=torch.float64), rtol=0, atol=0.05)
    assert torch.equal(mixed.lufs, integrated_lufs(mixed.mix))
    balance = mixed.speech.waveform[0].norm() / mixed.background.waveform[0].norm()
    assert float(balance) == pytest.approx(
        float(stems.speech.waveform[0].norm() / stems.background.waveform[0].norm()), rel=1e-5
    )


def test_loudness_that_the_ceiling_does_not_allow_is_reported_as_reached():
    spiky = noise(1, 1, RATE, scale=0.01)
    spiky[..., ::2_000] = 1
    mixed = mix(soundtrack(spiky, torch.zeros_like(spiky)), MixConfig(target_lufs=-5))
    assert float(mixed.true_peak_db) <= -1
    assert float(mixed.lufs) < -6
    assert float(mixed.gain_reduction_db) > 1


def test_silence_stays_silence():
    silence = torch.zeros(1, 1, RATE)
    mixed = mix(soundtrack(silence, silence), MixConfig(target_lufs=-16, ducking_db=10))
    assert not mixed.mix.waveform.any()
    assert float(mixed.lufs) == float(mixed.true_peak_db) == -math.inf


def test_sound_too_short_for_a_loudness_keeps_its_level():
    short = noise(1, 1, 5_000)
    mixed = mix(soundtrack(short, short), MixConfig(target_lufs=-30))
    assert torch.equal(mixed.speech.waveform, short)


def test_batch_items_are_mixed_independently():
    speech = torch.cat((syllables(), noise(1, 1, 3 * RATE, seed=5, scale=2), torch.zeros(1, 1, 3 * RATE)))
    background = noise(3, 1, 3 * RATE, seed=6, scale=0.3)
    config = MixConfig(ducking_db=9, target_lufs=-14)
    together = mix(soundtrack(speech, background), config)
    for item in range(3):
        alone = mix(soundtrack(speech[item : item + 1], background[item : item + 1]), config)
        assert torch.equal(alone.mix.waveform[0], together.mix.waveform[item])
        assert torch.equal(alone.background.waveform[0], together.background.waveform[item])
        for name in ("lufs", "true_peak_db", "gain_reduction_db"):
            assert getattr(alone, name)[0] == getattr(together, name)[item]


@pytest.mark.parametrize("name", ["speech", "background"])
def test_a_stem_that_is_not_finite_is_refused_by_name(name):
    stems = {"speech": torch.zeros(1, 1, 10), "background": torch.zeros(1, 1, 10)}
    stems[name] = torch.full((1, 1, 10), math.inf)
    with pytest.raises(InputError, match=f"{name}: got NaN or infinite"):
        mix(soundtrack(**stems), MixConfig())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("speech_gain_db", math.nan),
        ("ducking_db", -3.0),
        ("duck_attack_ms", 0.0),
        ("target_lufs", 3.0),
        ("ceiling_db", 1.0),
    ],
)
def test_a_setting_out_of_range_is_refused(setting, value):
    with pytest.raises(ConfigError, match=f"got {setting} {value}"):
        MixConfig(**{setting: value})


def tone_bed(seconds=3):
    """Level enough that a gain can be read off it."""
    return 0.1 * torch.sin(torch.arange(seconds * RATE) * 0.3).expand(1, 1, -1)


def test_known_spans_duck_through_a_pause_that_energy_would_take_for_an_end():
    speech = syllables()
    speech[..., 2 * RATE : 2 * RATE + RATE // 4] = noise(RATE // 4, seed=2)
    background = torch.full((1, 1, 3 * RATE), 0.1)
    config = MixConfig(ducking_db=12, duck_attack_ms=20, duck_release_ms=20)
    known = mix(soundtrack(speech, background), config, spoken=[[(0.9, 2.9)]])
    heard = mix(soundtrack(speech, background), config)
    pause = slice(RATE * 17 // 10, RATE * 18 // 10)
    assert known.background.waveform[..., pause].max() < 0.03
    assert torch.equal(heard.background.waveform[..., pause], background[..., pause])
    # The slot is wider than what is said in it: silence before and after ducks nothing.
    ((start, end),) = known.items[0].spoken
    assert (start, end) == (pytest.approx(1.0, abs=0.01), pytest.approx(2.25, abs=0.01))
    for edge in (slice(0, RATE * 96 // 100), slice(RATE * 23 // 10, None)):
        assert torch.equal(known.background.waveform[..., edge], background[..., edge])
    assert known.items[0].is_known
    assert not heard.items[0].is_known


def test_a_hold_keeps_the_background_down_after_the_speech():
    background = torch.full((1, 1, 3 * RATE), 0.1)
    config = MixConfig(ducking_db=6, duck_release_ms=100, duck_hold_ms=500)
    mixed = mix(soundtrack(syllables(), background), config, spoken=[[(1.0, 1.5)]])
    curve = 20 * (mixed.background.waveform / background)[0, 0].log10()
    assert curve[RATE : RATE * 198 // 100].max() < -5.9
    assert torch.equal(curve[RATE * 212 // 100 :], torch.zeros(RATE * 88 // 100))
    assert mixed.items[0].ducking_db == pytest.approx(6, abs=1e-3)


def test_the_balance_is_the_loudness_between_the_stems_while_somebody_speaks():
    bed = tone_bed().clone()
    bed[..., 2 * RATE :] *= 3  # what lies outside the speech has no say
    config = MixConfig(speech_over_bed=12.0, ducking_db=6, ceiling_db=0)
    mixed = mix(soundtrack(syllables(), bed), config, spoken=[[(1.0, 1.5)]])
    spans = mixed.items[0].spoken
    stems = (mixed.speech.waveform[0], mixed.background.waveform[0])
    speech, background = (lufs_over(stem, RATE, spans) for stem in stems)
    assert speech - background == pytest.approx(12.0, abs=0.01)
    assert torch.equal(mixed.speech.waveform, syllables())
    assert mixed.items[0].unreached == ()


def test_loudness_is_reached_though_the_limiter_works():
    spiky = noise(1, 1, 2 * RATE, scale=0.1)
    spiky[..., :: RATE // 4] = 1
    stems = soundtrack(spiky, noise(1, 1, 2 * RATE, seed=3, scale=0.03))
    left = mix(stems, MixConfig(target_lufs=-16))
    driven = mix(stems, MixConfig(target_lufs=-16, drive_db=6))
    assert float(left.lufs) < -16.1
    assert "LUFS instead of -16.0, the ceiling is -1 dBTP" in left.items[0].unreached[0]
    assert float(driven.lufs) == pytest.approx(-16, abs=0.1)
    assert driven.items[0].unreached == ()
    assert float(driven.gain_reduction_db) > 1
    assert float(driven.true_peak_db) <= -1
    assert torch.equal(driven.mix.waveform, driven.speech.waveform + driven.background.waveform)


def test_dialogue_is_measured_where_somebody_speaks_and_nowhere_else():
    bed = torch.zeros(1, 1, 3 * RATE)
    bed[..., 2 * RATE :] = 0.5 * torch.sin(torch.arange(RATE) * 0.3)
    config = MixConfig(target_lufs=-27, target_over="speech", drive_db=6)
    mixed = mix(soundtrack(syllables(), bed), config, spoken=[[(1.0, 1.5)]])
    assert lufs_over(mixed.mix.waveform[0], RATE, mixed.items[0].spoken) == pytest.approx(-27, abs=0.05)
    assert float(mixed.lufs) > -22


@pytest.mark.parametrize(
    ("speech", "seconds", "config", "reason"),
    [
        (0.0, 1.0, MixConfig(target_lufs=-20), "silent, there is nothing to turn up"),
        (0.1, 0.3, MixConfig(target_lufs=-20), "too short, it takes 0.4 s"),
        (1e-5, 1.0, MixConfig(target_lufs=-20), "never above -70 LUFS"),
        (0.0, 1.0, MixConfig(target_lufs=-20, target_over="speech"), "silent"),
        (1e-5, 1.0, MixConfig(target_lufs=-20, target_over="speech"), "nobody is heard to speak, so dialogue has none"),
        (0.0, 1.0, MixConfig(speech_over_bed=9), "balance: nobody is heard to speak"),
        (0.1, 1.0, MixConfig(speech_over_bed=9), "balance: the background is silent while somebody speaks"),
    ],
)
def test_what_cannot_be_reached_says_why_and_changes_nothing(speech, seconds, config, reason):
    voice = noise(1, 1, int(seconds * RATE), scale=speech)
    mixed = mix(soundtrack(voice, torch.zeros_like(voice)), config)
    assert any(reason in why for why in mixed.items[0].unreached)
    assert torch.equal(mixed.speech.waveform, voice)


def test_stereo_stems_stay_exact_below_the_ceiling_and_apart():
    places = {"speech": Placement(pan=0.3, fade_in=0.2), "background": Placement(pan=-0.8, fade_out=0.5)}
    config = MixConfig(**places, ducking_db=6, speech_over_bed=3, target_lufs=-8, drive_db=3)
    speech = torch.cat((syllables(), syllables().flip(2)))
    background = noise(2, 1, 3 * RATE, seed=6, scale=0.3)
    spoken = [[(1.0, 1.5)], [(1.5, 2.0)]]
    mixed = mix(soundtrack(speech, background), config, spoken=spoken)
    assert mixed.mix.waveform.shape == (2, 2, 3 * RATE)
    assert torch.equal(mixed.mix.waveform, mixed.speech.waveform + mixed.background.waveform)
    assert float(mixed.true_peak_db.max()) <= -1
    for item in (0, 1):
        alone = mix(soundtrack(speech[item : item + 1], background[item : item + 1]), config, spoken=[spoken[item]])
        assert torch.equal(alone.mix.waveform[0], mixed.mix.waveform[item])
        assert alone.items[0] == mixed.items[item]


def test_spans_that_do_not_fit_are_refused():
    stems = soundtrack(syllables().expand(3, 1, -1), tone_bed().expand(3, 1, -1))
    with pytest.raises(InputError, match="spans of speech for 2 items, expected 1 or 3"):
        mix(stems, MixConfig(), spoken=[None, None])
    with pytest.raises(InputError, match=r"speech from 2.* to 1.* s, expected a start before the end"):
        mix(stems, MixConfig(), spoken=[[(2.0, 1.0)]])
    assert mix(stems, MixConfig(ducking_db=6), spoken=[[(9.0, 12.0)]]).items[2].spoken == ()
    with pytest.raises(InputError, match="got 3 channels, expected 1 or 2 to make stereo of"):
        mix(soundtrack(noise(1, 3, RATE), noise(1, 3, RATE)), MixConfig(stereo=True))
