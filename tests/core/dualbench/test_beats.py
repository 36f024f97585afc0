import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dualdub_core.checkpoint import read_published, read_published_values
from dualdub_core.dualbench.beats import Beats, BeatsConfig, init_beats, load_beats, position_buckets
from dualdub_core.errors import CheckpointError, ConfigError, InputError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bench"
PUBLISHED = FIXTURES / "beats_small.pt"
TABLE = "self_attn.relative_attention_bias.weight"


@pytest.fixture(scope="module")
def beats():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Beats(replace(BeatsConfig.mini(), width=16, mlp_width=24, patch_width=8, position_kernel=8))
        init_beats(network)
        for name, parameter in network.named_parameters():
            if name.endswith((TABLE, "grep_linear.weight", "grep_a")):
                torch.nn.init.normal_(parameter)  # near zero they would be right by chance
    return network.eval().requires_grad_(False)


def golden_sound():
    times = torch.arange(20_000, dtype=torch.float64) / 16_000
    chirp = 0.2 * torch.sin(2 * math.pi * (300 * times + 900 * times**2))
    return (chirp + 0.1 * torch.sin(2 * math.pi * 2_500 * times)).float()[None]


def rewritten(tmp_path, *, cfg=(), model=(), drop=()):
    values = {**read_published_values(PUBLISHED, "cfg"), **dict(cfg)}
    state = {**read_published(PUBLISHED), **dict(model)}
    path = tmp_path / "beats.pt"
    torch.save({"cfg": values, "model": {key: state[key] for key in state if key not in drop}}, path)
    return path


def test_a_published_file_hears_what_its_own_code_hears():
    patches = load_beats(PUBLISHED)(golden_sound())
    expected = torch.from_numpy(np.load(FIXTURES / "networks.npz")["beats_small__features"])
    torch.testing.assert_close(patches.features[0], expected, atol=2e-5, rtol=0)
    assert patches.mask.all()


def test_the_published_network_has_its_size_and_its_names():
    with torch.device("meta"):
        state = Beats(BeatsConfig.paper()).state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 90_311_792  # "90M" in the paper
    assert state["encoder.pos_conv.0.weight_v"].shape == (768, 48, 128)
    assert state["encoder.pos_conv.0.weight_g"].shape == (1, 1, 128)
    assert state[f"encoder.layers.0.{TABLE}"].shape == (320, 12)
    assert {"patch_embedding.weight", "layer_norm.bias", "post_extract_proj.weight", "encoder.layer_norm.weight"} <= {
        *state
    }


def test_positions_fall_into_the_buckets_of_their_formula():
    buckets = position_buckets(2_000, num_buckets=320, max_distance=800)
    from_the_first, from_the_last = buckets[0], buckets[-1].flip(0)
    # One bucket each for fewer than 80 steps, then 80 more whose width grows by the same factor up to 800 steps.
    expected = [
        min(step if step < 80 else 80 + int(math.log(step / 80) / math.log(10) * 80 + 1e-9), 159)
        for step in range(2_000)
    ]
    assert from_the_last.tolist() == expected
    assert from_the_first[1:].tolist() == [160 + bucket for bucket in expected[1:]]
    assert from_the_first[0] == 0
    assert torch.equal(buckets[5:105, 5:105], buckets[:100, :100])


def test_there_is_one_patch_of_every_16_frames_and_16_bands(beats):
    for seconds, columns in ((0.175, 1), (1.0, 6), (5.0, 31)):
        patches = beats(torch.randn(2, round(16_000 * seconds)))
        assert patches.features.shape == (2, 8 * columns, 16)
        assert patches.mask.shape == (2, 8 * columns)
        assert patches.mask.all()


@pytest.mark.parametrize("own", [300, 2_800, 12_345, 16_000])
def test_padding_a_row_changes_nothing(beats, own):
    waveform = torch.randn(2, 24_000) * 0.1
    alone = beats(waveform[:1, :own])
    patches = beats(waveform, torch.tensor([own, 24_000]))
    heard = patches.features[0][patches.mask[0]]
    torch.testing.assert_close(heard, alone.features[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.features[1], beats(waveform[1:]).features[0], atol=1e-5, rtol=0)


def test_the_order_of_the_patches_matters(beats):
    waveform = torch.randn(1, 16_000) * torch.linspace(0.001, 1, 16_000)
    there, back = beats(waveform).features.mean(1), beats(waveform.flip(1)).features.mean(1)
    assert (there - back).abs().max() > 0.01


def test_silence_and_a_tenth_of_a_second_are_heard(beats):
    for waveform in (torch.zeros(1, 8_000), torch.randn(1, 1_600), torch.zeros(1, 1)):
        assert beats(waveform).features.isfinite().all()


def test_a_file_whose_tables_switches_or_tensors_do_not_fit_is_refused(tmp_path):
    other = rewritten(tmp_path, model={f"encoder.layers.1.{TABLE}": torch.zeros(16, 2)})
    with pytest.raises(CheckpointError, match="not the table of the first layer"):
        load_beats(other)
    with pytest.raises(CheckpointError, match=r"cfg has {'layer_norm_first': True}, expected"):
        load_beats(rewritten(tmp_path, cfg={"layer_norm_first": True}))
    with pytest.raises(CheckpointError, match=r"wrong shapes: encoder.layers.0.fc1.bias"):
        load_beats(rewritten(tmp_path, cfg={"encoder_ffn_embed_dim": 25}))
    with pytest.raises(CheckpointError, match=r"missing encoder.layers.0.self_attn.grep_a"):
        load_beats(rewritten(tmp_path, drop=["encoder.layers.0.self_attn.grep_a"]))
    with pytest.raises(CheckpointError, match=r"missing encoder.layers.0.self_attn.relative_attention_bias"):
        load_beats(rewritten(tmp_path, drop=[f"encoder.layers.{i}.{TABLE}" for i in range(2)]))


def test_a_file_without_sizes_is_refused(tmp_path):
    torch.save({"model": read_published(PUBLISHED)}, tmp_path / "beats.pt")
    with pytest.raises(CheckpointError, match=r"beats.pt: has no values under 'cfg'"):
        load_beats(tmp_path / "beats.pt")
    torch.save({"cfg": {"conv_pos": 8}, "model": {}}, tmp_path / "beats.pt")
    with pytest.raises(CheckpointError, match="its cfg lacks"):
        load_beats(tmp_path / "beats.pt")


def test_unusable_sizes_and_lengths_are_refused(beats):
    with pytest.raises(ConfigError, match="must be a multiple of"):
        replace(BeatsConfig.mini(), num_heads=5)
    with pytest.raises(ConfigError, match="a quarter of it less than"):
        replace(BeatsConfig.mini(), max_distance=16)
    for lengths in ([0, 5], [5, 1_001]):
        with pytest.raises(InputError, match="expected 1 to as many"):
            beats(torch.zeros(2, 1_000), torch.tensor(lengths))
    with pytest.raises(InputError, match="BEATs: got"):
        beats(torch.zeros(1, 0))


def test_training_from_scratch_starts_with_a_signal_in_every_layer():
    torch.manual_seed(0)
    network = Beats(BeatsConfig.mini()).eval()
    init_beats(network)
    features = network(torch.randn(2, 16_000) * 0.1).features
    assert 0.5 < float(features.detach().std()) < 2
    assert network.encoder.pos_conv[0].weight_g.min() > 0
    features.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
