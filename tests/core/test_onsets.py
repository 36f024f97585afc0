import pytest
import torch

from dualdub_core.errors import InputError
from dualdub_core.onsets import detect_onsets
from dualdub_core.types import Audio


def clicks(times, rate, seconds=2.0, level=0.5):
    """Short bursts that ring out, as of things that fall."""
    sound = torch.zeros(1, 1, round(seconds * rate))
    decay = torch.exp(-torch.arange(rate // 5) / (rate / 30))
    burst = level * decay * torch.randn(rate // 5, generator=torch.Generator().manual_seed(0))
    for time in times:
        first = round(time * rate)
        part = sound[..., first : first + len(burst)]
        part += burst[: part.shape[-1]]
    return Audio(sound, rate)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("level", [0.5, 0.01])
def test_every_burst_is_heard_within_ten_milliseconds(rate, level):
    times = [0.0, 0.31, 0.9, 1.05, 1.7]
    assert detect_onsets(clicks(times, rate, level=level)) == pytest.approx(times, abs=0.01)


def test_a_burst_is_heard_over_a_quiet_bed_and_the_bed_is_not():
    sound = clicks([0.5, 1.4], 24_000)
    bed = 0.005 * torch.randn(1, 1, sound.num_samples, generator=torch.Generator().manual_seed(1))
    assert detect_onsets(Audio(sound.waveform + bed, 24_000)) == pytest.approx([0.5, 1.4], abs=0.01)
    steady = detect_onsets(Audio(20 * bed, 24_000))
    assert len([time for time in steady if time > 0.05]) == 0


def test_a_tone_begins_once_and_its_end_begins_nothing():
    tone = 0.3 + 0.2 * torch.sin(torch.arange(12_345) * 0.2)[None, None]
    assert detect_onsets(Audio(tone, 24_000)) == pytest.approx([0.0], abs=0.01)


def test_silence_has_no_onsets_and_a_batch_is_refused():
    assert detect_onsets(Audio(torch.zeros(1, 2, 5_000), 8_000)) == []
    assert detect_onsets(Audio(torch.zeros(1, 1, 1), 8_000)) == []
    with pytest.raises(InputError, match="onsets: got a batch of 2"):
        detect_onsets(Audio(torch.zeros(2, 1, 100), 8_000))
