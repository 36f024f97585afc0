import pytest
import torch

from dualdub_core.dualbench import vggish_patches
from dualdub_core.dualbench.vggish import VGGish, VGGishConfig, load_vggish
from dualdub_core.errors import CheckpointError, ConfigError


@pytest.fixture(scope="module")
def judge():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VGGish(VGGishConfig.mini()).eval().requires_grad_(False)


def test_the_published_network_has_its_names_and_its_size():
    with torch.device("meta"):
        state = VGGish(VGGishConfig.paper()).state_dict()
    # The published file has 72,141,184 float32 numbers.
    assert sum(tensor.numel() for tensor in state.values()) == 72_141_184
    layers = [f"features.{i}" for i in (0, 3, 6, 8, 11, 13)] + [f"embeddings.{i}" for i in (0, 2, 4)]
    assert sorted(state) == sorted(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias"))
    assert state["embeddings.0.weight"].shape == (4096, 512 * 4 * 6)


def test_a_recording_has_one_embedding_per_patch(judge):
    assert judge(torch.randn(32_000)).shape == (2, 6)
    assert judge(torch.randn(1_600)).shape == (0, 6)


def test_a_patch_is_embedded_alone(judge):
    waveform = torch.randn(48_000)
    assert torch.allclose(judge(waveform)[:1], judge(waveform[:16_000]), atol=1e-6)


def test_the_first_linear_layer_counts_time_then_bands_then_channels(judge):
    waveform = torch.randn(32_000)
    maps = judge.features(vggish_patches(waveform)[:, None])
    assert maps.shape == (2, 5, 6, 4)
    by_hand = torch.stack([maps[:, :, time, band] for time in range(6) for band in range(4)], dim=1)
    assert torch.allclose(judge(waveform), judge.embeddings(by_hand.flatten(1)), atol=1e-6)


def test_a_published_file_is_loaded_without_its_pca(tmp_path, judge):
    torch.save({**judge.state_dict(), "pproc.pca_means": torch.zeros(6, 1)}, tmp_path / "vggish.pth")
    waveform = torch.randn(16_000)
    assert torch.equal(load_vggish(tmp_path / "vggish.pth", VGGishConfig.mini())(waveform), judge(waveform))


def test_another_networks_file_is_refused(tmp_path, judge):
    torch.save(judge.state_dict(), tmp_path / "vggish.pth")
    with pytest.raises(CheckpointError, match="wrong shapes"):
        load_vggish(tmp_path / "vggish.pth")
    with pytest.raises(CheckpointError):
        load_vggish(tmp_path / "missing.pth")
    with pytest.raises(ConfigError, match="must be positive"):
        VGGishConfig(channels=(1, 1, 1, 0), hidden=1, width=1)
