"""Sound of long codes in memory that does not grow with the clip, but for the sound itself.

The VAE decodes in exact chunks already (`models.oobleck.decode_in_chunks`). The codec's decoder and the flow decoder
look at all that they are given, so no finite margin makes them exact; they work on windows that overlap, and go over
from one to the next: the flow's latents before the VAE renders them in one go, so that no joint is in the waveform,
the codec's drafts as waveforms. A clip of one window comes out as `decoding.decode_codec` and `decode_flow` decode it.

Letters: B takes, T code frames, T' latent frames, N samples, Z latent channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor

from ..decoding import Renderer, check_chain, decode_codec, decode_flow, rendered, to_soundtrack
from ..errors import ConfigError
from ..flow import Solver
from ..models.dit import FlowDecoder, decode_codes
from ..models.dualdub import STREAMS
from ..models.oobleck import Oobleck
from ..models.wavtokenizer import WavTokenizer
from ..progress import Progress, silent
from ..timing import FrameClock, num_samples
from ..types import Codes, Soundtrack, Stream

_PHASE = 64  # latent frames among which one that begins with a code frame is looked for


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingConfig:
    """How decoders that see everything are given a part at a time.

    Attributes:
        longest: seconds of a part.
        margin: seconds decoded before and after it, for its context.
        fade: seconds of the way from one part to the next, in the middle of which they are joined.
    """

    longest: float = 30.0
    margin: float = 2.0
    fade: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.fade <= self.margin or not self.margin <= self.longest / 2:
            raise ConfigError(f"decoding: got {self}, expected 0 < fade <= margin <= longest / 2")


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a stretch: decoded from `first` to `last`, joined at `start` and `end`."""

    first: int
    start: int
    end: int
    last: int


def joints(codes: Codes, config: DecodingConfig | None = None) -> tuple[float, ...]:
    """Seconds at which the parts of a clip are joined; none in a clip of one part."""
    config = config or DecodingConfig()
    if not _is_long(codes, config):
        return ()
    return tuple(codes.clock.duration(part.start) for part in _parts(codes.num_frames, codes.clock, config))[1:]


@torch.inference_mode()
def decode_codec_long(
    codec: WavTokenizer, codes: Codes, *, config: DecodingConfig | None = None, progress: Progress = silent
) -> Soundtrack:
    """Stems by the codec's own decoder.

    Args:
        codec: decodes the draft.
        codes: as sampled.
        config: how parts are joined; the default when None.
        progress: reports "decode"; raising from it cancels.

    Raises:
        InputError: the codes are of another codec.
    """
    config = config or DecodingConfig()
    if not _is_long(codes, config):
        return decode_codec(codec, codes, progress=progress)
    rate, hop = codec.config.sample_rate, codec.config.hop_length
    total = num_samples(codes.duration, rate)
    stems = {stream: torch.zeros(codes.batch_size, 1, total) for stream in STREAMS}
    parts = list(_parts(codes.num_frames, codes.clock, config))
    fade = round(config.fade * rate)
    for done, part in enumerate(parts, start=1):
        piece = decode_codec(codec, _cut(codes, part.first, part.last))
        curve = _curve(_scaled(part, hop), fade, total)
        for stream, audio in ((Stream.SPEECH, piece.speech), (Stream.BACKGROUND, piece.background)):
            if codes.stream(stream) is not None:
                _add(stems[stream], audio.waveform, part.first * hop, curve)
        progress("decode", done, len(parts))
    return to_soundtrack(stems, rate, codes.spoken)


@torch.inference_mode()
def decode_flow_long(
    decoder: FlowDecoder,
    vae: Oobleck | Renderer,
    codes: Codes,
    *,
    num_steps: int = 10,
    solver: Solver = "euler",
    cfg_scale: float = 1.0,
    seed: int = 0,
    config: DecodingConfig | None = None,
    progress: Progress = silent,
) -> Soundtrack:
    """Stems by flow matching and the VAE, see `decoding.decode_flow`.

    Args:
        decoder: codes to latents.
        vae: latents to sound; ours, or one that another program runs.
        codes: as sampled.
        num_steps: of the solver.
        solver: "euler" or "midpoint".
        cfg_scale: only for a decoder trained with `token_condition`; 1.0 = off.
        seed: only for a decoder trained with `source_noise`; each part draws its own noise from it.
        config: how parts are joined; the default when None.
        progress: reports "decode" and "render"; raising from it cancels.

    Raises:
        InputError: decoder, VAE and codes belong to different models.
    """
    config = config or DecodingConfig()
    if not _is_long(codes, config):
        settings = {"num_steps": num_steps, "cfg_scale": cfg_scale, "seed": seed, "progress": progress}
        return decode_flow(decoder, vae, codes, solver=solver, **settings)  # type: ignore[arg-type]
    check_chain(decoder, vae, codes)
    code_clock, latent_clock = codes.clock, decoder.config.latent_clock
    ratio = Fraction(code_clock.sample_rate * latent_clock.hop_length, code_clock.hop_length * latent_clock.sample_rate)
    total = num_samples(codes.duration, vae.config.sample_rate)
    num_latents = vae.config.num_frames(total)
    streams = [stream for stream in STREAMS if codes.stream(stream) is not None]
    stacked = torch.cat([codes.stream(stream) for stream in streams])  # type: ignore[misc]
    latents = torch.zeros(len(stacked), decoder.config.latent_channels, num_latents)
    parts = list(_parts(num_latents, latent_clock, config))
    for index, part in enumerate(parts):
        first = _aligned(part.first, ratio)
        begin, end = round(first * ratio), min(codes.num_frames, -int(-part.last * ratio // 1))
        if part.last == num_latents:
            end = codes.num_frames
        piece = decode_codes(
            decoder,
            stacked[:, begin:end],
            num_latent_frames=part.last - first,
            num_steps=num_steps,
            solver=solver,
            cfg_scale=cfg_scale,
            generator=torch.Generator().manual_seed((seed + index) % 2**64),
            progress=_share(progress, index, len(parts)),
        )
        fade = max(1, round(config.fade * latent_clock.frame_rate))
        _add(latents, piece.cpu(), first, _curve(replace(part, first=first), fade, num_latents))
    waveform = rendered(vae, latents, progress=progress)[..., :total]
    stems = {stream: waveform.new_zeros(codes.batch_size, waveform.shape[1], total) for stream in STREAMS}
    stems |= dict(zip(streams, torch.split(waveform, codes.batch_size), strict=True))
    return to_soundtrack(stems, vae.config.sample_rate, codes.spoken)


def _is_long(codes: Codes, config: DecodingConfig) -> bool:
    # Rows that ended by themselves are speech alone, seconds long.
    return codes.lengths is None and codes.num_frames > codes.clock.frame_at(config.longest)


def _parts(num_frames: int, clock: FrameClock, config: DecodingConfig) -> Iterator[_Part]:
    """Equal parts of a stretch, with their margins."""
    margin = clock.frame_at(config.margin)
    count = -(-num_frames // max(1, clock.frame_at(config.longest)))
    edges = [num_frames * index // count for index in range(count + 1)]
    for start, end in pairwise(edges):
        yield _Part(max(0, start - margin), start, end, min(num_frames, end + margin))


def _aligned(frame: int, ratio: Fraction) -> int:
    """Of the latent frames just before one, that which begins nearest to the beginning of a code frame."""
    candidates = range(frame, max(-1, frame - _PHASE), -1)
    return min(candidates, key=lambda index: abs(index * ratio - round(index * ratio)))


def _scaled(part: _Part, hop: int) -> _Part:
    return _Part(part.first * hop, part.start * hop, part.end * hop, part.last * hop)


def _curve(part: _Part, fade: int, total: int) -> Tensor:
    """Weights of a part from its first entry to its last; those of all parts sum to one everywhere."""
    places = torch.arange(part.first, min(part.last, total), dtype=torch.float64) + 0.5
    weight = torch.ones_like(places)
    if part.start > 0:
        weight = weight.minimum(((places - part.start) / fade + 0.5).clamp(0, 1))
    if part.end < total:
        weight = weight.minimum(((part.end - places) / fade + 0.5).clamp(0, 1))
    return weight.float()


def _add(target: Tensor, piece: Tensor, first: int, curve: Tensor) -> None:
    """Add a piece (..., n), weighted, to (..., N) from an entry on; what overhangs goes."""
    count = min(curve.shape[0], piece.shape[-1], target.shape[-1] - first)
    target[..., first : first + count] += piece[..., :count] * curve[:count]


def _cut(codes: Codes, first: int, last: int) -> Codes:
    speech, background = (None if part is None else part[:, first:last] for part in (codes.speech, codes.background))
    seconds = codes.clock.duration(last - first)
    return replace(codes, speech=speech, background=background, duration=seconds, spoken=None)


def _share(progress: Progress, index: int, count: int) -> Progress:
    def report(stage: str, done: int, total: int) -> None:
        progress(stage, index * total + done, count * total)

    return report
