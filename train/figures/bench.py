"""Groups of figures that share what they listen to: takes are made once a group, then every figure looks at them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from dualdub_core.errors import InputError
from dualdub_core.system import System
from dualdub_core.types import Task
from train.scenes.config import Kind
from train.scenes.judge import Judge
from train.scenes.words import DIGITS, VOCABULARY

from .clips import EvalClip, read_clips, references
from .compose import TakeConfig, make_takes
from .decoders import decoded, decoder_figures, encode_clip
from .mouths import mouth_figure
from .onsets import onset_figures
from .table import Figure
from .voices import VoiceJudge, describe_speech, voice_figures
from .words import Listeners, codec_figure, word_figures

_ENROLLED = 1600
"""Clips of the training split by which its voices are known; about a hundred a voice."""


@dataclass(frozen=True)
class Bench:
    """A held-out split and those who judge it; everything is read or fitted when first needed.

    Attributes:
        folder: of the split.
        enrolment: a folder with recordings of the training voices.
        take: how takes are made.
        limit: clips of each kind, all when None.
    """

    folder: Path
    enrolment: Path
    take: TakeConfig
    limit: int | None = None

    def clips(self, kind: Kind) -> list[EvalClip]:
        """The clips that are judged."""
        return self._all(kind)[: self.limit]

    def voices(self, kind: Kind) -> list[EvalClip]:
        """For each of them another recording of its speaker."""
        pool = self._all(Kind.TTS) + self._all(Kind.JOINT)
        return references(self.clips(kind), pool)

    @cached_property
    def listeners(self) -> Listeners:
        """The recognisers.

        Raises:
            InputError: pocketsphinx is not installed.
        """
        return Listeners(Judge(DIGITS), Judge(VOCABULARY))

    @cached_property
    def voice_judge(self) -> VoiceJudge:
        """Knows the training voices by the enrolment, the others by this split's clips of the other kind.

        Raises:
            InputError: the enrolment folder has no speech.
        """
        try:
            fitted = read_clips(self.enrolment, Kind.TTS, _ENROLLED, with_pictures=False)
        except InputError as error:
            raise InputError(f"{error}; voices are judged by the training split, name it with --enrol") from None
        known = [clip for clip in self._all(Kind.JOINT) if "speaker" in clip.unseen]
        return VoiceJudge(describe_speech(fitted), describe_speech(known))

    @cached_property
    def _read(self) -> dict[Kind, list[EvalClip]]:
        return {}

    def _all(self, kind: Kind) -> list[EvalClip]:
        if kind not in self._read:
            self._read[kind] = read_clips(self.folder, kind)
        return self._read[kind]


Done = Mapping[str, Figure]


def codec_group(bench: Bench, system: System, _: Done) -> list[Figure]:
    """What codes keep of speech and of events."""
    listeners, speech, background = bench.listeners, bench.clips(Kind.TTS), bench.clips(Kind.V2A)
    by_codec = replace(bench.take, decoder="codec")
    made = {c.id: decoded(system, c, encode_clip(system, c), by_codec) for c in speech + background}
    heard = listeners.hear(speech, [made[clip.id] for clip in speech])
    kept = onset_figures("codec", background, [made[clip.id] for clip in background])
    figure = codec_figure(speech, heard, listeners.hear_originals(speech))
    return [figure, *(replace(one, gate=None) for one in kept)]


def decoders_group(bench: Bench, system: System, _: Done) -> list[Figure]:
    """The flow decoder against the codec's."""
    clips = bench.clips(Kind.TTS) + bench.clips(Kind.V2A)
    codes = [encode_clip(system, clip) for clip in clips]
    by_flow, by_codec = replace(bench.take, decoder="flow"), replace(bench.take, decoder="codec")
    flow = [decoded(system, clip, one, by_flow) for clip, one in zip(clips, codes, strict=True)]
    codec = [decoded(system, clip, one, by_codec) for clip, one in zip(clips, codes, strict=True)]
    return decoder_figures(clips, flow, codec)


def speech_group(bench: Bench, system: System, _: Done) -> list[Figure]:
    """Speech alone."""
    # Whoever judges is asked for first: that something is missing should not be told after minutes of work.
    listeners, judge, clips = bench.listeners, bench.voice_judge, bench.clips(Kind.TTS)
    made = make_takes(system, Task.SPEECH, clips, bench.voices(Kind.TTS), bench.take)
    heard, originals = listeners.hear(clips, made), listeners.hear_originals(clips)
    return word_figures("speech", clips, heard, originals) + voice_figures("speech", clips, made, judge)


def background_group(bench: Bench, system: System, _: Done) -> list[Figure]:
    """Background alone."""
    clips = bench.clips(Kind.V2A)
    return onset_figures("background", clips, make_takes(system, Task.BACKGROUND, clips, clips, bench.take))


def joint_group(bench: Bench, system: System, done: Done) -> list[Figure]:
    """Both at once, beside each alone."""
    listeners, judge, clips = bench.listeners, bench.voice_judge, bench.clips(Kind.JOINT)
    made = make_takes(system, Task.JOINT, clips, bench.voices(Kind.JOINT), bench.take)
    heard, originals = listeners.hear(clips, made), listeners.hear_originals(clips)
    return [
        *word_figures("joint", clips, heard, originals, alone=dict(done)),
        *voice_figures("joint", clips, made, judge),
        *onset_figures("joint", clips, made, alone=dict(done)),
        mouth_figure(clips, made),
    ]


GROUPS: Mapping[str, Callable[[Bench, System, Done], list[Figure]]] = {
    "codec": codec_group,
    "decoders": decoders_group,
    "speech": speech_group,
    "background": background_group,
    "joint": joint_group,
}
"""In the order in which they run: the joint figures stand beside those of each alone."""

COMPARED = ("speech", "background", "joint")
"""What another language model can change."""
