"""How well the two stems of a soundtrack belong together: DualScore (section 4.3), and what CASP itself can tell.

CASP is handed in as anything that embeds a pair of stems. A DualScore says something only beside the score of stems
that do not belong together, and of a CASP that finds partners better than chance: both are printed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ..types import Audio, Stream
from .casp import Casp, embed_stems
from .dualscore import paired_cosines, retrieval
from .figures import CHANCE, SHUFFLED, TRUTH, Figure, mean_figure, set_figure
from .intervals import Rows
from .judges import Facts, NetworkJudge, Subject, next_one
from .testset import BenchClip

_RANKS = (1, 3, 5)


class PairEmbedder(Protocol):
    """Hears both stems of one clip; both are cut to one length, so that their lengths do not tell they are a pair."""

    def embed_pair(self, speech: Audio, background: Audio) -> tuple[Tensor, Tensor]:
        """Embeddings (D,) of the speech and of the background, each one item (1, C, N) at any rate."""


@dataclass(frozen=True, slots=True)
class CaspPairs:
    """A CASP as a `PairEmbedder`."""

    casp: Casp

    def embed_pair(self, speech: Audio, background: Audio) -> tuple[Tensor, Tensor]:
        """By CASP's own windows; what one stem is longer than the other is not heard."""
        found = embed_stems(self.casp, speech, background)
        return found.speech, found.audio


class HarmonyJudge(NetworkJudge[PairEmbedder]):
    """DualScore of systems that make both stems."""

    key = "casp"

    @torch.inference_mode()
    def hear(self, subject: Subject) -> Facts:
        """Embeddings of the take's stems and of the real ones; nothing where a stem is not made."""
        if len(subject.streams) < len(Stream):
            return Facts()
        tensors: dict[str, Tensor] = {}
        taken = [subject.stem(stream) for stream in Stream]
        for prefix, (speech, background) in (
            ("", taken),
            ("real_", [subject.real_stem(stream) for stream in Stream]),
        ):
            assert speech is not None
            assert background is not None
            first, second = self._network.embed_pair(speech, background)
            tensors[f"{prefix}speech"] = first.float().cpu().flatten()
            tensors[f"{prefix}background"] = second.float().cpu().flatten()
        return Facts({}, tensors)

    def figures(self, clips: Sequence[BenchClip], facts: Sequence[Facts], *, draws: int) -> list[Figure]:  # noqa: ARG002
        """DualScore beside real and mixed-up pairs; how often CASP finds the partner of a real stem."""
        if not facts[0].tensors:
            return []
        names = ("speech", "background", "real_speech", "real_background")
        speech, background, real_speech, real_background = (
            torch.stack([fact.tensors[name] for fact in facts]) for name in names
        )
        count = len(clips)
        others = [other for i in range(count) if (other := next_one(i, count)) is not None]
        scores = dict(zip([clip.id for clip in clips], _cosines(speech, background), strict=True))
        controls = {TRUTH: _cosines(real_speech, real_background)}
        if others:
            controls[SHUFFLED] = _cosines(speech, background[others])
        labels = {"unit": "", "better": "higher", "tool": self._name}
        figures = [mean_figure(scores, controls=controls, key="dualscore", title="DualScore", **labels)]
        found = retrieval(real_speech, real_background, ks=_RANKS)
        for k in _RANKS:
            both = 50 * (found.speech_to_audio[k] + found.audio_to_speech[k])
            figures.append(
                set_figure(
                    partial(_known, both),
                    count,
                    draws=0,  # a clip that is drawn twice would be its own rival
                    controls={CHANCE: 100 * min(1.0, k / count)},
                    key=f"casp.top{k}",
                    title=f"the judge itself: real partner among the nearest {k}",
                    unit="%",
                    better="neither",
                    tool=self._name,
                )
            )
        return figures


def _known(value: float, _: Rows) -> float:
    return value


def _cosines(first: Tensor, second: Tensor) -> list[float]:
    values: list[float] = paired_cosines(first, second).tolist()
    return values
