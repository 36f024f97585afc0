from dataclasses import replace

import pytest
import torch

from dualdub_core import checkpoint
from dualdub_core.dualbench import paired_cosines
from dualdub_core.dualbench.beats import BeatsConfig, Patches
from dualdub_core.dualbench.casp import (
    BUILTIN_CASP,
    AttentionPool,
    Casp,
    CaspConfig,
    embed_stems,
    init_casp,
    load_casp,
    windows,
)
from dualdub_core.errors import CheckpointError, ConfigError, InputError
from dualdub_core.types import Audio

TINY = CaspConfig(
    beats=replace(BeatsConfig.mini(), patch_width=8, width=16, mlp_width=16, num_layers=1, num_heads=2),
    pool_heads=2,
    embedding_width=6,
    window=0.5,
)
RATE = 16_000


@pytest.fixture(scope="module")
def casp():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Casp(TINY)
        init_casp(network)
    return network.eval().requires_grad_(False)


def noise(seconds, seed=0, rate=RATE):
    generator = torch.Generator().manual_seed(seed)
    return Audio(0.1 * torch.randn(1, 1, round(seconds * rate), generator=generator), rate)


def test_sizes_are_as_stated():
    assert sum(p.numel() for p in Casp(CaspConfig.mini()).parameters()) == 682_801
    with torch.device("meta"):
        paper = Casp(CaspConfig.paper())
    # Both branches are the published network, and nothing else is large.
    branches = 2 * sum(p.numel() for p in paper.audio.parameters())
    assert branches == 2 * 90_311_792
    assert sum(p.numel() for p in paper.parameters()) - branches < 3e6


def test_embeddings_have_length_1_and_padding_changes_none(casp):
    waveform = noise(1.0).waveform[0].repeat(2, 1)
    for embed in (casp.embed_speech, casp.embed_audio):
        padded = embed(waveform, torch.tensor([9_000, RATE]))
        assert padded.shape == (2, 6)
        assert torch.allclose(padded.norm(dim=1), torch.ones(2))
        torch.testing.assert_close(padded[:1], embed(waveform[:1, :9_000]), atol=1e-5, rtol=0)


def test_speech_and_background_have_a_branch_each(casp):
    waveform = noise(0.5).waveform[0]
    assert not torch.allclose(casp.embed_speech(waveform), casp.embed_audio(waveform), atol=1e-3)


def test_pooling_is_the_mean_where_the_query_asks_nothing_and_never_hears_what_is_masked():
    torch.manual_seed(0)
    pool = AttentionPool(8, 2)
    features = torch.randn(1, 5, 8)
    mask = torch.tensor([[True, True, True, False, False]])
    values = pool.key_value(pool.norm(features[:, :3])).chunk(2, dim=-1)[1]
    torch.testing.assert_close(pool(Patches(features, mask)), pool.out(values.mean(1)))
    torch.nn.init.normal_(pool.query)
    other = features.clone()
    other[:, 3:] = 100
    assert torch.equal(pool(Patches(features, mask)), pool(Patches(other, mask)))


def test_windows_cover_a_recording_evenly():
    waveform = torch.arange(20_000.0)
    assert windows(waveform[:8_000], 0.5).shape == (1, 8_000)
    assert windows(waveform[:3_000], 0.5).shape == (1, 3_000)
    assert windows(waveform[:16_000], 0.5)[:, 0].tolist() == [0, 8_000]
    pieces = windows(waveform, 0.5)
    assert pieces[:, 0].tolist() == [0, 6_000, 12_000]
    assert pieces[-1, -1] == 19_999


def test_a_clip_is_the_mean_of_its_windows_at_the_same_places_of_both_stems(casp):
    speech, background = noise(1.0, 1), noise(1.0, 2)
    embeddings = embed_stems(casp, speech, background)
    halves = speech.waveform[0, 0].unflatten(0, (2, 8_000))
    mean = casp.embed_speech(halves).mean(0)
    torch.testing.assert_close(embeddings.speech, mean / mean.norm())
    halves = background.waveform[0, 0].unflatten(0, (2, 8_000))
    mean = casp.embed_audio(halves).mean(0)
    torch.testing.assert_close(embeddings.audio, mean / mean.norm())
    assert -1 <= float(paired_cosines(embeddings.speech[None], embeddings.audio[None])) <= 1


def test_what_one_stem_is_longer_and_how_many_channels_it_has_is_not_heard(casp):
    speech, background = noise(0.9, 1), noise(0.9, 2)
    longer = Audio(torch.cat((background.waveform, noise(0.4, 3).waveform), dim=2).repeat(1, 2, 1), RATE)
    one, other = embed_stems(casp, speech, background), embed_stems(casp, speech, longer)
    torch.testing.assert_close(one.audio, other.audio)
    torch.testing.assert_close(one.speech, other.speech)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.3])
def test_any_length_rate_and_silence_has_an_embedding(casp, seconds):
    silence = Audio(torch.zeros(1, 1, round(44_100 * seconds)), 44_100)
    embeddings = embed_stems(casp, noise(seconds, rate=24_000), silence)
    assert embeddings.speech.isfinite().all()
    assert float(embeddings.audio.norm()) == pytest.approx(1)


def test_a_checkpoint_gives_back_what_was_saved(casp, tmp_path):
    path = tmp_path / "casp.safetensors"
    checkpoint.save(path, {"casp": casp}, info={"name": "tiny", "status": checkpoint.UNTRAINED})
    loaded = load_casp(path)
    assert loaded.config == TINY
    assert not loaded.training
    waveform = noise(0.5).waveform[0]
    assert torch.equal(loaded.embed_speech(waveform), casp.embed_speech(waveform))
    assert "casp" not in checkpoint.COMPONENTS  # a judge is no part of a system


def test_the_temperature_starts_at_clips_and_stays_above_its_least():
    casp = Casp(TINY)
    assert float(casp.scale.detach()) == pytest.approx(1 / 0.07)
    torch.nn.init.constant_(casp.log_scale, 9.0)
    casp.limit_scale()
    assert float(casp.scale.detach()) == pytest.approx(100)


def test_unusable_input_sizes_and_files_are_refused(casp, tmp_path):
    with pytest.raises(InputError, match="CASP's speech: got 0 samples"):
        embed_stems(casp, Audio(torch.zeros(1, 1, 0), RATE), noise(0.5))
    with pytest.raises(InputError, match="CASP's background: got NaN"):
        embed_stems(casp, noise(0.5), Audio(torch.full((1, 1, 9_000), torch.nan), RATE))
    with pytest.raises(InputError, match="batch of 2 recordings"):
        embed_stems(casp, Audio(torch.zeros(2, 1, 9_000), RATE), noise(0.5))
    with pytest.raises(ConfigError, match="must be a multiple of"):
        replace(TINY, pool_heads=3)
    with pytest.raises(ConfigError, match="must be positive"):
        replace(TINY, window=0.0)
    with pytest.raises(CheckpointError, match="no such file"):
        load_casp(tmp_path / "none.safetensors")


@pytest.mark.skipif(not BUILTIN_CASP.is_file(), reason="the mini CASP is not trained yet")
def test_the_built_in_one_is_a_trained_mini():
    header = checkpoint.read_header(BUILTIN_CASP)
    assert header.is_trained
    assert load_casp().config == CaspConfig.mini()
