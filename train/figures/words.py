"""Does it say what it was told to? Words heard by an offline recogniser, against the text."""

from collections.abc import Callable, Sequence
from typing import Protocol

from dualdub_core.dualbench.intervals import Estimate, ratio
from dualdub_core.types import Stream
from train.scenes.judge import is_digits, word_errors

from .clips import EvalClip, FloatArray
from .compose import Made
from .table import Figure, Gate

Words = Sequence[str]

ORIGINALS, ANOTHER, ALONE = "originals", "another text", "speech only"
GATES = {"digits": Gate(bound=0.10, beside=ORIGINALS), "words": Gate(bound=0.15, beside=ORIGINALS)}
CODEC_GATE = Gate(bound=0.10, beside=ORIGINALS)
_WITHIN_JOINT = 0.05

Chosen = Callable[[EvalClip], bool]
KINDS: dict[str, Chosen] = {
    "digits": lambda clip: is_digits(clip.words),
    "words": lambda clip: not is_digits(clip.words),
}
SUBSETS: dict[str, tuple[str, Chosen]] = {
    "pairs": ("unseen word pairs", lambda clip: "pair" in clip.unseen),
    "known": ("voices of training", lambda clip: "speaker" not in clip.unseen),
    "new": ("unseen voices", lambda clip: "speaker" in clip.unseen),
}


class Listener(Protocol):
    """Writes down what it hears."""

    def hear(self, waveform: FloatArray, sample_rate: int) -> list[str]:
        """The words in a sound (N,)."""


class Listeners:
    """Hears digits where digits are said, and any words elsewhere; what it heard of an original it remembers."""

    def __init__(self, digits: Listener, words: Listener) -> None:
        self._digits, self._words = digits, words
        self._originals: dict[str, list[str]] = {}

    def hear(self, clips: Sequence[EvalClip], made: Sequence[Made]) -> list[list[str]]:
        """The words of each clip's made speech."""
        return [
            self._listener(clip).hear(one.stems[Stream.SPEECH], one.sample_rate)
            for clip, one in zip(clips, made, strict=True)
        ]

    def hear_originals(self, clips: Sequence[EvalClip]) -> list[list[str]]:
        """The words of each clip's own speech."""
        for clip in clips:
            if clip.id not in self._originals:
                speech = clip.stems[Stream.SPEECH]
                self._originals[clip.id] = self._listener(clip).hear(speech, clip.sample_rate)
        return [self._originals[clip.id] for clip in clips]

    def _listener(self, clip: EvalClip) -> Listener:
        return self._digits if is_digits(clip.words) else self._words


def word_error_rate(truths: Sequence[Words], heard: Sequence[Words]) -> Estimate:
    """Errors per word said, over all clips together."""
    return ratio([*map(word_errors, truths, heard)], [*map(len, truths)])


def codec_figure(clips: Sequence[EvalClip], heard: Sequence[Words], originals: Sequence[Words]) -> Figure:
    """Speech through the codec and back."""
    return _figure(
        "codec.speech.wer", "codec: reconstruction, WER", clips, heard, originals, lambda _: True, gate=CODEC_GATE
    )


def word_figures(
    prefix: str,
    clips: Sequence[EvalClip],
    heard: Sequence[Words],
    originals: Sequence[Words],
    alone: dict[str, Figure] | None = None,
) -> list[Figure]:
    """Word error rates on digits and on words, then on parts of them.

    Args:
        prefix: "speech", or "joint": then the gates are those of `alone`.
        clips: what was asked for.
        heard: words heard in what was made.
        originals: words heard in the clips' own speech.
        alone: figures of the speech alone, by key.
    """
    figures = []
    for name, is_kind in KINDS.items():
        gate, controls = GATES[name], {}
        if alone is not None:
            gate = Gate(bound=_WITHIN_JOINT, beside=ALONE)
            if f"speech.{name}.wer" in alone:
                controls[ALONE] = alone[f"speech.{name}.wer"].estimate
        key, title = f"{prefix}.{name}.wer", f"{prefix}: WER, {name}"
        figures.append(_figure(key, title, clips, heard, originals, is_kind, gate=gate, more=controls))
    for name, (subset, is_part) in SUBSETS.items():
        key, title = f"{prefix}.{name}.wer", f"{prefix}: WER, {subset}"
        figures.append(_figure(key, title, clips, heard, originals, is_part))
    return figures


def _figure(
    key: str,
    title: str,
    clips: Sequence[EvalClip],
    heard: Sequence[Words],
    originals: Sequence[Words],
    is_chosen: Chosen,
    *,
    gate: Gate | None = None,
    more: dict[str, Estimate] | None = None,
) -> Figure:
    chosen = [(c.words, h, o) for c, h, o in zip(clips, heard, originals, strict=True) if is_chosen(c)]
    truths = [truth for truth, _, _ in chosen]
    outputs = [output for _, output, _ in chosen]
    controls = {
        ORIGINALS: word_error_rate(truths, [original for _, _, original in chosen]),
        ANOTHER: word_error_rate(truths[1:] + truths[:1], outputs),
    }
    return Figure(
        key=key,
        title=title,
        better="lower",
        estimate=word_error_rate(truths, outputs),
        controls=controls | (more or {}),
        chance=(ANOTHER,),
        gate=gate,
    )
