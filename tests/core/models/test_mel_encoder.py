"""Codes of log-mel frames: exact, of any length, and there is nothing to learn in them."""

from dataclasses import replace

import pytest
import torch

from dualdub_core import checkpoint
from dualdub_core.errors import ConfigError
from dualdub_core.models.mel_encoder import MelEncoder
from dualdub_core.models.wavtokenizer import WavTokenizer, WavTokenizerConfig
from train.config import CodecTraining, DataConfig, OptimiserConfig, RunConfig
from train.trainers import codec as codec_trainer

CONFIG = replace(
    WavTokenizerConfig.mini(), codebook_size=16, backbone_width=32, backbone_mlp_width=32, num_backbone_layers=1
)


@pytest.fixture
def codec():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WavTokenizer(CONFIG).eval()


@pytest.mark.parametrize(("num_samples", "num_codes"), [(1, 1), (599, 1), (600, 1), (601, 2), (24_000, 40)])
def test_every_begun_hop_has_a_code(codec, num_samples, num_codes):
    with torch.inference_mode():
        assert codec.encode(torch.randn(2, 1, num_samples)).shape == (2, num_codes)


def test_sound_made_of_a_code_s_own_frames_gets_that_code(codec):
    waveform = torch.randn(1, 1, 20 * CONFIG.hop_length, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        frames = codec.encoder(waveform)[0].T  # (T, D)
        codec.codebook.weight.data.copy_(frames[:16])
        assert codec.encode(waveform)[0, :16].tolist() == list(range(16))


def test_a_frame_hears_no_more_than_its_neighbours(codec):
    hop = CONFIG.hop_length
    waveform = torch.zeros(1, 1, 10 * hop)
    waveform[..., 5 * hop + 10] = 1.0
    frames = codec.encoder(waveform)
    changed = (frames != codec.encoder(torch.zeros_like(waveform))).any(1)[0]
    assert set(changed.nonzero()[:, 0].tolist()) <= {4, 5, 6}
    assert changed[5]


def test_frames_are_exact_under_autocast():
    encoder = MelEncoder(sample_rate=24_000, hop_length=600, num_bands=80)
    waveform = torch.randn(1, 1, 6_000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = encoder(waveform)
    assert torch.equal(autocast, encoder(waveform))


def test_the_checkpoint_says_which_encoder_it_has(codec, tmp_path):
    checkpoint.save(tmp_path / "codec.safetensors", {"codec": codec}, info={"name": "codec", "status": "untrained"})
    loaded = checkpoint.load(tmp_path / "codec.safetensors").modules["codec"]
    assert loaded.config.encoder == "mel"
    assert not any(name.startswith("encoder.") for name in loaded.state_dict())


def test_training_an_encoder_that_learns_nothing_is_refused(codec, tmp_path):
    checkpoint.save(tmp_path / "codec.safetensors", {"codec": codec}, info={"name": "codec", "status": "untrained"})
    config = RunConfig(
        name="encoder",
        folder=str(tmp_path / "run"),
        data=DataConfig(train=str(tmp_path), micro_batch=1),
        optimiser=OptimiserConfig(max_lr=1e-3, min_lr=0.0, warmup=1),
        num_updates=1,
        global_batch=1,
        codec=CodecTraining(phase="encoder", size="mini", init=str(tmp_path / "codec.safetensors")),
    )
    with pytest.raises(ConfigError, match="'mel', which learns nothing"):
        codec_trainer.make(config, is_resumed=False)
