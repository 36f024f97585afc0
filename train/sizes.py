"""Configurations by the size a run names; "tiny" exists only to run every trainer in seconds."""

from dataclasses import replace
from typing import Any, TypeVar

from dualdub_core.audio import MelConfig
from dualdub_core.dualbench.beats import BeatsConfig
from dualdub_core.dualbench.casp import CaspConfig
from dualdub_core.models.aligner import AlignerConfig
from dualdub_core.models.clip import ClipConfig
from dualdub_core.models.dit import FlowDecoderConfig
from dualdub_core.models.dualdub import DualDubConfig
from dualdub_core.models.llama import LlamaConfig
from dualdub_core.models.oobleck import OobleckConfig
from dualdub_core.models.speaker import SpeakerEncoderConfig
from dualdub_core.models.wavtokenizer import WavTokenizerConfig

from .config import Size

_CODES = 32
_LATENTS = 8
_VIDEO = 16

C = TypeVar("C")


def codec_config(size: Size) -> WavTokenizerConfig:
    """Of the codec."""
    if size != "tiny":
        return _named(WavTokenizerConfig, size)
    return replace(
        WavTokenizerConfig.mini(),
        n_filters=2,
        dimension=32,
        codebook_size=_CODES,
        backbone_width=32,
        backbone_mlp_width=32,
        num_backbone_layers=1,
        encoder="seanet",
    )


def vae_config(size: Size) -> OobleckConfig:
    """Of the VAE."""
    return (
        _named(OobleckConfig, size)
        if size != "tiny"
        else replace(OobleckConfig.mini(), channels=2, latent_channels=_LATENTS)
    )


def flow_config(size: Size) -> FlowDecoderConfig:
    """Of the flow decoder."""
    if size != "tiny":
        return _named(FlowDecoderConfig, size)
    return replace(
        FlowDecoderConfig.mini(), codebook_size=_CODES, latent_channels=_LATENTS, width=16, num_layers=1, num_heads=2
    )


def video_encoder_config(size: Size) -> ClipConfig:
    """Of the video encoder."""
    if size != "tiny":
        return _named(ClipConfig, size)
    return replace(
        ClipConfig.mini(), width=16, num_layers=1, num_heads=2, mlp_width=16, projection_dim=_VIDEO, patch_size=32
    )


def language_config(size: Size) -> DualDubConfig:
    """Of the language model."""
    if size != "tiny":
        return _named(DualDubConfig, size)
    return replace(
        DualDubConfig.mini(),
        codebook_size=_CODES,
        video_width=_VIDEO,
        speaker=SpeakerEncoderConfig(mel=MelConfig.mini(), width=8, num_layers=1, num_heads=2, out_width=16),
        aligner=AlignerConfig(width=16, num_heads=2),
        llama=LlamaConfig(width=16, num_layers=2, num_heads=2, mlp_width=32),
    )


def casp_config(size: Size) -> CaspConfig:
    """Of the benchmark's CASP."""
    if size != "tiny":
        return _named(CaspConfig, size)
    beats = replace(
        BeatsConfig.mini(), patch_width=8, width=16, mlp_width=16, num_layers=1, num_heads=2, position_kernel=8
    )
    return replace(CaspConfig.mini(), beats=beats, pool_heads=2, embedding_width=8, window=1.0)


def _named(cls: type[C], size: Size) -> C:
    make: Any = cls
    config: C = make.paper() if size == "paper" else make.mini()
    return config
