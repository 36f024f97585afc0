"""Which phrases, word pairs and event layouts nothing trains on: decided by a hash of what they are.

So the answer needs no list, holds for corpora of any size and seed, and can be checked from the clips alone.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

from .config import Split

HELD_OUT_PAIRS = 0.12
"""Share of all ordered word pairs that occur in test phrases only."""

_TEST_SHARE = 0.10
_VALIDATION_SHARE = 0.05


def split_of_phrase(words: Sequence[str]) -> Split:
    """Where a phrase belongs; one with a held-out word pair belongs to the test split."""
    if held_out_pairs(words):
        return Split.TEST
    return _split("phrase", " ".join(words))


def held_out_pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """The neighbouring words of a phrase that no training phrase has in this order."""
    return [pair for pair in pairwise(words) if is_held_out_pair(*pair)]


def is_held_out_pair(first: str, second: str) -> bool:
    """Whether `first second` occurs in test phrases only."""
    return _share("pair", f"{first} {second}") < HELD_OUT_PAIRS


def split_of_layout(key: str) -> Split:
    """Where an event layout belongs: the kind of event and its times, on a grid of 0.1 s."""
    return _split("layout", key)


def layout_key(source: str, times: Sequence[float]) -> str:
    """What makes two event layouts the same, e.g. `ball 0.4 1.1 1.7`."""
    return " ".join([source, *(f"{time:.1f}" for time in times)])


def _split(what: str, key: str) -> Split:
    share = _share(what, key)
    if share < _TEST_SHARE:
        return Split.TEST
    return Split.VALIDATION if share < _TEST_SHARE + _VALIDATION_SHARE else Split.TRAIN


def _share(what: str, key: str) -> float:
    digest = hashlib.sha256(f"dualdub scenes 1: {what}: {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
