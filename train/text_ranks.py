"""Make the mini model's text ranks: byte-pair merges of `text_corpus.txt`, the most frequent pair first.

The words that the mini corpus says count as frequent ones: each becomes a single id, which is what a small model
learns to read soonest.

Run `python -m train.text_ranks`; the same corpus gives the same file on every machine.
"""

import argparse
import base64
from collections import Counter
from itertools import pairwise
from pathlib import Path

import regex  # type: ignore[import-untyped]

from dualdub_core.files import replacing
from dualdub_core.text import MINI_PATTERN, MINI_RANKS, normalise

from .scenes.words import VOCABULARY

CORPUS = Path(__file__).parent / "text_corpus.txt"
NUM_RANKS = 1023
"""With the end of text, an embedding of 1024 rows."""

_SAID_AS_OFTEN = 20

Word = tuple[bytes, ...]


def main() -> None:
    """Read the corpus, write the ranks."""
    parser = argparse.ArgumentParser(description="Make the mini model's text ranks.")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="a text file, one sentence a line")
    parser.add_argument("--target", type=Path, default=MINI_RANKS, help="the ranks file to write")
    arguments = parser.parse_args()
    write_ranks(arguments.target, learn_ranks(read_lines(arguments.corpus), NUM_RANKS))


def read_lines(corpus: Path) -> list[str]:
    """The sentences of a text file, and the words of the mini corpus as often as frequent ones."""
    return [*corpus.read_text(encoding="utf-8").splitlines(), *[" ".join(VOCABULARY)] * _SAID_AS_OFTEN]


def learn_ranks(lines: list[str], num_ranks: int) -> list[bytes]:
    """The byte strings of the vocabulary by rank: all single bytes, then merges.

    Args:
        lines: sentences; empty ones are skipped.
        num_ranks: at least 256; fewer come back if no pair occurs twice any more.
    """
    words = Counter(
        tuple(bytes([value]) for value in piece.encode()) for line in lines if line.strip() for piece in _pieces(line)
    )
    ranks = [bytes([value]) for value in range(256)]
    while len(ranks) < num_ranks:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        # Among equally frequent pairs the alphabet decides, so that a result can be repeated.
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        ranks.append(best[0] + best[1])
        words = Counter({_merged(word, best): count for word, count in words.items()})
    return ranks


def write_ranks(path: Path, ranks: list[bytes]) -> None:
    """Write lines of base64 bytes and a rank, as tiktoken reads them."""
    with replacing(path) as temporary:
        lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(ranks)]
        temporary.write_text("".join(lines), encoding="ascii", newline="\n")


def _pieces(line: str) -> list[str]:
    # The tokenizer puts a space before a script, too.
    return regex.findall(MINI_PATTERN, f" {normalise(line)}")  # type: ignore[no-any-return]


def _merged(word: Word, pair: tuple[bytes, bytes]) -> Word:
    result: list[bytes] = []
    for symbol in word:
        if result and (result[-1], symbol) == pair:
            result[-1] += symbol
        else:
            result.append(symbol)
    return tuple(result)


if __name__ == "__main__":
    main()
