"""Fixtures that several test files share: tiny configurations of the real classes."""

from dataclasses import replace

import pytest
import torch

from dualdub_core.audio import MelConfig
from dualdub_core.models.aligner import AlignerConfig
from dualdub_core.models.dualdub import DualDub, DualDubConfig
from dualdub_core.models.llama import LlamaConfig
from dualdub_core.models.speaker import SpeakerEncoderConfig


@pytest.fixture(scope="session")
def tiny_config() -> DualDubConfig:
    """A DualDub of width 16 that keeps the mini model's clocks and text."""
    return replace(
        DualDubConfig.mini(),
        codebook_size=24,
        video_width=8,
        speaker=SpeakerEncoderConfig(mel=MelConfig.mini(), width=8, num_layers=1, num_heads=2, out_width=16),
        aligner=AlignerConfig(width=16, num_heads=2),
        llama=LlamaConfig(width=16, num_layers=2, num_heads=2, mlp_width=32),
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_config: DualDubConfig) -> DualDub:
    """The same weights every time, larger than at the start of training so that everything has a say."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DualDub(tiny_config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval().requires_grad_(False)
