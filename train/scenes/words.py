"""What is said: digits and sixty everyday words, in short phrases of two to seven words.

The words are those that survive being rounded to codes: of 82 candidates, said by every voice of training, the ones
that the judge heard through the codec. Short ones ("cat", "now", "red") that differ in one sound do not.
"""

from collections.abc import Sequence

import numpy as np

from .config import Split
from .splits import held_out_pairs, is_held_out_pair, split_of_phrase

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
THINGS = (
    *("ball", "elephant", "rabbit", "chicken", "kitchen", "balcony", "river", "table", "engine", "island", "apple"),
    *("music", "coffee", "breakfast", "summer", "banana", "telephone", "butterfly", "piano", "chocolate", "station"),
    *("october", "december"),
)
QUALITIES = (
    *("yellow", "purple", "silver", "happy", "little", "beautiful", "wonderful", "delicious", "enormous"),
    *("careful", "paper"),
)
DEEDS = (
    *("carry", "follow", "see", "whisper", "celebrate", "discover", "finish", "listen", "visit"),
    *("play", "stop", "imagine"),
)
SMALL_WORDS = (
    *("every", "this", "inside", "over", "across", "behind", "without"),
    *("again", "please", "today", "slowly", "yesterday", "never", "always"),
)
WORDS = (*THINGS, *QUALITIES, *DEEDS, *SMALL_WORDS)
VOCABULARY = (*DIGITS, *WORDS)

Phrase = tuple[str, ...]

_MANNERS = ("again", "please", "today", "slowly", "yesterday")
_LINKS = ("inside", "over", "across", "behind", "without")
_OWNERS = ("this", "every")


def draw_phrase(rng: np.random.Generator, split: Split) -> Phrase:
    """A phrase of the split: a row of digits, words in free order, or a sentence.

    Free order matters: a recogniser or a language model cannot guess the next word, so figures are honest.
    """
    while True:
        phrase = _PHRASES[rng.choice(3, p=(0.35, 0.3, 0.35))](rng)
        if len(set(phrase)) > 1 and split_of_phrase(phrase) is split and not held_out_pairs(phrase):
            return phrase


def draw_few_words(rng: np.random.Generator, split: Split) -> Phrase:
    """One word, or two of the split; a single word is in every split."""
    if rng.random() < 0.5:
        return (_any(rng, VOCABULARY),)
    while True:
        words = DIGITS if rng.random() < 0.3 else VOCABULARY
        phrase = (_any(rng, words), _any(rng, words))
        if len(set(phrase)) > 1 and split_of_phrase(phrase) is split and not held_out_pairs(phrase):
            return phrase


def draw_unseen_pairs(rng: np.random.Generator) -> Phrase:
    """A phrase of two to four digits, or words, whose every neighbouring pair is held out."""
    while True:
        words = DIGITS if rng.random() < 0.5 else WORDS
        phrase = [_any(rng, words)]
        for _ in range(rng.integers(1, 4)):
            following = [word for word in words if is_held_out_pair(phrase[-1], word)]
            if not following:
                break
            phrase.append(_any(rng, following))
        if len(set(phrase)) > 1:
            return tuple(phrase)


def _digits(rng: np.random.Generator) -> Phrase:
    return tuple(_any(rng, DIGITS) for _ in range(rng.integers(2, 8)))


def _free(rng: np.random.Generator) -> Phrase:
    return tuple(_any(rng, WORDS) for _ in range(rng.integers(2, 6)))


def _sentence(rng: np.random.Generator) -> Phrase:
    form = rng.integers(4)
    if form == 0:  # carry this yellow apple today
        return (_any(rng, DEEDS), *_thing(rng), *_maybe(rng, _MANNERS))
    if form == 1:  # this rabbit behind every table
        return (*_thing(rng), _any(rng, _LINKS), *_thing(rng))
    if form == 2:  # station five two today
        numbers = [_any(rng, DIGITS) for _ in range(rng.integers(1, 3))]
        return (_any(rng, THINGS), *numbers, *_maybe(rng, _MANNERS))
    return (_any(rng, ("please", "never", "always")), _any(rng, DEEDS), *_thing(rng))


def _thing(rng: np.random.Generator) -> Phrase:
    return (_any(rng, _OWNERS), *_maybe(rng, QUALITIES), _any(rng, THINGS))


def _maybe(rng: np.random.Generator, words: Sequence[str]) -> Phrase:
    return (_any(rng, words),) if rng.random() < 0.5 else ()


def _any(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


_PHRASES = (_digits, _free, _sentence)
