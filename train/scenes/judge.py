"""How well an offline recogniser understands the speech: `python -m train.scenes.judge`.

The recogniser (pocketsphinx, its own English model) expects any digits, or any words of the vocabulary, in
free order. `wip=1e-3` matters: the default inserts words. Every figure stands beside its control, the same sound
with another text.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dualdub_core.errors import DualDubError, InputError

from .config import Split
from .shards import read_rows, stem_of
from .speech import FloatArray, require_flite, say, stretch
from .voices import REJECTED, VOICES, SpeakerSpec
from .words import DIGITS, VOCABULARY, draw_phrase

_RATE = 16_000
_PAD = 0.2


class Judge:
    """A recogniser of some words.

    Raises:
        InputError: pocketsphinx is not installed.
    """

    def __init__(self, words: Sequence[str], *, insertion: float = 1e-3) -> None:
        if find_spec("pocketsphinx") is None:
            raise InputError("pocketsphinx: not installed; install it with `pip install pocketsphinx==5.1.1`")
        import pocketsphinx

        self._decoder: Any = pocketsphinx.Decoder(lm=None, wip=insertion, loglevel="FATAL", samprate=_RATE)
        grammar = f"#JSGF V1.0; grammar g; public <g> = ({'|'.join(words)})+;"
        self._decoder.add_jsgf_string("words", grammar)
        self._decoder.activate_search("words")

    def hear(self, waveform: FloatArray, sample_rate: int) -> list[str]:
        """The words in a sound (N,)."""
        sound = stretch(waveform, round(len(waveform) * _RATE / sample_rate))
        pad = np.zeros(int(_PAD * _RATE), dtype=np.float32)
        sound = np.concatenate([pad, sound * (0.9 / max(float(np.abs(sound).max()), 1e-6)), pad])
        self._decoder.start_utt()
        self._decoder.process_raw((sound * 32767).astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr.split() if hypothesis else []


@dataclass(slots=True)
class Hearing:
    """What was said and what was heard."""

    truths: list[Sequence[str]] = field(default_factory=list)
    heard: list[list[str]] = field(default_factory=list)

    def word_error_rate(self) -> float:
        """Errors per word said, over all phrases together."""
        return self._rate(self.truths)

    def control(self) -> float:
        """The same against the text of the phrase before."""
        return self._rate(self.truths[1:] + self.truths[:1])

    def _rate(self, truths: list[Sequence[str]]) -> float:
        return sum(map(word_errors, truths, self.heard)) / max(sum(map(len, self.truths)), 1)


def word_errors(truth: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest words to change, add or drop."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(truth, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def is_digits(words: Sequence[str]) -> bool:
    """Whether a phrase is a row of digits."""
    return all(word in DIGITS for word in words)


def hear_voice(speaker: SpeakerSpec, judge: Judge, *, digits: bool, phrases: int, seed: int) -> Hearing:
    """A voice saying training phrases."""
    rng = np.random.default_rng(seed)
    hearing = Hearing()
    while len(hearing.truths) < phrases:
        phrase = draw_phrase(rng, Split.TRAIN)
        if is_digits(phrase) == digits:
            sound = say(phrase, speaker, stretch_by=float(rng.uniform(0.95, 1.1)), sample_rate=_RATE)
            hearing.truths.append(phrase)
            hearing.heard.append(judge.hear(sound.waveform, _RATE))
    return hearing


def hear_corpus(folder: Path, digits: Judge, words: Judge, *, phrases: int) -> dict[str, Hearing]:
    """The speech of a corpus, alone and with the background, by kind of phrase and by room."""
    hearings: dict[str, Hearing] = {}
    spoken = (row for kind in ("tts", "joint") for row in islice(read_rows(folder, kind=kind), phrases))
    for row in spoken:
        speech, background = stem_of(row, "speech"), stem_of(row, "background")
        assert speech is not None
        judge = digits if is_digits(row["words"]) else words
        heard = judge.hear(speech, row["sample_rate"])
        for name in ("digits" if judge is digits else "words", f"room {row['room']}"):
            _note(hearings, name, row["words"], heard)
        if background is not None:
            _note(hearings, "speech of joint", row["words"], heard)
            _note(hearings, "mix of joint", row["words"], judge.hear(speech + background, row["sample_rate"]))
    return hearings


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.scenes.judge", description=__doc__)
    parser.add_argument("--corpus", type=Path, help="judge the stems below this folder instead of the voices")
    parser.add_argument("--phrases", type=int, default=20, help="per voice or kind of clip")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    try:
        digits, words = Judge(DIGITS), Judge(VOCABULARY)
        print(f"{'':18} {'WER':>7} {'control':>8}")
        if arguments.corpus:
            hearings = hear_corpus(arguments.corpus, digits, words, phrases=arguments.phrases)
            for name, hearing in sorted(hearings.items()):
                _show(f"{name} ({len(hearing.truths)})", hearing)
            return
        require_flite()
        for speaker in VOICES + REJECTED:
            for name, judge in (("digits", digits), ("words", words)):
                hearing = hear_voice(
                    speaker, judge, digits=judge is digits, phrases=arguments.phrases, seed=arguments.seed
                )
                _show(f"{speaker.name} {name}", hearing)
    except DualDubError as error:
        parser.exit(2, f"{error}\n")


def _note(hearings: dict[str, Hearing], name: str, truth: Sequence[str], heard: list[str]) -> None:
    hearing = hearings.setdefault(name, Hearing())
    hearing.truths.append(truth)
    hearing.heard.append(heard)


def _show(name: str, hearing: Hearing) -> None:
    print(f"{name:18} {hearing.word_error_rate():7.1%} {hearing.control():8.1%}", flush=True)


if __name__ == "__main__":
    main()
