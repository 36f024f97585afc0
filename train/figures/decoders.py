"""How close do both decoders come to the original from its own codes (paper, table 4)?"""

from collections.abc import Sequence

import numpy as np
import torch

from dualdub_core.audio import resample
from dualdub_core.dualbench.intervals import mean
from dualdub_core.errors import CheckpointError
from dualdub_core.pipeline import encode_stem
from dualdub_core.system import System
from dualdub_core.types import Audio, Codes, Stream
from train.losses import mel_distance, stft_distance

from .clips import EvalClip, FloatArray
from .compose import Made, TakeConfig, decode, mono
from .table import Figure, Gate

CODEC, ANOTHER, SILENCE = "codec decoder", "another clip", "silence"
GATE = Gate(bound=0.0, beside=CODEC, is_strict=True)
MEASURES = {"mel": "mel distance", "stft": "multi-resolution STFT distance"}


def encode_clip(system: System, clip: EvalClip) -> Codes:
    """The codes of a clip's stems.

    Raises:
        CheckpointError: the system has no codec.
    """
    if system.codec is None:
        raise CheckpointError("this checkpoint has no codec; give a complete one")
    codes = {
        stream: encode_stem(
            system.codec, Audio(torch.from_numpy(stem)[None, None], clip.sample_rate), duration=clip.duration
        )
        for stream, stem in clip.stems.items()
    }
    return Codes(
        speech=codes.get(Stream.SPEECH),
        background=codes.get(Stream.BACKGROUND),
        duration=clip.duration,
        clock=system.codec.config.clock,
        codebook_size=system.codec.config.codebook_size,
    )


def decoded(system: System, clip: EvalClip, codes: Codes, config: TakeConfig) -> Made:
    """A clip's own codes as sound again, by the decoder that the config names.

    Raises:
        CheckpointError: the system lacks a part.
    """
    tracks = decode(system, codes, config)
    sounds = {Stream.SPEECH: tracks.speech, Stream.BACKGROUND: tracks.background}
    return Made({stream: mono(sounds[stream].waveform[0]) for stream in clip.stems}, tracks.sample_rate)


def distances(output: FloatArray, rate: int, clip: EvalClip, stream: Stream) -> dict[str, float]:
    """How far a sound (N,) is from a clip's stem, by measure."""
    target = torch.from_numpy(clip.stems[stream])[None]
    sound = resample(torch.from_numpy(np.ascontiguousarray(output))[None], rate, clip.sample_rate)
    length = min(sound.shape[1], target.shape[1])
    sound, target = sound[:, :length], target[:, :length]
    return {
        "mel": float(mel_distance(sound, target, clip.sample_rate)),
        "stft": float(stft_distance(sound, target)),
    }


def decoder_figures(clips: Sequence[EvalClip], flow: Sequence[Made], codec: Sequence[Made]) -> list[Figure]:
    """The flow's distances from the originals beside the codec decoder's, silence's and another clip's."""
    figures = []
    for stream in (Stream.SPEECH, Stream.BACKGROUND):
        chosen = [i for i, clip in enumerate(clips) if stream in clip.stems]
        others = chosen[1:] + chosen[:1]
        ours = [distances(flow[i].stems[stream], flow[i].sample_rate, clips[i], stream) for i in chosen]
        theirs = [distances(codec[i].stems[stream], codec[i].sample_rate, clips[i], stream) for i in chosen]
        another = [
            distances(flow[j].stems[stream], flow[j].sample_rate, clips[i], stream)
            for i, j in zip(chosen, others, strict=True)
        ]
        silent = [
            distances(np.zeros_like(clips[i].stems[stream]), clips[i].sample_rate, clips[i], stream) for i in chosen
        ]
        for name, title in MEASURES.items():
            figures.append(
                Figure(
                    key=f"decoders.{stream.value}.{name}",
                    title=f"flow and VAE: {title}, {stream.value}",
                    better="lower",
                    estimate=mean([one[name] for one in ours]),
                    controls={
                        CODEC: mean([one[name] for one in theirs]),
                        ANOTHER: mean([one[name] for one in another]),
                        SILENCE: mean([one[name] for one in silent]),
                    },
                    chance=(ANOTHER, SILENCE),
                    gate=GATE,
                )
            )
    return figures
