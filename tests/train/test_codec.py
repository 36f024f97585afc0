"""How the codec starts: tokens of log-mel frames, and weights that see quiet sound."""

from dataclasses import replace

import numpy as np
import torch

from dualdub_core.models.oobleck import Oobleck, OobleckConfig
from dualdub_core.models.wavtokenizer import WavTokenizer
from train.config import CodecTraining
from train.initialise import scale_to_unit
from train.sizes import codec_config
from train.sounds import SoundBatch
from train.trainers.codec import CodecObjective, kmeans, mel_frames
from train.trainers.vae import initialise

CONFIG = codec_config("tiny")


def codec():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WavTokenizer(CONFIG)


def test_kmeans_finds_clusters_that_are_there():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = centres.repeat(50, 1) + 0.1 * torch.randn(150, 2, generator=generator)
    found, distance = kmeans(points, 3, rounds=20, rng=np.random.default_rng(0))
    assert distance < 0.02
    assert torch.cdist(centres, found).min(1).values.max() < 0.1


def test_every_code_has_a_place_even_with_fewer_points_than_codes():
    found, _ = kmeans(torch.randn(5, 4), 9, rounds=3, rng=np.random.default_rng(0))
    assert found.shape == (9, 4)
    assert found.isfinite().all()


def test_a_mel_frame_is_about_the_samples_its_code_covers():
    waveform = torch.zeros(1, 1, 10 * CONFIG.hop_length)
    waveform[..., 4 * CONFIG.hop_length + 300] = 1.0
    energy = mel_frames(waveform, CONFIG)[0].mean(0)
    assert energy.shape == (10,)
    assert int(energy.argmax()) == 4


def test_the_joint_phase_moves_codes_towards_what_chose_them():
    objective = CodecObjective(codec(), CodecTraining(phase="joint", size="tiny", codebook_decay=0.5)).train()
    before = objective.codec.codebook.weight.clone()
    waveform = 0.1 * torch.randn(2, 1, 4 * CONFIG.hop_length)
    with torch.no_grad():
        embeddings = objective.codec.encoder(waveform)
        chosen = objective.codec.quantise(embeddings).unique()
        objective(SoundBatch("sound", 0, waveform))
        objective.after_update()
    after = objective.codec.codebook.weight
    moved = (after - before).abs().amax(1) > 1e-6
    assert set(moved.nonzero()[:, 0].tolist()) == set(chosen.tolist())


def test_each_phase_trains_its_own_parts():
    def trained(phase):
        objective = CodecObjective(codec(), CodecTraining(phase=phase, size="tiny"))
        return {name.split(".")[1] for name, p in objective.named_parameters() if p.requires_grad}

    assert trained("decoder") == {"backbone", "head"}
    assert trained("encoder") == {"encoder"}
    assert trained("joint") == {"encoder", "backbone", "head"}


def test_quiet_sound_leaves_the_encoder_as_loud_as_1():
    quiet, encoder = 1e-3 * torch.randn(2, 1, 4 * CONFIG.hop_length), codec().encoder
    assert encoder(quiet).std() < 0.5
    scale_to_unit(encoder, lambda: encoder(quiet))
    torch.testing.assert_close(encoder(quiet).std(), torch.tensor(1.0), rtol=1e-3, atol=0)


def test_a_new_vae_has_latents_near_1_and_speaks_quietly():
    vae = Oobleck(replace(OobleckConfig.mini(), channels=2, latent_channels=8))
    sound = 0.01 * torch.randn(2, 1, 3000)
    initialise(vae, sound)
    mean, std = vae.encode_distribution(sound)
    assert 0.3 < mean.std() < 3
    assert std.max() < 0.2
    assert 0.02 < vae.decode(mean).std() < 0.1
