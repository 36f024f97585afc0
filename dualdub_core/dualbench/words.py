"""How many words the speech gets wrong: word error rate of a transcript against the script.

Counting: jiwer 4. Normalisers: OpenAI Whisper's (whisper-normalizer 0.1.15), and seed-tts-eval 752f429's English rules.
One set of ten pairs scores 17.5, 57.8, 67.5 or 90 % by the normaliser alone, so every figure names it.
"""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..errors import InputError
from .extras import optional

Normaliser = Literal["whisper_english", "whisper_basic", "seed_tts_eval_en", "none"]

# seed-tts-eval removes ASCII's punctuation and zhon's, but not the straight apostrophe.
_CHINESE = "＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､\u3000、〃〈〉《》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏﹑﹔·！？｡。"  # noqa: E501, RUF001
_SEED_DROPPED = str.maketrans("", "", (string.punctuation + _CHINESE).replace("'", ""))


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Counts over all pairs, and the rates that follow.

    Attributes:
        hits: words that are right.
        substitutions: words taken for others.
        deletions: words left out; an empty transcript deletes all.
        insertions: words that the script has not.
        by_pair: rate of each pair; nan where the normalised script has no words.
        normaliser: whose rules.
    """

    hits: int
    substitutions: int
    deletions: int
    insertions: int
    by_pair: tuple[float, ...]
    normaliser: Normaliser

    @property
    def rate(self) -> float:
        """Errors over the script's words, of the whole set: the main figure; may exceed 1."""
        words = self.hits + self.substitutions + self.deletions
        return (self.substitutions + self.deletions + self.insertions) / words

    @property
    def mean_rate(self) -> float:
        """Mean over pairs that have words in the script, as seed-tts-eval has it."""
        return float(np.nanmean(self.by_pair))


def word_errors(
    scripts: Sequence[str], transcripts: Sequence[str], *, normaliser: Normaliser = "whisper_english"
) -> WordErrors:
    """Compare what was said with what should have been said.

    Args:
        scripts: the reference.
        transcripts: what a recogniser heard, in the same order; "" where it heard nothing.
        normaliser: applied to both.

    Raises:
        InputError: lists of unequal length, no words in any script, or an unknown normaliser.
        ConfigError: jiwer or whisper-normalizer is not installed.
    """
    if len(scripts) != len(transcripts):
        raise InputError(f"WER: got {len(scripts)} scripts and {len(transcripts)} transcripts, expected pairs")
    jiwer = optional("jiwer", package="jiwer", what="WER")
    clean = _normaliser(normaliser)
    totals = np.zeros(4, dtype=int)
    by_pair = []
    for script, transcript in zip(map(clean, scripts), map(clean, transcripts), strict=True):
        counts = jiwer.process_words(script, transcript)
        totals += (counts.hits, counts.substitutions, counts.deletions, counts.insertions)
        # Where the script is empty jiwer's "rate" is the number of words inserted.
        by_pair.append(counts.wer if script.split() else float("nan"))
    hits, substitutions, deletions, insertions = map(int, totals)
    if hits + substitutions + deletions == 0:
        raise InputError("WER: got no words in any script, expected at least one; nothing was to be said")
    return WordErrors(hits, substitutions, deletions, insertions, tuple(by_pair), normaliser)


def normalise(text: str, normaliser: Normaliser) -> str:
    """Text as it is compared.

    Raises:
        InputError: an unknown normaliser.
        ConfigError: whisper-normalizer is not installed.
    """
    return _normaliser(normaliser)(text)


def _normaliser(name: Normaliser) -> Callable[[str], str]:
    if name == "none":
        return str
    if name == "seed_tts_eval_en":
        return _seed_tts_eval_en
    if name not in get_args(Normaliser):
        raise InputError(f"WER: got normaliser {name!r}, expected one of {', '.join(get_args(Normaliser))}")
    kind = name.removeprefix("whisper_")
    module = optional(f"whisper_normalizer.{kind}", package="whisper-normalizer", what="WER")
    rules: Callable[[str], str] = getattr(module, f"{kind.capitalize()}TextNormalizer")()
    return rules


def _seed_tts_eval_en(text: str) -> str:
    return text.translate(_SEED_DROPPED).replace("  ", " ").lower()
