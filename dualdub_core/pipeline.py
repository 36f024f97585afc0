"""One function a stage, from what an artist has to two stems, in the order they run.

    video -> features -\
    script -> text ids -+-> codes -> stems -> mix
    voice -> embedding -/

Letters: B takes of a batch, T frames at the codec's rate, F pictures, D width, Z latent channels.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .audio import fit_length, to_mono, with_rate
from .errors import InputError
from .flow import Solver
from .generation import FREE, generate_codes
from .limits import within
from .mixing.hush import hushed
from .models.dit import FlowDecoder, decode_codes
from .models.dualdub import STREAMS, Conditions, DualDub
from .models.oobleck import Oobleck, decode_in_chunks
from .models.wavtokenizer import WavTokenizer
from .progress import Progress, silent
from .sampling import CodeSampler, SamplingConfig, Seeds, check_guidance, check_seed
from .text import BACKGROUND_PROMPT, TextTokenizer, normalise
from .timing import nearest_times, num_samples
from .types import Audio, Codes, Soundtrack, Stream, Task, VideoFeatures, Voice, check_finite
from .voice import voice_model_id

# A row of speech that never ends by itself is cut: slow speech needs about 0.1 s a character.
_SPEECH_SECONDS, _SPEECH_SECONDS_PER_CHARACTER = 2.0, 0.2

_MOST_CHARACTERS = 20_000  # the words of twenty minutes; attention takes memory with the square

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lock:
    """Codes that one stream is held to while the other is sampled against them.

    Attributes:
        stream: which.
        codes: of the whole clip (1, T) or one row a take (B, T), int64.
        start: seconds from which they hold.
        end: seconds up to which; the clip's end when None.
    """

    stream: Stream
    codes: Tensor
    start: float = 0.0
    end: float | None = None


@torch.inference_mode()
def encode_stem(codec: WavTokenizer, audio: Audio, *, duration: float) -> Tensor:
    """Codes (B, T) of a recording, cut or continued with silence to the clip's duration.

    Clips are encoded one by one and in float32: both batching with padding and lower precision change codes.
    """
    check_finite(audio, "locked recording")
    mono = with_rate(to_mono(audio), codec.config.sample_rate)
    waveform = fit_length(mono, num_samples(duration, mono.sample_rate)).waveform
    parameter = next(codec.parameters())
    return torch.cat([codec.encode(item[None].to(parameter)) for item in waveform]).cpu()


def retake_locks(codes: Codes, *, start: float, end: float, streams: Sequence[Stream]) -> tuple[Lock, ...]:
    """Locks that keep a take's codes except in [start, end) seconds of the named streams.

    Raises:
        InputError: the range is empty or outside the clip, or a stream is not in the codes.
    """
    if not (within(start, 0) and within(end, 0, codes.duration + 1e-6) and start < end):
        raise InputError(
            f"retake: got {start} to {end} s, expected a start before an end, both within 0 to {codes.duration:.3f} s"
        )
    locks = []
    for stream in STREAMS:
        kept = codes.stream(stream)
        if kept is None:
            if stream in streams:
                raise InputError(f"retake: these codes have no {stream.value} stream; choose the other")
        elif stream in streams:
            clock, last = codes.clock, codes.num_frames
            locks += [Lock(stream, kept, 0.0, start)] if clock.frame_at(start) > 0 else []
            locks += [Lock(stream, kept, end, None)] if clock.frame_at(end) < last else []
        else:
            locks.append(Lock(stream, kept))
    return tuple(locks)


@torch.inference_mode()
def sample_codes(
    model: DualDub,
    tokenizer: TextTokenizer,
    *,
    task: Task,
    features: VideoFeatures | None = None,
    script: str = "",
    voice: Voice | None = None,
    duration: float | None = None,
    sampling: SamplingConfig | None = None,
    seeds: Seeds | None = None,
    locks: Sequence[Lock] = (),
    batch_size: int = 1,
    progress: Progress = silent,
) -> Codes:
    """Write both code streams of a clip.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        task: joint, background only (needs no script) or speech only (needs no video).
        features: of the video; they set the duration.
        script: what is said.
        voice: who says it; the model chooses when None.
        duration: seconds, for speech only; the speech ends on its own when None.
        sampling: settings of both streams.
        seeds: take b of the batch uses seed + b.
        locks: codes to hold streams to.
        batch_size: B takes in one run.
        progress: reports "generate"; raising from it cancels.

    Raises:
        InputError: the inputs do not fit the task, the model or each other.
    """
    sampling, seeds = sampling or SamplingConfig(), seeds or Seeds()
    if not within(batch_size, 1, whole=True):
        raise InputError(f"batch size: got {batch_size}, expected at least 1, a whole number")
    _check_inputs(model, task, features, script, voice)
    clock = model.config.clock
    until_eos = task is Task.SPEECH and duration is None
    if task is not Task.SPEECH:
        assert features is not None
        duration = features.duration
    elif duration is None:
        duration = _SPEECH_SECONDS + _SPEECH_SECONDS_PER_CHARACTER * len(normalise(script))
    num_frames = clock.num_frames(duration)
    if until_eos and locks:
        raise InputError("lock: speech that ends on its own has no frames to lock; give a duration")
    device = model.heads.weight.device
    sampler = CodeSampler(
        [sampling.background, sampling.speech],
        seeds.of_takes(batch_size),
        num_logits=model.config.codebook_size + 1,
        device=device,
    )
    generated = generate_codes(
        model,
        _conditions(model, tokenizer, task, features, script, voice, num_frames, batch_size),
        sampler,
        num_frames=num_frames,
        forced=forced_codes(model, task, locks, num_frames, batch_size).to(device),
        cfg_scale=sampling.cfg_scale,
        until_eos=until_eos,
        progress=progress,
    )
    lengths = None
    if until_eos:
        lengths = tuple(max(1, n) for n in generated.num_frames)
        if max(lengths) == num_frames:
            logger.warning("speech: did not end within %.1f s and was cut there", duration)
        num_frames = max(lengths)
        duration = clock.duration(num_frames)
    codes = generated.codes[..., :num_frames].cpu()
    written = {stream: codes[:, i] for i, stream in enumerate(STREAMS) if stream in task.streams}
    return Codes(
        speech=written.get(Stream.SPEECH),
        background=written.get(Stream.BACKGROUND),
        duration=duration,
        clock=clock,
        codebook_size=model.config.codebook_size,
        lengths=lengths,
    )


@torch.inference_mode()
def decode_codec(codec: WavTokenizer, codes: Codes, *, progress: Progress = silent) -> Soundtrack:
    """Stems by the codec's own decoder: fast, a draft (the paper replaces it by the flow, section 3.5)."""
    if (codec.config.clock, codec.config.codebook_size) != (codes.clock, codes.codebook_size):
        raise InputError(_other_codec(codes, codec.config.clock.frame_rate, codec.config.codebook_size))
    rate = codec.config.sample_rate
    total, device = num_samples(codes.duration, rate), next(codec.parameters()).device
    stems = {stream: torch.zeros(codes.batch_size, 1, total) for stream in STREAMS}
    rows = [(stream, row) for stream in STREAMS if codes.stream(stream) is not None for row in range(codes.batch_size)]
    for done, (stream, row) in enumerate(rows, start=1):
        waveform = codec.decode(_row(codes, stream, row).to(device)).float().cpu()
        _place(stems[stream][row], waveform[0])
        progress("decode", done, len(rows))
    return _soundtrack(stems, rate, codes.spoken)


@torch.inference_mode()
def decode_flow(
    decoder: FlowDecoder,
    vae: Oobleck,
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
        vae: latents to sound.
        codes: as sampled.
        num_steps: of the solver.
        solver: "euler" or "midpoint" (two evaluations a step).
        cfg_scale: only for a decoder trained with `token_condition`; 1.0 = off.
        seed: only for a decoder trained with `source_noise`.
        progress: reports "decode" (solver steps) and "render" (VAE chunks).

    Raises:
        InputError: decoder, VAE and codes belong to different models.
    """
    if (decoder.config.code_clock, decoder.config.codebook_size) != (codes.clock, codes.codebook_size):
        raise InputError(_other_codec(codes, decoder.config.code_clock.frame_rate, decoder.config.codebook_size))
    if (decoder.config.latent_clock, decoder.config.latent_channels) != (vae.config.clock, vae.config.latent_channels):
        raise InputError(
            f"decoder and VAE do not fit: the decoder writes {decoder.config.latent_channels} channels at "
            f"{decoder.config.latent_clock.frame_rate:.3f} Hz, the VAE reads {vae.config.latent_channels} at "
            f"{vae.config.clock.frame_rate:.3f} Hz; load the pair from one checkpoint"
        )
    rate, channels = vae.config.sample_rate, vae.config.audio_channels
    total = num_samples(codes.duration, rate)
    stems = {stream: torch.zeros(codes.batch_size, channels, total) for stream in STREAMS}
    streams = [stream for stream in STREAMS if codes.stream(stream) is not None]
    check_guidance(cfg_scale)
    generator = torch.Generator().manual_seed(check_seed(seed))
    device = next(decoder.parameters()).device
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
        waveform = decode_in_chunks(vae, latents, progress=progress)
        for item, (stream, row) in zip(waveform, [(s, r) for s in streams for r in group], strict=True):
            _place(stems[stream][row], item[:, :samples])
    return _soundtrack(stems, rate, codes.spoken)


def _check_inputs(model: DualDub, task: Task, features: VideoFeatures | None, script: str, voice: Voice | None) -> None:
    if task is not Task.SPEECH:
        if features is None:
            raise InputError(f"video: task '{task.value}' needs the video's features, got none; connect Encode Video")
        if not torch.isfinite(features.features).all():
            raise InputError("video: got NaN or infinite features; encode the video again, in float32")
        if features.features.shape[-1] != model.config.video_width:
            raise InputError(
                f"video: features are {features.features.shape[-1]} wide, this model expects "
                f"{model.config.video_width}; encode the video with the model's own video encoder"
            )
    elif features is not None:
        logger.warning("video: the speech-only task does not look at the video")
    if task is Task.BACKGROUND:
        if script.strip() or voice is not None:
            logger.warning("script and voice: the background-only task does not read them")
        return
    _check_speech(model, script, voice)


def _check_speech(model: DualDub, script: str, voice: Voice | None) -> None:
    length = len(normalise(script))
    if length > _MOST_CHARACTERS:
        raise InputError(
            f"script: got {length} characters, expected at most {_MOST_CHARACTERS} in one run; divide it by cues"
        )
    if voice is None:
        logger.warning("voice: none given, the model chooses one")
    elif voice.model_id != voice_model_id(model):
        raise InputError("voice: it was computed by another model; compute it from its recording with this one")
    elif voice.embedding.numel() != model.config.llama.width:
        raise InputError(
            f"voice: got an embedding of {voice.embedding.numel()} numbers, expected {model.config.llama.width}; "
            "compute it from its recording again"
        )


def _conditions(
    model: DualDub,
    tokenizer: TextTokenizer,
    task: Task,
    features: VideoFeatures | None,
    script: str,
    voice: Voice | None,
    num_frames: int,
    batch_size: int,
) -> Conditions:
    weight = model.heads.weight
    config = model.config
    text = BACKGROUND_PROMPT if task is Task.BACKGROUND else normalise(script)
    ids = torch.tensor(tokenizer.encode(text), device=weight.device).expand(batch_size, -1)
    speaker = weight.new_zeros(config.llama.width)
    if voice is not None and task is not Task.BACKGROUND:
        speaker = voice.embedding.to(weight)
    video = weight.new_zeros(num_frames, config.video_width)
    if features is not None and task is not Task.SPEECH:
        nearest = nearest_times(features.times, config.clock.centres(num_frames))
        video = features.features[nearest.to(features.features.device)].to(weight)
    present = torch.tensor([float(stream in task.streams) for stream in STREAMS], device=weight.device)
    return Conditions(
        speaker=speaker.expand(batch_size, -1),
        text_ids=ids,
        text_lengths=ids.new_full((batch_size,), ids.shape[1]),
        video=video.expand(batch_size, -1, -1),
        present=present.expand(batch_size, -1),
        is_padded=False,
    )


def forced_codes(model: DualDub, task: Task, locks: Sequence[Lock], num_frames: int, batch_size: int) -> Tensor:
    """What locks hold streams to: background, speech (B, 2, T), `FREE` where they leave them to the sampler.

    Raises:
        InputError: a lock does not fit the task, the clip or the model.
    """
    forced = torch.full((batch_size, len(STREAMS), num_frames), FREE)
    clock, size = model.config.clock, model.config.codebook_size
    for lock in locks:
        if lock.stream not in task.streams:
            raise InputError(f"lock: task '{task.value}' has no {lock.stream.value} stream to lock; use 'joint'")
        if lock.codes.shape not in ((1, num_frames), (batch_size, num_frames)):
            raise InputError(
                f"lock: the {lock.stream.value} codes have shape {tuple(lock.codes.shape)}, expected (1, {num_frames}) "
                f"for this clip; encode the recording with the clip's duration"
            )
        if lock.codes.dtype != torch.int64:
            raise InputError(f"lock: got codes of {lock.codes.dtype}, expected int64; encode the recording again")
        if not 0 <= int(lock.codes.min()) <= int(lock.codes.max()) < size:
            raise InputError(f"lock: codes outside 0 to {size - 1}; they come from another codec than the model's")
        first = last = 0
        if within(lock.start, 0) and (lock.end is None or within(lock.end, 0)):
            first = clock.frame_at(lock.start)
            last = num_frames if lock.end is None else min(num_frames, clock.frame_at(lock.end))
        if not first < last:
            end = "the end" if lock.end is None else f"{lock.end} s"
            raise InputError(
                f"lock: got {lock.start} s to {end} of the {lock.stream.value} stream, expected a start before an end "
                f"within the clip's {clock.duration(num_frames):.3f} s"
            )
        forced[:, STREAMS.index(lock.stream), first:last] = lock.codes[:, first:last].cpu()
    return forced


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


def _soundtrack(
    stems: dict[Stream, Tensor], sample_rate: int, spoken: tuple[tuple[float, float], ...] | None
) -> Soundtrack:
    speech = stems[Stream.SPEECH]
    if spoken is not None:
        speech = hushed(speech, sample_rate, spoken)
    return Soundtrack(Audio(speech, sample_rate), Audio(stems[Stream.BACKGROUND], sample_rate))


def _other_codec(codes: Codes, frame_rate: float, codebook_size: int) -> str:
    return (
        f"codes: written at {codes.clock.frame_rate:g} Hz with {codes.codebook_size} codes, this decoder reads "
        f"{frame_rate:g} Hz with {codebook_size}; load the decoder that belongs to the model"
    )
