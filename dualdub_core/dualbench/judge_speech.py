"""Whether the right words are said, in the right voice, and how natural they sound: WER, SIM, UTMOS.

The networks are handed in: anything with these few methods will do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..types import Audio, Stream
from .dualscore import paired_cosines
from .extras import optional
from .figures import TRUTH, Figure, mean_figure, ratio_figure
from .judges import Facts, NetworkJudge, Subject, heard_in, next_one
from .testset import BenchClip
from .words import Normaliser, normalise, word_errors

_SPEECH = Stream.SPEECH
WRONG_SCRIPT, WRONG_VOICE = "another clip's script", "another speaker's voice"


class Transcriber(Protocol):
    """Hears words; `transcripts.Recogniser` is one."""

    def transcribe(self, audio: Audio) -> str:
        """The words of one recording (1, C, N); "" where nothing is heard."""


class SpeakerEmbedder(Protocol):
    """Hears voices; `speakers.SpeakerJudge` is one."""

    def embed(self, audio: Audio) -> Tensor:
        """The speaker of one recording (1, C, N) as a vector (D,)."""


class Rater(Protocol):
    """Hears quality; `utmos.Utmos` is one."""

    def score(self, audio: Audio) -> Tensor:
        """Opinions (B,) of recordings (B, C, N), about 1 to 5."""


class WordsJudge(NetworkJudge[Transcriber]):
    """WER of the whole set and mean of the clips' own."""

    key = "words"

    def __init__(
        self,
        load: Callable[[], Transcriber],
        *,
        name: str,
        identity: str = "",
        normaliser: Normaliser = "whisper_english",
    ) -> None:
        """As `NetworkJudge`; `normaliser` is that of script and transcript, and moves figures more than systems do."""
        super().__init__(load, name=name, identity=identity)
        self._normaliser = normaliser

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of what is heard; the normaliser comes later."""
        return {"asr": self._name, "identity": self._identity}

    def check(self) -> None:
        """The counting package and the normaliser's are there.

        Raises:
            ConfigError: one is not.
            InputError: an unknown normaliser.
        """
        optional("jiwer", package="jiwer", what="WER")
        normalise("", self._normaliser)

    def hear(self, subject: Subject) -> Facts:
        """Transcripts of the take and the real speech."""
        taken = subject.stem(_SPEECH)
        if taken is None:
            return Facts()
        real = subject.real_stem(_SPEECH)
        heard, real_heard = self._network.transcribe(taken), self._network.transcribe(real)
        return Facts({"stems": bool(subject.streams), "heard": heard, "real": real_heard})

    def figures(self, clips: Sequence[BenchClip], facts: Sequence[Facts], *, draws: int) -> list[Figure]:  # noqa: ARG002
        """Over the clips whose script has words."""
        said = [(c, f) for c, f in zip(clips, facts, strict=True) if normalise(c.script, self._normaliser).split()]
        if not said or not facts[0].values:
            return []
        scripts = [clip.script for clip, _ in said]
        others = [scripts[next_one(i, len(said)) or 0] for i in range(len(said))]
        heard = [self._errors(clip.script, fact.values["heard"]) for clip, fact in said]
        real = [self._errors(clip.script, fact.values["real"]) for clip, fact in said]
        wrong = [self._errors(other, fact.values["heard"]) for other, (_, fact) in zip(others, said, strict=True)]
        names = [clip.id for clip, _ in said]
        tool = f"{self._name}, {self._normaliser} normaliser, jiwer"
        labels = {"unit": "%", "better": "lower", "tool": tool}
        controls = {TRUTH: _rate(real), **({WRONG_SCRIPT: _rate(wrong)} if len(said) > 1 else {})}
        where = heard_in(_SPEECH, facts[0].values["stems"])
        words = {name: float(count) for name, (_, count) in zip(names, heard, strict=True)}
        errors = {name: 100.0 * wrongs for name, (wrongs, _) in zip(names, heard, strict=True)}
        rates = {name: errors[name] / words[name] for name in names}
        real_rates = [100.0 * wrongs / count for wrongs, count in real]
        return [
            ratio_figure(errors, words, controls, key="wer", title=f"WER, {where}", **labels),
            mean_figure(rates, controls={TRUTH: real_rates}, key="wer.mean", title="WER, mean of clips", **labels),
        ]

    def _errors(self, script: str, transcript: str) -> tuple[int, int]:
        """Errors, and words of the script."""
        found = word_errors([script], [transcript], normaliser=self._normaliser)
        wrong = found.substitutions + found.deletions
        return wrong + found.insertions, found.hits + wrong


class VoiceJudge(NetworkJudge[SpeakerEmbedder]):
    """Cosine of speaker embeddings: with the real clip (the paper's table 3) and with the voice that was given."""

    key = "voice"

    def hear(self, subject: Subject) -> Facts:
        """Embeddings of the take, the real speech and the reference."""
        taken = subject.stem(_SPEECH)
        if taken is None:
            return Facts()
        sounds = {"made": taken, "real": subject.real_stem(_SPEECH), "voice": subject.reference}
        return Facts(
            {"stems": bool(subject.streams)},
            {name: self._network.embed(sound).float().cpu().flatten() for name, sound in sounds.items()},
        )

    def figures(self, clips: Sequence[BenchClip], facts: Sequence[Facts], *, draws: int) -> list[Figure]:  # noqa: ARG002
        """Both similarities, each beside another speaker's."""
        if not facts[0].tensors:
            return []
        made, real, voice = (torch.stack([fact.tensors[name] for fact in facts]) for name in ("made", "real", "voice"))
        strangers = [(i, j) for i in range(len(clips)) if (j := _stranger(clips, i)) is not None]
        rows, others = [i for i, _ in strangers], [j for _, j in strangers]
        where = heard_in(_SPEECH, facts[0].values["stems"])
        figures = []
        for key, title, wanted, controls in (
            ("sim_gt", f"SIM with the real clip, {where}", real, {}),
            ("sim_ref", f"SIM with the given voice, {where}", voice, {TRUTH: _cosines(real, voice)}),
        ):
            if strangers:
                controls = {**controls, WRONG_VOICE: _cosines(made[rows], wanted[others])}
            values = dict(zip([clip.id for clip in clips], _cosines(made, wanted), strict=True))
            labels = {"unit": "", "better": "higher", "tool": f"{self._name}, cosine, each clip whole"}
            figures.append(mean_figure(values, controls=controls, key=key, title=title, **labels))
        return figures


class OpinionJudge(NetworkJudge[Rater]):
    """UTMOS: a network's guess of the mean opinion of listeners."""

    key = "utmos"

    def hear(self, subject: Subject) -> Facts:
        """Opinions of the take and the real speech."""
        taken = subject.stem(_SPEECH)
        if taken is None:
            return Facts()
        made, real = (float(self._network.score(sound)[0]) for sound in (taken, subject.real_stem(_SPEECH)))
        return Facts({"stems": bool(subject.streams), "made": made, "real": real})

    def figures(self, clips: Sequence[BenchClip], facts: Sequence[Facts], *, draws: int) -> list[Figure]:  # noqa: ARG002
        """The mean."""
        if not facts[0].values:
            return []
        values = {clip.id: float(fact.values["made"]) for clip, fact in zip(clips, facts, strict=True)}
        controls = {TRUTH: [float(fact.values["real"]) for fact in facts]}
        title = f"UTMOS, {heard_in(_SPEECH, facts[0].values['stems'])}"
        return [
            mean_figure(values, controls=controls, key=self.key, title=title, unit="", better="higher", tool=self._name)
        ]


def _rate(counts: Sequence[tuple[int, int]]) -> float:
    errors, words = np.sum(counts, axis=0)
    return float(100.0 * errors / words)


def _cosines(first: Tensor, second: Tensor) -> list[float]:
    values: list[float] = paired_cosines(first, second).tolist()
    return values


def _stranger(clips: Sequence[BenchClip], index: int) -> int | None:
    """The next clip that somebody else speaks, or None."""
    order = [(index + step) % len(clips) for step in range(1, len(clips))]
    return next((other for other in order if clips[other].speaker != clips[index].speaker), None)
