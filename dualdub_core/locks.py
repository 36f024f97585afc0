"""Holding a stream, or a part of it, to codes that are known: a recorded actor, an existing bed, a take to keep.

Letters: B takes of a batch, T frames at the codec's rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .audio import fit_length, to_mono, with_rate
from .errors import InputError
from .generation import FREE
from .limits import within
from .models.dualdub import STREAMS, DualDub
from .models.ops import place_of
from .models.wavtokenizer import WavTokenizer
from .timing import num_samples
from .types import Audio, Codes, Stream, Task, check_finite


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
    place, dtype = place_of(codec), next(codec.parameters()).dtype
    return torch.cat([codec.encode(item[None].to(place, dtype)) for item in waveform]).cpu()


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
