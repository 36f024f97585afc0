"""Takes for many clips at once: clips of equal length share a run, and each has its own seed.

So a take depends on its clip's place and the seed, not on which clips it shares a batch with.
Letters: B clips of a batch, L text ids, T frames, D width, N samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dualdub_core.errors import CheckpointError
from dualdub_core.generation import generate_codes
from dualdub_core.media.video import encode_frames
from dualdub_core.models.dualdub import STREAMS, Conditions, DualDub
from dualdub_core.pipeline import decode_codec, decode_flow
from dualdub_core.sampling import CodeSampler, SamplingConfig
from dualdub_core.system import Decoder, System
from dualdub_core.text import BACKGROUND_PROMPT, TextTokenizer, normalise
from dualdub_core.timing import nearest_times
from dualdub_core.types import Codes, Soundtrack, Stream, Task, VideoFeatures
from dualdub_core.voice import encode_voice

from .clips import EvalClip, FloatArray

# Speech that never ends is cut: as in the pipeline.
_SPEECH_SECONDS, _SPEECH_SECONDS_PER_CHARACTER = 2.0, 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class TakeConfig:
    """How takes are made.

    Attributes:
        sampling: of both streams.
        decoder: the flow with the VAE, or the codec's own.
        num_steps: of the flow's solver.
        seed: of the first clip; clip i uses seed + i.
        batch_size: clips in one run.
    """

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    decoder: Decoder = "flow"
    num_steps: int = 10
    seed: int = 0
    batch_size: int = 25


@dataclass(frozen=True, slots=True)
class Made:
    """What a system made for a clip: mono stems (N,) and their rate in Hz."""

    stems: dict[Stream, FloatArray]
    sample_rate: int


@torch.inference_mode()
def make_takes(
    system: System, task: Task, clips: Sequence[EvalClip], voices: Sequence[EvalClip], config: TakeConfig
) -> list[Made]:
    """One take a clip, in the order of the clips.

    Args:
        system: with model, tokenizer, what decodes and, unless only speech is asked for, video encoder.
        task: what is asked for; speech alone ends by itself.
        clips: whose text and pictures are used.
        voices: a recording of each clip's speaker; not looked at where only background is asked for.
        config: see there.

    Raises:
        CheckpointError: the system lacks a part.
    """
    made: dict[int, Made] = {}
    for batch in _batches(clips, task, config.batch_size):
        codes = _codes(system, task, batch, [clips[i] for i in batch], [voices[i] for i in batch], config)
        tracks = decode(system, codes, config)
        for row, index in enumerate(batch):
            made[index] = _made(tracks, codes, row, task)
    return [made[index] for index in range(len(clips))]


def decode(system: System, codes: Codes, config: TakeConfig) -> Soundtrack:
    """Codes to stems, as the config asks.

    Raises:
        CheckpointError: the system lacks a part.
    """
    if config.decoder == "codec":
        if system.codec is None:
            raise CheckpointError("this checkpoint has no codec; give a complete one")
        return decode_codec(system.codec, codes)
    if system.decoder is None or system.vae is None:
        raise CheckpointError("this checkpoint has no flow decoder or no VAE; give a complete one or --decoder codec")
    return decode_flow(system.decoder, system.vae, codes, num_steps=config.num_steps, seed=config.seed)


def _batches(clips: Sequence[EvalClip], task: Task, size: int) -> Iterator[list[int]]:
    """Clips that can run together: any that end by themselves, those of one duration where a video gives it."""
    groups: dict[float, list[int]] = {}
    for index, clip in enumerate(clips):
        groups.setdefault(0.0 if task is Task.SPEECH else clip.duration, []).append(index)
    for group in groups.values():
        group.sort(key=lambda index: len(clips[index].text))
        yield from (group[first : first + size] for first in range(0, len(group), size))


def _codes(
    system: System,
    task: Task,
    batch: Sequence[int],
    clips: Sequence[EvalClip],
    voices: Sequence[EvalClip],
    config: TakeConfig,
) -> Codes:
    model, tokenizer = system.model, system.tokenizer
    if model is None or tokenizer is None or (task is not Task.SPEECH and system.video_encoder is None):
        raise CheckpointError("this checkpoint has no model or no video encoder; give a complete one")
    clock, until_eos = model.config.clock, task is Task.SPEECH
    longest = [clock.num_frames(c.duration) for c in clips]
    if until_eos:
        seconds = [_SPEECH_SECONDS + _SPEECH_SECONDS_PER_CHARACTER * len(normalise(c.text)) for c in clips]
        longest = [clock.num_frames(s) for s in seconds]
    num_frames = max(longest)
    sampler = CodeSampler(
        [config.sampling.background, config.sampling.speech],
        [[(config.seed + index) % 2**64 for index in batch]] * len(STREAMS),
        num_logits=model.config.codebook_size + 1,
        device=model.heads.weight.device,
    )
    generated = generate_codes(
        model,
        conditions_of(
            model,
            tokenizer,
            task,
            texts=[clip.text for clip in clips],
            speakers=None if task is Task.BACKGROUND else [encode_voice(model, v.voice).embedding for v in voices],
            features=None if until_eos else [_features(system, clip) for clip in clips],
            num_frames=num_frames,
        ),
        sampler,
        num_frames=num_frames,
        cfg_scale=config.sampling.cfg_scale,
        until_eos=until_eos,
    )
    lengths = None
    if until_eos:
        lengths = tuple(max(1, min(n, most)) for n, most in zip(generated.num_frames, longest, strict=True))
        num_frames = max(lengths)
    codes = generated.codes[..., :num_frames].cpu()
    written = {stream: codes[:, i] for i, stream in enumerate(STREAMS) if stream in task.streams}
    return Codes(
        speech=written.get(Stream.SPEECH),
        background=written.get(Stream.BACKGROUND),
        duration=clock.duration(num_frames) if until_eos else clips[0].duration,
        clock=clock,
        codebook_size=model.config.codebook_size,
        lengths=lengths,
    )


def conditions_of(
    model: DualDub,
    tokenizer: TextTokenizer,
    task: Task,
    *,
    texts: Sequence[str],
    speakers: Sequence[Tensor] | None,
    features: Sequence[VideoFeatures] | None,
    num_frames: int,
) -> Conditions:
    """Conditions of different clips of equal length.

    Args:
        model: whose conditions they are.
        tokenizer: the model's.
        task: what is asked for.
        texts: of B clips; not read where only background is asked for.
        speakers: embeddings (D,) of the clips' voices, or None.
        features: of the clips' videos, or None.
        num_frames: T.
    """
    weight, config = model.heads.weight, model.config
    words = [BACKGROUND_PROMPT if task is Task.BACKGROUND else normalise(text) for text in texts]
    ids = [torch.tensor(tokenizer.encode(text)) for text in words]
    lengths = torch.tensor([len(of_text) for of_text in ids])
    speaker = weight.new_zeros(len(texts), config.llama.width)
    if speakers is not None:
        speaker = torch.stack(list(speakers)).to(weight)
    video = weight.new_zeros(len(texts), num_frames, config.video_width)
    if features is not None:
        centres = config.clock.centres(num_frames)
        for row, seen in enumerate(features):
            nearest = nearest_times(seen.times, centres).to(seen.features.device)
            video[row] = seen.features[nearest].to(weight)
    present = torch.tensor([float(stream in task.streams) for stream in STREAMS])
    return Conditions(
        speaker=speaker,
        text_ids=pad_sequence(ids, batch_first=True).to(weight.device),
        text_lengths=lengths.to(weight.device),
        video=video,
        present=present.repeat(len(texts), 1).to(weight),
        is_padded=bool((lengths != lengths[0]).any()),
    )


def _features(system: System, clip: EvalClip) -> VideoFeatures:
    assert system.video_encoder is not None
    return encode_frames(system.video_encoder, clip.frames)


def _made(tracks: Soundtrack, codes: Codes, row: int, task: Task) -> Made:
    end = None
    if codes.lengths is not None:
        end = round(codes.clock.duration(codes.lengths[row]) * tracks.sample_rate)
    sounds = {Stream.SPEECH: tracks.speech, Stream.BACKGROUND: tracks.background}
    stems = {s: mono(sounds[s].waveform[row, :, :end]) for s in task.streams}
    return Made(stems, tracks.sample_rate)


def mono(waveform: Tensor) -> FloatArray:
    """A sound (C, N) as float32 (N,)."""
    return waveform.mean(0).cpu().numpy().astype(np.float32, copy=False)
