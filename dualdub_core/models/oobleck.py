"""The autoencoder between sound and latents: Oobleck, the VAE of Stable Audio.

After github.com/Stability-AI/stable-audio-tools (MIT), written afresh. Parameters are named as in diffusers'
AutoencoderOobleck, weight norm already folded in.
Letters: B batch, C channels of sound, N samples, Z latent channels, T latent frames, D width inside.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError, InputError
from ..progress import Progress, silent
from ..timing import FrameClock
from .ops import place_of

_KERNEL = 7
_DILATIONS = (1, 3, 9)
_MIN_STD = 1e-4
_CHUNK_NUMBERS = 1 << 25
# Numbers that a snake works on at a time: what stays in a core's cache, and a few MB where launches count.
_PIECE_ON_CPU, _PIECE_ELSEWHERE = 1 << 16, 1 << 24


@dataclass(frozen=True, kw_only=True, slots=True)
class OobleckConfig:
    """Sizes of an Oobleck autoencoder.

    Attributes:
        sample_rate: Hz.
        audio_channels: C; 1 mono, 2 stereo.
        channels: width at the rate of the sound, before any multiple.
        latent_channels: Z.
        channel_multiples: width after each down-sampling, in `channels`.
        strides: down-sampling factors in the encoder's order; the decoder runs them backwards.
        decodes_full_length: whether T frames decode to exactly T x hop_length samples. Published weights do
            not where strides are odd: each such stage leaves out its last sample.
    """

    sample_rate: int
    audio_channels: int
    channels: int
    latent_channels: int
    channel_multiples: tuple[int, ...]
    strides: tuple[int, ...]
    decodes_full_length: bool

    def __post_init__(self) -> None:
        sizes = (self.sample_rate, self.audio_channels, self.channels, self.latent_channels)
        if min(*sizes, *self.channel_multiples, *self.strides, 1) < 1:
            raise ConfigError(f"oobleck: every size must be positive, got {self}")
        if not self.strides or len(self.strides) != len(self.channel_multiples):
            raise ConfigError(
                f"oobleck: got {self.strides=} and {self.channel_multiples=}, expected one multiple a stride"
            )

    @classmethod
    def paper(cls) -> "OobleckConfig":
        """Stable Audio 2.0 and Stable Audio Open 1.0: 44.1 kHz stereo, 21.533 latent frames a second."""
        return cls(
            sample_rate=44_100,
            audio_channels=2,
            channels=128,
            latent_channels=64,
            channel_multiples=(1, 2, 4, 8, 16),
            strides=(2, 4, 4, 8, 8),
            decodes_full_length=False,
        )

    @classmethod
    def mini(cls) -> "OobleckConfig":
        """24 kHz mono, 80 latent frames a second: two to a frame of the codec."""
        return cls(
            sample_rate=24_000,
            audio_channels=1,
            channels=24,
            latent_channels=32,
            channel_multiples=(1, 2, 4, 8),
            strides=(2, 5, 5, 6),
            decodes_full_length=True,
        )

    @property
    def hop_length(self) -> int:
        """Samples between two latent frames."""
        return math.prod(self.strides)

    @property
    def clock(self) -> FrameClock:
        """The clock of the latent frames."""
        return FrameClock(sample_rate=self.sample_rate, hop_length=self.hop_length)

    @property
    def context_frames(self) -> int:
        """The most latent frames before or after a frame that its samples depend on.

        The interval of positions that one frame's samples read, carried through the decoder from its end.
        """
        edge, unit = _KERNEL // 2, sum(_KERNEL // 2 * dilation for dilation in _DILATIONS)
        first, last = -edge, self.hop_length - 1 + edge
        for stride in self.strides:
            # Transposed, kernel 2s, padding p: position o reads positions (o + p) // s - 1 and (o + p) // s.
            first = (first - unit + _padding(stride)) // stride - 1
            last = (last + unit + _padding(stride)) // stride
        return max(edge - first, last + edge)

    @property
    def chunk_frames(self) -> int:
        """Latent frames to decode at a time: their widest tensor takes about 128 MB in float32, three are held."""
        return min(max(64, _CHUNK_NUMBERS // (self.channels * self.hop_length)), 256)

    def num_samples(self, num_frames: int) -> int:
        """Samples that `num_frames` latent frames decode to."""
        length = num_frames
        for stride in reversed(self.strides):
            length = length * stride - (0 if self.decodes_full_length else stride % 2)
        return length

    def num_frames(self, num_samples: int) -> int:
        """The fewest latent frames that decode to at least `num_samples` samples.

        More than the clock says only where a stem ends in the samples that odd strides leave out.
        """
        frames = self.clock.num_frames_of_samples(num_samples)
        while self.num_samples(frames) < num_samples:
            frames += 1
        return frames


class Oobleck(nn.Module):
    """A variational autoencoder of waveforms, deterministic in both directions: `encode` gives the mean."""

    def __init__(self, config: OobleckConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = OobleckEncoder(config)
        self.decoder = OobleckDecoder(config)

    def encode(self, waveform: Tensor) -> Tensor:
        """The mean of the latents.

        Args:
            waveform: (B, C, N) at `config.sample_rate`; zeros are appended to a multiple of the hop length.

        Returns:
            (B, Z, T) with T = ceil(N / hop_length).
        """
        mean, _ = self.encode_distribution(F.pad(waveform, (0, -waveform.shape[-1] % self.config.hop_length)))
        return mean

    def encode_distribution(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents as upstream computes them, each (B, Z, T).

        Args:
            waveform: (B, C, N), at least one hop long. Nothing is appended: T is floor(N / hop_length), the
                rest is dropped (odd strides round up where a stage lacks one sample).
        """
        mean, scale = self.encoder(waveform).chunk(2, dim=1)
        return mean, F.softplus(scale) + _MIN_STD

    def decode(self, latents: Tensor) -> Tensor:
        """Sound of latents.

        Args:
            latents: (B, Z, T).

        Returns:
            (B, C, config.num_samples(T)), not clamped; T x hop_length samples unless odd strides of published
            weights leave the last few out.
        """
        waveform: Tensor = self.decoder(latents)
        return waveform


@torch.no_grad()
def decode_in_chunks(
    vae: Oobleck,
    latents: Tensor,
    *,
    chunk_frames: int | None = None,
    context_frames: int | None = None,
    progress: Progress = silent,
) -> Tensor:
    """The same sound as `vae.decode`, in memory that grows neither with the clip nor with the rows but for the result.

    The same but for rounding, which in float32 depends on how long a convolution's input is. Rows go one by one: a
    chunk of one keeps any device busy.

    Args:
        vae: decides device and dtype of the work.
        latents: (B, Z, T) anywhere.
        chunk_frames: latent frames decoded at a time; `config.chunk_frames` when None.
        context_frames: frames decoded on each side of a chunk and thrown away; all that its samples depend on
            (`config.context_frames`) when None. Fewer are faster and leave seams.
        progress: reports "render"; raising from it stops the decoding.

    Returns:
        (B, C, config.num_samples(T)) float32 on the CPU, without gradients.

    Raises:
        InputError: there is nothing to decode, or no room to do it.
    """
    device, dtype = place_of(vae), vae.decoder.conv1.weight.dtype
    return join_chunks(
        vae.config,
        latents,
        lambda piece: vae.decode(piece.to(device, dtype)),
        chunk_frames=chunk_frames,
        context_frames=context_frames,
        progress=progress,
    )


def join_chunks(
    config: OobleckConfig,
    latents: Tensor,
    decode: Callable[[Tensor], Tensor],
    *,
    chunk_frames: int | None = None,
    context_frames: int | None = None,
    progress: Progress = silent,
) -> Tensor:
    """`decode_in_chunks` with whatever decodes one row's frames (1, Z, n) to its sound (1, C, config.num_samples(n)).

    Raises:
        InputError: there is nothing to decode, or no room to do it.
    """
    context = config.context_frames if context_frames is None else context_frames
    chunk_frames = config.chunk_frames if chunk_frames is None else chunk_frames
    batch_size, _, num_frames = latents.shape
    if num_frames == 0:
        raise InputError("latents: got 0 frames, expected at least one; is the clip empty?")
    if chunk_frames < 1 or context < 1:
        raise InputError(f"decoding: got {chunk_frames=} and context_frames={context}, expected 1 or more")
    hop_length = config.hop_length
    shape = (batch_size, config.audio_channels, config.num_samples(num_frames))
    waveform = torch.empty(shape, dtype=torch.float32, device="cpu")
    starts = range(0, num_frames, chunk_frames)
    chunks = [(row, start) for row in range(batch_size) for start in starts]
    for done, (row, start) in enumerate(chunks, start=1):
        stop = min(start + chunk_frames, num_frames)
        first, last = max(0, start - context), min(num_frames, stop + context)
        piece = decode(latents[row : row + 1, :, first:last])
        target = waveform[row, :, start * hop_length : stop * hop_length]
        skipped = (start - first) * hop_length
        target.copy_(piece[0, :, skipped : skipped + target.shape[-1]])
        del piece  # or it would still be there while the next one is made
        progress("render", done, len(chunks))
    return waveform


class OobleckEncoder(nn.Module):
    """(B, C, N) to means and scales (B, 2 Z, T); like upstream it drops samples after the last whole hop."""

    def __init__(self, config: OobleckConfig) -> None:
        super().__init__()
        widths = _widths(config)
        self.conv1 = _conv(config.audio_channels, widths[0])
        self.block = nn.ModuleList(
            EncoderBlock(widths[i], widths[i + 1], stride) for i, stride in enumerate(config.strides)
        )
        self.snake1 = Snake(widths[-1])
        self.conv2 = nn.Conv1d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.conv1(waveform)
        for block in self.block:
            x = block(x)
        moments: Tensor = self.conv2(self.snake1(x))
        return moments


class OobleckDecoder(nn.Module):
    """(B, Z, T) to (B, C, N)."""

    def __init__(self, config: OobleckConfig) -> None:
        super().__init__()
        widths = _widths(config)
        self.conv1 = _conv(config.latent_channels, widths[-1])
        self.block = nn.ModuleList(
            DecoderBlock(widths[i + 1], widths[i], config.strides[i], config.decodes_full_length)
            for i in reversed(range(len(config.strides)))
        )
        self.snake1 = Snake(widths[0])
        self.conv2 = nn.Conv1d(widths[0], config.audio_channels, _KERNEL, padding=_KERNEL // 2, bias=False)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.conv1(latents)
        # Step by step, since a block's own call would hold its input to its end: a third of all memory.
        for step in self._steps():
            x = step(x)
        x = self.snake1(x, is_spent=True)
        waveform: Tensor = self.conv2(x)
        return waveform

    def _steps(self) -> Iterator[Callable[[Tensor], Tensor]]:
        for block in self.block:
            assert isinstance(block, DecoderBlock)
            yield from block.steps()


class EncoderBlock(nn.Module):
    """Three residual units, then down by `stride`: (B, D, N) to (B, D', N / stride)."""

    def __init__(self, width: int, out_width: int, stride: int) -> None:
        super().__init__()
        self.res_unit1, self.res_unit2, self.res_unit3 = (ResidualUnit(width, d) for d in _DILATIONS)
        self.snake1 = Snake(width)
        self.conv1 = nn.Conv1d(width, out_width, 2 * stride, stride=stride, padding=_padding(stride))

    def forward(self, x: Tensor) -> Tensor:
        x = self.res_unit3(self.res_unit2(self.res_unit1(x)))
        x = self.conv1(self.snake1(x))
        return x


class DecoderBlock(nn.Module):
    """Up by `stride`, then three residual units: (B, D, T) to (B, D', T x stride)."""

    def __init__(self, width: int, out_width: int, stride: int, is_full_length: bool) -> None:
        super().__init__()
        self.snake1 = Snake(width)
        self.conv_t1 = nn.ConvTranspose1d(
            width,
            out_width,
            2 * stride,
            stride=stride,
            padding=_padding(stride),
            output_padding=stride % 2 if is_full_length else 0,
        )
        self.res_unit1, self.res_unit2, self.res_unit3 = (ResidualUnit(out_width, d) for d in _DILATIONS)

    def steps(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """What is done to x in turn, each of which may overwrite it."""
        yield lambda x: self.snake1(x, is_spent=True)
        yield from (self.conv_t1, self.res_unit1, self.res_unit2, self.res_unit3)


class ResidualUnit(nn.Module):
    """A dilated and a pointwise convolution beside the identity, (B, D, N)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.snake1 = Snake(width)
        self.conv1 = _conv(width, width, dilation)
        self.snake2 = Snake(width)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.snake1(x))
        h = self.snake2(h, is_spent=True)
        out: Tensor = self.conv2(h)
        return out.add_(x)


class Snake(nn.Module):
    """x + sin(exp(alpha) x)^2 / exp(beta) for each channel of (B, D, N) (SnakeBeta, BigVGAN)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, *, is_spent: bool = False) -> Tensor:
        """The snake of x.

        Args:
            x: (B, D, N).
            is_spent: nobody reads x again; where no gradient is kept, the result then takes its place.
        """
        frequency = self.alpha.exp()[:, None]
        height = (self.beta.exp() + 1e-9).reciprocal()[:, None]
        if torch.is_grad_enabled():
            # In place on the result; autograd copies what it needs.
            return (x * frequency).sin_().square_().mul_(height).add_(x)
        # These are the largest tensors of all: pieces of them, or every operation would go through memory.
        out = x if is_spent else torch.empty_like(x)
        numbers = _PIECE_ON_CPU if x.device.type == "cpu" else _PIECE_ELSEWHERE
        length = max(1, numbers // (x.shape[0] * x.shape[1]))
        for piece, target in zip(torch.split(x, length, dim=2), torch.split(out, length, dim=2), strict=True):
            wave = (piece * frequency).sin_().square_().mul_(height)
            torch.add(wave, piece, out=target)
        return out


def _widths(config: OobleckConfig) -> tuple[int, ...]:
    return tuple(config.channels * multiple for multiple in (1, *config.channel_multiples))


def _conv(width: int, out_width: int, dilation: int = 1) -> nn.Conv1d:
    return nn.Conv1d(width, out_width, _KERNEL, dilation=dilation, padding=_KERNEL // 2 * dilation)


def _padding(stride: int) -> int:
    return math.ceil(stride / 2)
