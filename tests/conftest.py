"""Fixtures that several test files share: tiny configurations of the real classes."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dualdub_core.audio import MelConfig
from dualdub_core.models.aligner import AlignerConfig
from dualdub_core.models.dit import FlowDecoder, FlowDecoderConfig
from dualdub_core.models.dualdub import DualDub, DualDubConfig
from dualdub_core.models.llama import LlamaConfig
from dualdub_core.models.oobleck import Oobleck, OobleckConfig
from dualdub_core.models.speaker import SpeakerEncoderConfig
from dualdub_core.models.wavtokenizer import WavTokenizer, WavTokenizerConfig


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


@pytest.fixture(scope="session")
def tiny_codec(tiny_config: DualDubConfig) -> WavTokenizer:
    """A codec at the real rate with the tiny model's codebook."""
    config = replace(
        WavTokenizerConfig.mini(),
        n_filters=2,
        dimension=8,
        codebook_size=tiny_config.codebook_size,
        backbone_width=32,
        backbone_mlp_width=32,
        num_backbone_layers=1,
        encoder="seanet",
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return WavTokenizer(config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_vae() -> Oobleck:
    """A stereo VAE whose rate is unlike the codec's."""
    config = replace(OobleckConfig.mini(), sample_rate=16_000, audio_channels=2, channels=4, latent_channels=3)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Oobleck(config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_decoder(tiny_config: DualDubConfig, tiny_vae: Oobleck) -> FlowDecoder:
    """A flow decoder between the tiny codec and the tiny VAE, not at its zero initialisation."""
    config = FlowDecoderConfig(
        codebook_size=tiny_config.codebook_size,
        code_clock=tiny_config.clock,
        latent_clock=tiny_vae.config.clock,
        latent_channels=tiny_vae.config.latent_channels,
        width=16,
        num_layers=1,
        num_heads=2,
        mlp_ratio=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        decoder = FlowDecoder(config)
        for parameter in decoder.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return decoder.eval().requires_grad_(False)


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small silent video; `stamps` are presentation times in units of 1/`rate` seconds."""

    def make(name: str = "clip.mp4", *, rate: Fraction | int = 25, num_frames: int = 25, stamps=None) -> Path:
        path = tmp_path / name
        rate = Fraction(rate)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=rate)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.time_base = 1 / rate
            for index, stamp in enumerate(stamps or range(num_frames)):
                picture = np.full((48, 64, 3), 40 * (index % 6), np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = stamp, 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make
