"""Codes to stems: a draft by the codec's own decoder, or the final by flow matching and a VAE.

Letters: B takes of a batch, T frames at the codec's rate, C channels, N samples, Z latent channels.
"""

from typing import Protocol

import torch
from torch import Tensor

from .errors import InputError
from .flow import Solver
from .mixing.hush import hushed
from .models.dit import FlowDecoder, decode_codes
from .models.dualdub import STREAMS
from .models.oobleck import Oobleck, OobleckConfig, decode_in_chunks
from .models.ops import place_of
from .models.wavtokenizer import WavTokenizer
from .progress import Progress, silent
from .sampling import check_guidance, check_seed
from .timing import num_samples
from .types import Audio, Codes, Soundtrack, Stream


class Renderer(Protocol):
    """An Oobleck VAE that another program holds and runs."""

    @property
    def config(self) -> OobleckConfig:
        """Its sizes."""

    def render(self, latents: Tensor, *, progress: Progress) -> Tensor:
        """Sound (B, C, config.num_samples(T)) float32 on the CPU of latents (B, Z, T); reports "render"."""


def rendered(vae: Oobleck | Renderer, latents: Tensor, *, progress: Progress = silent) -> Tensor:
    """Sound (B, C, config.num_samples(T)) float32 on the CPU of latents (B, Z, T), by our VAE or another's.

    Args:
        vae: decides device and dtype of the work.
        latents: as the VAE's encoder gives them, on any device.
        progress: reports "render"; raising from it cancels.
    """
    if isinstance(vae, Oobleck):
        return decode_in_chunks(vae, latents, progress=progress)
    return vae.render(latents, progress=progress)


@torch.inference_mode()
def decode_codec(codec: WavTokenizer, codes: Codes, *, progress: Progress = silent) -> Soundtrack:
    """Stems by the codec's own decoder: fast, a draft (the paper replaces it by the flow, section 3.5)."""
    if (codec.config.clock, codec.config.codebook_size) != (codes.clock, codes.codebook_size):
        raise InputError(_other_codec(codes, codec.config.clock.frame_rate, codec.config.codebook_size))
    rate = codec.config.sample_rate
    total, device = num_samples(codes.duration, rate), place_of(codec)
    stems = {stream: torch.zeros(codes.batch_size, 1, total) for stream in STREAMS}
    rows = [(stream, row) for stream in STREAMS if codes.stream(stream) is not None for row in range(codes.batch_size)]
    for done, (stream, row) in enumerate(rows, start=1):
        waveform = codec.decode(_row(codes, stream, row).to(device)).float().cpu()
        _place(stems[stream][row], waveform[0])
        progress("decode", done, len(rows))
    return to_soundtrack(stems, rate, codes.spoken)


@torch.inference_mode()
def decode_flow(
    decoder: FlowDecoder,
    vae: Oobleck | Renderer,
    codes: Codes,
    *,
    num_steps: int = 10,
    solver: Solver = "euler",
    cfg_scale: float = 1.0,
    seed: int = 0,
    progress: Progress = silent,
) -> Soundtrack:
    """Stems by flow matching and the VAE (section 3.5), both in one batch.

    Args:
        decoder: codes to latents.
        vae: latents to sound; ours, or one that another program runs.
        codes: as sampled.
        num_steps: of the solver.
        solver: "euler" or "midpoint" (two evaluations a step).
        cfg_scale: only for a decoder trained with `token_condition`; 1.0 = off.
        seed: only for a decoder trained with `source_noise`.
        progress: reports "decode" (solver steps) and "render" (VAE chunks).

    Raises:
        InputError: decoder, VAE and codes belong to different models.
    """
    check_chain(decoder, vae, codes)
    rate, channels = vae.config.sample_rate, vae.config.audio_channels
    total = num_samples(codes.duration, rate)
    stems = {stream: torch.zeros(codes.batch_size, channels, total) for stream in STREAMS}
    streams = [stream for stream in STREAMS if codes.stream(stream) is not None]
    check_guidance(cfg_scale)
    generator = torch.Generator().manual_seed(check_seed(seed))
    device = place_of(decoder)
    # Rows that ended by themselves have their own lengths; all others go through the solver together.
    groups = [range(codes.batch_size)] if codes.lengths is None else [range(r, r + 1) for r in range(codes.batch_size)]
    for group in groups:
        stacked = torch.cat([_row(codes, stream, row) for stream in streams for row in group]).to(device)
        seconds = codes.duration if codes.lengths is None else codes.clock.duration(stacked.shape[1])
        samples = num_samples(seconds, rate)
        latents = decode_codes(
            decoder,
            stacked,
            num_latent_frames=vae.config.num_frames(samples),
            num_steps=num_steps,
            solver=solver,
            cfg_scale=cfg_scale,
            generator=generator,
            progress=progress,
        )
        waveform = rendered(vae, latents, progress=progress)
        for item, (stream, row) in zip(waveform, [(s, r) for s in streams for r in group], strict=True):
            _place(stems[stream][row], item[:, :samples])
    return to_soundtrack(stems, rate, codes.spoken)


def _row(codes: Codes, stream: Stream, row: int) -> Tensor:
    """One take's codes (1, T), without what lies after its end."""
    of_stream = codes.stream(stream)
    assert of_stream is not None
    end = None if codes.lengths is None else codes.lengths[row]
    return of_stream[row : row + 1, :end]


def _place(stem: Tensor, waveform: Tensor) -> None:
    """Copy (C, n) to the start of (C, N); what overhangs the clip's end goes."""
    count = min(stem.shape[-1], waveform.shape[-1])
    stem[:, :count] = waveform[:, :count]


def check_chain(decoder: FlowDecoder, vae: Oobleck | Renderer, codes: Codes) -> None:
    """Whether codes, flow decoder and VAE belong together.

    Raises:
        InputError: they do not.
    """
    flow = decoder.config
    if (flow.code_clock, flow.codebook_size) != (codes.clock, codes.codebook_size):
        raise InputError(_other_codec(codes, flow.code_clock.frame_rate, flow.codebook_size))
    if (flow.latent_clock, flow.latent_channels) != (vae.config.clock, vae.config.latent_channels):
        raise InputError(
            f"decoder and VAE do not fit: the decoder writes {flow.latent_channels} channels at "
            f"{flow.latent_clock.frame_rate:.3f} Hz, the VAE reads {vae.config.latent_channels} at "
            f"{vae.config.clock.frame_rate:.3f} Hz; load the pair from one checkpoint"
        )


def to_soundtrack(
    stems: dict[Stream, Tensor], sample_rate: int, spoken: tuple[tuple[float, float], ...] | None
) -> Soundtrack:
    """Both stems (B, C, N) together; where it is known when somebody speaks, speech is silent outside of it.

    Args:
        stems: by stream.
        sample_rate: Hz.
        spoken: seconds from and to, of a script's lines; None where nothing is known.
    """
    speech = stems[Stream.SPEECH]
    if spoken is not None:
        speech = hushed(speech, sample_rate, spoken)
    return Soundtrack(Audio(speech, sample_rate), Audio(stems[Stream.BACKGROUND], sample_rate))


def _other_codec(codes: Codes, frame_rate: float, codebook_size: int) -> str:
    return (
        f"codes: written at {codes.clock.frame_rate:g} Hz with {codes.codebook_size} codes, this decoder reads "
        f"{frame_rate:g} Hz with {codebook_size}; load the decoder that belongs to the model"
    )
