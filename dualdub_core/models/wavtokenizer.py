"""WavTokenizer, the codec: 24 kHz mono sound to 40 codes a second from one codebook, and back.

Source: github.com/jishengpeng/WavTokenizer (encoder: EnCodec's SEANet; decoder: Vocos behind an attention
net), written anew and equal to it on its own weights, whose weight norm is folded into plain ones.
Letters: B batch, N samples, T frames, D width of a codebook entry, V codes; W width of the backbone.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import ConfigError, InputError
from ..timing import FrameClock
from ..types import Audio, check_finite
from .mel_encoder import MelEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class WavTokenizerConfig:
    """Sizes of the codec.

    Attributes:
        sample_rate: Hz.
        n_filters: channels at the sample rate; they double with every ratio.
        dimension: D, width of a codebook entry.
        ratios: down-sampling factors in the order of the published configurations, last one first applied.
        lstm_layers: layers of the encoder's LSTM.
        codebook_size: V.
        backbone_width: W, a multiple of 32.
        backbone_mlp_width: inner width of a ConvNeXt block.
        num_backbone_layers: ConvNeXt blocks.
        num_bandwidths: rows of the adaptive norms; published weights have four, of which 0 is the one in use.
        n_fft: samples of an output frame before the overlap-add.
        encoder: "seanet" as published, or "mel": codes stand for log-mel frames (`mel_encoder.py`), and `n_filters`
            and `lstm_layers` mean nothing.
    """

    sample_rate: int
    n_filters: int
    dimension: int
    ratios: tuple[int, ...]
    lstm_layers: int
    codebook_size: int
    backbone_width: int
    backbone_mlp_width: int
    num_backbone_layers: int
    num_bandwidths: int
    n_fft: int
    encoder: Literal["seanet", "mel"] = "seanet"

    def __post_init__(self) -> None:
        small = [f.name for f in fields(self) if f.type is int and getattr(self, f.name) < 1]
        if small or self.n_filters < 2:
            raise ConfigError(f"codec: {', '.join(small) or 'n_filters'} too small, expected 1 or more (n_filters 2)")
        if not self.ratios or min(self.ratios) < 2:
            raise ConfigError(f"codec: ratios are {self.ratios}, expected one or more factors of at least 2")
        if self.backbone_width % _NORM_GROUPS:
            raise ConfigError(f"codec: {self.backbone_width=} must be a multiple of {_NORM_GROUPS}")
        if self.n_fft % 2 or self.n_fft < self.hop_length + 2:
            raise ConfigError(f"codec: {self.n_fft=} must be even and above the hop of {self.hop_length} samples")

    @property
    def hop_length(self) -> int:
        """Samples a code covers."""
        return math.prod(self.ratios)

    @property
    def clock(self) -> FrameClock:
        """The codes' clock."""
        return FrameClock(sample_rate=self.sample_rate, hop_length=self.hop_length)

    @classmethod
    def paper(cls) -> "WavTokenizerConfig":
        """The published WavTokenizer-large-unify-40token (paper, section 5.2)."""
        return cls(
            sample_rate=24_000,
            n_filters=32,
            dimension=512,
            ratios=(6, 5, 5, 4),
            lstm_layers=2,
            codebook_size=4096,
            backbone_width=768,
            backbone_mlp_width=2304,
            num_backbone_layers=12,
            num_bandwidths=4,
            n_fft=2400,
        )

    @classmethod
    def mini(cls) -> "WavTokenizerConfig":
        """3.1 M parameters at the same rates, half of the codes."""
        return cls(
            sample_rate=24_000,
            n_filters=12,
            dimension=80,
            ratios=(6, 5, 5, 4),
            lstm_layers=1,
            codebook_size=2048,
            backbone_width=192,
            backbone_mlp_width=576,
            num_backbone_layers=6,
            num_bandwidths=1,
            n_fft=2400,
            encoder="mel",
        )


class WavTokenizer(nn.Module):
    """Waveform to codes to waveform; the two directions share only the codebook."""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: nn.Module = Encoder(config) if config.encoder == "seanet" else _mel_encoder(config)
        self.codebook = nn.Embedding(config.codebook_size, config.dimension)
        self.backbone = Backbone(config)
        self.head = InverseSTFTHead(config)

    def encode(self, waveform: Tensor) -> Tensor:
        """Codes (B, T) int64 of a mono waveform (B, 1, N) at the codec's rate; T = ceil(N / hop_length).

        One clip at a time and without padding to a common length, since padding changes codes. On a GPU, TF32
        convolutions change some codes too: where they must equal the CPU's, the caller turns TF32 off.

        Raises:
            InputError: not mono, no samples, NaN or infinite samples, or the codec is in half precision.
        """
        check_finite(Audio(waveform, self.config.sample_rate), "codec")
        if waveform.shape[1] != 1:
            raise InputError(f"codec: got {waveform.shape[1]} channels, expected 1; mix down to mono first")
        if self.codebook.weight.dtype.itemsize < 4:
            # In bfloat16 two codes out of three are others.
            raise InputError(f"codec: cannot encode in {self.codebook.weight.dtype}; load the codec in float32")
        return torch.cat([self.quantise(self.encoder(clip)) for clip in torch.split(waveform, 1)])

    def quantise(self, embeddings: Tensor) -> Tensor:
        """Codes (B, T) int64 of the entries nearest to embeddings (B, D, T); the first one on a tie."""
        entries = self.codebook.weight.to(embeddings.device)
        entry_energy = entries.square().sum(1)  # (V,)
        frames = rearrange(embeddings, "b d t -> (b t) d")
        # Some seconds at a time, or a long clip's distances would outweigh all else; in upstream's order.
        nearest = [
            (x.square().sum(1, keepdim=True) - 2 * x @ entries.T + entry_energy).argmin(1)
            for x in torch.split(frames, 1024)
        ]
        return rearrange(torch.cat(nearest), "(b t) -> b t", b=len(embeddings))

    def embed(self, codes: Tensor) -> Tensor:
        """Codebook entries (B, D, T) of codes (B, T).

        Raises:
            InputError: no codes, or codes of another codec.
        """
        if codes.ndim != 2 or codes.numel() == 0:
            raise InputError(f"codes: got shape {tuple(codes.shape)}, expected (batch, frames) and at least one")
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= self.config.codebook_size:
            raise InputError(
                f"codes: got values from {low} to {high}, expected 0 to {self.config.codebook_size - 1}; "
                f"they come from another codec"
            )
        entries: Tensor = self.codebook(codes)
        return entries.transpose(1, 2)

    def decode(self, codes: Tensor, bandwidth_id: int = 0) -> Tensor:
        """Waveform (B, 1, T * hop_length) of codes (B, T); not streamable, every sample sees every code.

        Raises:
            InputError: no codes, codes of another codec, or a bandwidth this codec does not have.
        """
        return self.decode_features(self.embed(codes), bandwidth_id)

    def decode_features(self, features: Tensor, bandwidth_id: int = 0) -> Tensor:
        """Waveform (B, 1, T * hop_length) of codebook entries (B, D, T), in float32 or better."""
        if not 0 <= bandwidth_id < self.config.num_bandwidths:
            raise InputError(f"bandwidth: got {bandwidth_id}, expected 0 to {self.config.num_bandwidths - 1}")
        hidden = self.backbone(features.to(self.backbone.embed.weight.dtype), bandwidth_id)
        waveform: Tensor = self.head(hidden)
        return waveform


def _mel_encoder(config: WavTokenizerConfig) -> MelEncoder:
    return MelEncoder(sample_rate=config.sample_rate, hop_length=config.hop_length, num_bands=config.dimension)


class Encoder(nn.Module):
    """SEANet: strided convolutions down to the frame rate, then an LSTM over the frames."""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        self.hop_length = config.hop_length
        widths = [config.n_filters * 2**i for i in range(len(config.ratios) + 1)]
        self.conv_in = ReflectConv1d(1, widths[0], 7)
        self.stages = nn.ModuleList(map(Downsampling, widths[:-1], reversed(config.ratios)))
        width = widths[-1]
        self.lstm = nn.LSTM(width, width, config.lstm_layers, batch_first=True)
        self.conv_out = ReflectConv1d(width, config.dimension, 7)

    def forward(self, waveform: Tensor, *, chunk_frames: int = 400) -> Tensor:
        """Embeddings (B, D, T) before quantisation of a waveform (B, 1, N).

        The convolutions run over `chunk_frames` frames at a time, so memory does not grow at the sample rate;
        the result is that of one pass.
        """
        starts = range(0, -(-waveform.shape[-1] // self.hop_length), chunk_frames)
        chunks = [self._frames(waveform, start, start + chunk_frames) for start in starts]
        frames = torch.cat(chunks, dim=2).transpose(1, 2)  # (B, T, channels)
        x = (frames + self.lstm(frames)[0]).transpose(1, 2)
        embeddings: Tensor = self.conv_out(F.elu(x))
        return embeddings

    def _frames(self, waveform: Tensor, start: int, stop: int) -> Tensor:
        """Frames [start, stop) of the convolutions; as many as there are."""
        # A frame sees less than three others to either side: half a kernel a stage, ratios of 2 or more.
        context = 4
        first = max(0, start - context)
        x: Tensor = self.conv_in(waveform[..., first * self.hop_length : (stop + context) * self.hop_length])
        for stage in self.stages:
            x = stage(x)
        return x[..., start - first : stop - first]


class Downsampling(nn.Module):
    """A residual unit, then a convolution that doubles the channels and divides the rate."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.squeeze = ReflectConv1d(channels, channels // 2, 3)
        self.expand = ReflectConv1d(channels // 2, channels, 1)
        self.shortcut = ReflectConv1d(channels, channels, 1)
        self.down = ReflectConv1d(channels, 2 * channels, 2 * ratio, stride=ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shortcut(x) + self.expand(F.elu(self.squeeze(F.elu(x))))
        down: Tensor = self.down(F.elu(x))
        return down


class ReflectConv1d(nn.Conv1d):
    """A convolution over samples mirrored at both ends: (B, C, N) to (B, C', ceil(N / stride))."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, nn.Conv1d's name
        kernel, stride, length = self.kernel_size[0], self.stride[0], input.shape[-1]
        right = (kernel - stride) // 2
        left = kernel - stride - right
        right += -length % stride
        # Too short to be mirrored: upstream appends silence, mirrors that, and cuts as much off again.
        silence = max(0, max(left, right) - length + 1)
        x = F.pad(F.pad(input, (0, silence)), (left, right), mode="reflect") if left + right else input
        return super().forward(x[..., : x.shape[-1] - silence])


class Backbone(nn.Module):
    """Codebook entries (B, D, T) to frames (B, T, W): attention over the whole clip, then ConvNeXt blocks."""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        width = config.backbone_width
        self.embed = nn.Conv1d(config.dimension, width, 7, padding=3)
        self.pos_net = nn.Sequential(
            ResnetBlock(width),
            ResnetBlock(width),
            AttentionBlock(width),
            ResnetBlock(width),
            ResnetBlock(width),
            _group_norm(width),
        )
        self.norm = AdaptiveLayerNorm(config)
        self.convnext = nn.ModuleList(ConvNeXtBlock(config) for _ in range(config.num_backbone_layers))
        self.final_layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, features: Tensor, bandwidth_id: int = 0) -> Tensor:
        x = self.pos_net(self.embed(features)).transpose(1, 2)
        x = self.norm(x, bandwidth_id)  # (B, T, W)
        for block in self.convnext:
            x = block(x, bandwidth_id)
        normed: Tensor = self.final_layer_norm(x)
        return normed


class ConvNeXtBlock(nn.Module):
    """ConvNeXt over time, (B, T, W)."""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        width = config.backbone_width
        self.dwconv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = AdaptiveLayerNorm(config)
        self.pwconv1 = nn.Linear(width, config.backbone_mlp_width)
        self.pwconv2 = nn.Linear(config.backbone_mlp_width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1 / config.num_backbone_layers))

    def forward(self, x: Tensor, bandwidth_id: int) -> Tensor:
        h = self.dwconv(x.transpose(1, 2)).transpose(1, 2)
        h = self.pwconv2(F.gelu(self.pwconv1(self.norm(h, bandwidth_id))))
        out: Tensor = x + self.gamma * h
        return out


class ResnetBlock(nn.Module):
    """Two normalised convolutions around a residual, (B, W, T)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _group_norm(width), _group_norm(width)
        self.conv1 = nn.Conv1d(width, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = x + self.conv2(F.silu(self.norm2(h)))
        return out


class AttentionBlock(nn.Module):
    """One head over all frames, no mask, (B, W, T)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _group_norm(width)
        self.q, self.k, self.v = (nn.Conv1d(width, width, 1) for _ in range(3))
        self.proj_out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (rearrange(project(h), "b w t -> b 1 t w") for project in (self.q, self.k, self.v))
        h = rearrange(F.scaled_dot_product_attention(q, k, v), "b 1 t w -> b w t")
        out: Tensor = x + self.proj_out(h)
        return out


class AdaptiveLayerNorm(nn.Module):
    """Layer norm whose scale and shift are looked up by the bandwidth, (B, T, W)."""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        self.scale = nn.Embedding(config.num_bandwidths, config.backbone_width)
        self.shift = nn.Embedding(config.num_bandwidths, config.backbone_width)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, bandwidth_id: int) -> Tensor:
        scale, shift = (table.weight[bandwidth_id].to(x.device) for table in (self.scale, self.shift))
        return F.layer_norm(x, x.shape[-1:], scale, shift, eps=1e-6)


class InverseSTFTHead(nn.Module):
    """Frames (B, T, W) to a waveform (B, 1, T * hop_length): magnitudes and phases, overlap-added."""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        self.n_fft, self.hop_length = config.n_fft, config.hop_length
        self.linear = nn.Linear(config.backbone_width, config.n_fft + 2)

    def forward(self, hidden: Tensor) -> Tensor:
        # No FFT in half precision; the phases would not survive it either.
        spectrum = self.linear(hidden).to(torch.promote_types(hidden.dtype, torch.float32)).transpose(1, 2)
        log_magnitude, phase = spectrum.chunk(2, dim=1)  # (B, n_fft / 2 + 1, T)
        frames = torch.fft.irfft(torch.polar(log_magnitude.exp().clamp(max=100), phase), self.n_fft, dim=1)
        window = torch.hann_window(self.n_fft, device=frames.device, dtype=frames.dtype)[:, None]
        envelope = self._overlap_add(window.square().expand(1, -1, frames.shape[-1]))
        return self._overlap_add(frames * window) / envelope

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Frames (B, n_fft, T) a hop apart, summed, less the overhang at both ends: (B, 1, T * hop)."""
        num_frames = frames.shape[-1]
        whole = F.fold(
            frames,
            output_size=(1, (num_frames - 1) * self.hop_length + self.n_fft),
            kernel_size=(1, self.n_fft),
            stride=(1, self.hop_length),
        ).squeeze(2)
        overhang = (self.n_fft - self.hop_length) // 2
        return whole[..., overhang : overhang + num_frames * self.hop_length]


_NORM_GROUPS = 32


def _group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(_NORM_GROUPS, width, eps=1e-6)
