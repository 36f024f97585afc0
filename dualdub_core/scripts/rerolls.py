"""The seed of each line of a script, and new ones for single lines."""

import hashlib
from collections import Counter
from collections.abc import Mapping

from ..errors import InputError, shortened
from ..sampling import Seeds
from .script import Script

_MOST_DIGITS = 20  # of 2**64


def line_seeds(script: Script, seed: int, rerolls: Mapping[int, int] | None = None) -> tuple[int, ...]:
    """The seed of each line: the speech's plus a number made of the line's words and speaker.

    So a line keeps its seed when others are changed, inserted or moved, and take b of a batch is that of seed + b.

    Args:
        script: the lines; the second of two equal ones gets another number.
        seed: of the speech.
        rerolls: speech seeds for single lines, by number from 1.

    Raises:
        InputError: a re-roll of a line that is not there.
    """
    rerolls = dict(rerolls or {})
    unknown = sorted(set(rerolls) - set(range(1, len(script.lines) + 1)))
    if unknown:
        raise InputError(f"script: got a new seed for line {unknown[0]}, expected 1 to {len(script.lines)}")
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for number, line in enumerate(script.lines, start=1):
        key = (line.text, line.speaker.casefold())
        digest = hashlib.sha256("\x1f".join([*key, str(seen[key])]).encode()).digest()
        seen[key] += 1
        own = Seeds(speech=rerolls.get(number, seed)).speech
        found.append((own + int.from_bytes(digest[:8], "big")) % 2**64)
    return tuple(found)


def parse_rerolls(text: str) -> dict[int, int]:
    """Seeds of single lines by number from `3:7, 5:12`; empty text is none.

    Raises:
        InputError: something else stands there.
    """
    found = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        number, _, seed = entry.partition(":")
        if not all(part.strip().isdecimal() and len(part.strip()) <= _MOST_DIGITS for part in (number, seed)):
            raise InputError(f"reroll: got '{shortened(entry, 40)}', expected LINE:SEED, such as 3:7")
        found[int(number)] = int(seed)
    return found
