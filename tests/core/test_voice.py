import logging
from dataclasses import replace

import pytest
import torch

from dualdub_core.errors import InputError
from dualdub_core.types import Audio
from dualdub_core.voice import blend_voices, encode_voice, voice_model_id


def recording(seconds: float, *, rate: int = 24_000, channels: int = 1, seed: int = 0) -> Audio:
    noise = torch.randn(1, channels, round(seconds * rate), generator=torch.Generator().manual_seed(seed))
    return Audio(0.1 * noise, rate)


def test_a_voice_is_one_embedding_that_depends_on_the_recording(tiny_model):
    one, again, other = (encode_voice(tiny_model, recording(3.0, seed=s)) for s in (0, 0, 1))
    assert one.embedding.shape == (16,)
    assert torch.equal(one.embedding, again.embedding)
    assert not torch.allclose(one.embedding, other.embedding)


def test_rate_and_channels_of_the_recording_do_not_matter(tiny_model):
    mono = recording(3.0)
    stereo = Audio(mono.waveform.expand(-1, 2, -1), mono.sample_rate)
    a, b = encode_voice(tiny_model, mono), encode_voice(tiny_model, stereo)
    torch.testing.assert_close(a.embedding, b.embedding)
    assert encode_voice(tiny_model, recording(3.0, rate=44_100, channels=2)).embedding.isfinite().all()


def test_of_a_long_recording_the_middle_is_heard(tiny_model):
    long = recording(14.0)
    middle = Audio(long.waveform[..., 2 * 24_000 : 12 * 24_000], 24_000)
    torch.testing.assert_close(encode_voice(tiny_model, long).embedding, encode_voice(tiny_model, middle).embedding)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (recording(0.2), "voice: got 0.20 s, expected at least 0.5 s"),
        (Audio(torch.zeros(1, 1, 48_000), 24_000), "voice: got silence"),
        (Audio(torch.full((1, 1, 48_000), float("nan")), 24_000), "voice: got NaN or infinite samples"),
        (Audio(torch.zeros(1, 1, 0), 24_000), "voice: got 0 samples"),
    ],
)
def test_a_recording_that_says_nothing_is_refused(tiny_model, audio, message):
    with pytest.raises(InputError, match=message):
        encode_voice(tiny_model, audio)


def test_a_short_recording_is_used_with_a_warning(tiny_model, caplog):
    with caplog.at_level(logging.WARNING, logger="dualdub_core.voice"):
        encode_voice(tiny_model, recording(1.0))
    assert "1.00 s is short" in caplog.text


def test_a_blend_is_the_weighted_mean(tiny_model):
    a, b = (encode_voice(tiny_model, recording(3.0, seed=s), name=n) for s, n in ((0, "Anna"), (1, "Ben")))
    mixed = blend_voices([a, b], [3, 1])
    torch.testing.assert_close(mixed.embedding, 0.75 * a.embedding + 0.25 * b.embedding)
    assert mixed.name == "Anna + Ben"
    torch.testing.assert_close(blend_voices([a, b], [1, 0]).embedding, a.embedding)


def test_what_cannot_be_blended_is_refused(tiny_model):
    voice = encode_voice(tiny_model, recording(3.0))
    with pytest.raises(InputError, match="got 0 voices and 0 weights"):
        blend_voices([], [])
    with pytest.raises(InputError, match=r"got weights \[0.0, 0.0\]"):
        blend_voices([voice, voice], [0.0, 0.0])
    with pytest.raises(InputError, match="belong to different models"):
        blend_voices([voice, replace(voice, model_id="other")], [1, 1])


def test_the_same_model_in_another_dtype_has_the_same_voices(tiny_model):
    import copy

    assert voice_model_id(copy.deepcopy(tiny_model).bfloat16()) == voice_model_id(tiny_model)
