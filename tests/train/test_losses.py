"""Losses against closed-form answers."""

import math

import pytest
import torch
from torch.nn import functional as F

from train.config import SpectralConfig
from train.losses import IGNORE, kl_divergence, language_losses, mel_distance, sound_distances, stft_distance


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    losses = language_losses(torch.zeros(2, 2, 5, 33), torch.zeros(2, 2, 5, dtype=torch.int64))
    assert losses.total.item() == pytest.approx(math.log(33))
    assert losses.background.item() == losses.speech.item() == pytest.approx(math.log(33))


def test_only_targets_count_each_the_same():
    logits, targets = torch.randn(2, 2, 5, 9), torch.full((2, 2, 5), IGNORE)
    targets[0, 1] = 3
    targets[1, 1, :2] = 4
    expected = F.cross_entropy(torch.cat((logits[0, 1], logits[1, 1, :2])), torch.tensor([3] * 5 + [4] * 2))
    losses = language_losses(logits, targets)
    torch.testing.assert_close(losses.total, expected)
    torch.testing.assert_close(losses.speech, expected)
    assert losses.background.isnan()


def test_a_masked_head_gets_no_gradient():
    logits = torch.randn(1, 2, 4, 9, requires_grad=True)
    targets = torch.full((1, 2, 4), IGNORE)
    targets[:, 0] = 1
    language_losses(logits, targets).total.backward()
    assert logits.grad[:, 1].abs().max() == 0
    assert logits.grad[:, 0].abs().max() > 0


def test_equal_sounds_have_no_distance():
    sound = 0.1 * torch.randn(2, 4800)
    assert stft_distance(sound, sound).item() == 0
    assert mel_distance(sound, sound, 24_000).item() == 0


def test_distances_grow_with_the_difference_and_have_finite_gradients_in_silence():
    target = 0.1 * torch.randn(1, 1, 4800)
    target[..., 2400:] = 0
    near, far = (target + size * torch.randn_like(target) for size in (0.01, 0.1))
    config = SpectralConfig(stft=1.0, mel=1.0, waveform=1.0)
    assert sound_distances(near, target, 24_000, config).weighted(config) < sound_distances(
        far, target, 24_000, config
    ).weighted(config)
    silent = torch.zeros(1, 1, 4800, requires_grad=True)
    sound_distances(silent, target * 0, 24_000, config).weighted(config).backward()
    assert silent.grad.isfinite().all()


def test_a_weight_of_zero_costs_no_work():
    a, b = torch.randn(1, 1, 4800), torch.randn(1, 1, 4800)
    distances = sound_distances(a, b, 24_000, SpectralConfig(stft=0.0, mel=0.0, waveform=1.0))
    assert distances.stft == distances.mel == 0
    torch.testing.assert_close(distances.waveform, (a - b).abs().mean())


def test_the_standard_normal_has_no_divergence_from_itself():
    zeros, ones = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    assert kl_divergence(zeros, ones).item() == 0
    assert kl_divergence(ones, ones).item() == pytest.approx(0.5)
