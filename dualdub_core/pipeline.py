"""One function a stage, from what an artist has to two stems, in the order they run.

    video -> features -\
    script -> text ids -+-> codes -> stems -> mix
    voice -> embedding -/

Here: the codes. What holds them (`locks`) and what makes stems of them (`decoding`) can be had from here too.
Letters: B takes of a batch, T frames at the codec's rate, F pictures, D width.
"""

import logging
from collections.abc import Sequence

import torch

from .decoding import decode_codec, decode_flow
from .errors import InputError
from .generation import Watch, generate_codes
from .limits import within
from .locks import Lock, encode_stem, forced_codes, retake_locks
from .models.dualdub import STREAMS, Conditions, DualDub
from .models.ops import place_of
from .progress import Progress, silent
from .sampling import CodeSampler, SamplingConfig, Seeds
from .text import BACKGROUND_PROMPT, TextTokenizer, normalise
from .timing import nearest_times
from .types import Codes, Stream, Task, VideoFeatures, Voice
from .voice import voice_model_id

__all__ = ["Lock", "decode_codec", "decode_flow", "encode_stem", "forced_codes", "retake_locks", "sample_codes"]

# A row of speech that never ends by itself is cut: slow speech needs about 0.1 s a character.
_SPEECH_SECONDS, _SPEECH_SECONDS_PER_CHARACTER = 2.0, 0.2

_MOST_CHARACTERS = 20_000  # the words of twenty minutes; attention takes memory with the square

logger = logging.getLogger(__name__)


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
    watch: Watch | None = None,
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
        watch: sees the codes as they come, see `generation.Watch`; it changes none.

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
    device = place_of(model)
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
        watch=watch,
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
    weight = model.heads.weight.new_empty(0, device=place_of(model))  # a host may keep the weights elsewhere
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
