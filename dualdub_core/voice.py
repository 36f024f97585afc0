"""Who speaks: a reference recording to a speaker embedding that can be kept and blended."""

import hashlib
import logging
from collections.abc import Sequence

import torch

from .audio import log_mel, to_mono, with_rate
from .errors import InputError
from .limits import within
from .models.dualdub import DualDub
from .models.ops import place_of
from .timing import num_samples
from .types import Audio, Voice, check_finite

MIN_SECONDS, SHORT_SECONDS, MAX_SECONDS = 0.5, 3.0, 10.0
SILENCE_DB = -60.0

logger = logging.getLogger(__name__)


def voice_model_id(model: DualDub) -> str:
    """Fingerprint of a model's speaker encoder; the same file loaded in another dtype has the same."""
    weight = model.speaker_encoder.proj.weight.detach().to("cpu", torch.bfloat16)
    return hashlib.sha256(weight.view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


@torch.inference_mode()
def encode_voice(model: DualDub, reference: Audio, *, name: str = "", consent: str = "") -> Voice:
    """Speaker embedding of a recording (section 3.2).

    The paper trains on 3 s; of a longer reference the middle 10 s are heard.

    Args:
        model: its speaker encoder is used.
        reference: one person speaking, any rate and channels; the first of a batch.
        name: what the artist calls the voice.
        consent: who agreed to its use, and when; kept with the voice and in what is made with it.

    Raises:
        InputError: too short, silent, or not finite.
    """
    check_finite(reference, "voice")
    if reference.duration < MIN_SECONDS:
        raise InputError(
            f"voice: got {reference.duration:.2f} s, expected at least {MIN_SECONDS} s of speech, better 3 to 10 s"
        )
    if reference.duration < SHORT_SECONDS:
        logger.warning("voice: %.2f s is short; 3 to 10 s describe a speaker better", reference.duration)
    mel_config = model.config.speaker.mel
    mono = with_rate(to_mono(reference), mel_config.sample_rate).waveform[:1, 0]  # (1, N)
    loudest = mono.abs().max()
    if loudest < 10 ** (SILENCE_DB / 20):
        raise InputError(f"voice: got silence (below {SILENCE_DB:.0f} dB throughout), expected someone speaking")
    keep = num_samples(MAX_SECONDS, mel_config.sample_rate)
    start = max(0, (mono.shape[1] - keep) // 2)
    weight = model.speaker_encoder.proj.weight
    mel = log_mel(mono[:, start : start + keep], mel_config).to(place_of(model), weight.dtype)
    embedding = model.speaker_encoder(mel)[0].float().cpu()
    return Voice(embedding=embedding, model_id=voice_model_id(model), name=name, consent=consent.strip())


def blend_voices(voices: Sequence[Voice], weights: Sequence[float]) -> Voice:
    """A voice between voices of one model: the weighted mean of their embeddings.

    Raises:
        InputError: no voices, unequal counts, weights that sum to nothing, or voices of different models.
    """
    if not voices or len(voices) != len(weights):
        raise InputError(f"blend: got {len(voices)} voices and {len(weights)} weights, expected as many of each")
    total = sum(weights) if all(within(weight, 0) for weight in weights) else 0
    if total == 0:
        raise InputError(f"blend: got weights {list(weights)}, expected none negative and a sum above 0")
    if len({v.model_id for v in voices}) > 1:
        raise InputError("blend: the voices belong to different models; compute each from its recording again")
    embedding = sum(v.embedding * (w / total) for v, w in zip(voices, weights, strict=True))
    assert isinstance(embedding, torch.Tensor)
    name = " + ".join(v.name for v in voices if v.name)
    consent = "; ".join(dict.fromkeys(v.consent for v in voices if v.consent))
    return Voice(embedding=embedding, model_id=voices[0].model_id, name=name, consent=consent)
