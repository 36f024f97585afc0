"""How long words take to say, estimated from the words alone.

Syllables are counted, not words or letters, since languages differ least in them. The paces are the slowest and the
fastest language's mean of read speech in Pellegrino, Coupe and Marsico, "Across-language perspective on speech
information rate", Language 87 (2011): Mandarin 5.18, Japanese 7.84 syllables a second (English 6.19). What fits at
the slow pace fits in any language; what does not fit at the fast one must be shortened.
"""

import re
import unicodedata

COMFORTABLE, HURRIED = 5.18, 7.84
"""Syllables a second."""

_WORD = re.compile(r"[^\W_]+")
_VOWELS = re.compile(r"[aeiouyæœøıαεηιουωаеиоуыэюяєії]+")  # noqa: RUF001
# A comma is a short breath and the end of a sentence a long one; the last of all costs no time.
_BREATHS = ((re.compile(r"[,;:،、；：](?=.*\w)"), 0.15), (re.compile(r"[.!?…。！？؟]+(?=.*\w)"), 0.35))  # noqa: RUF001
_LEAST_SECONDS = 0.2
_PER_DIGIT = 1.5
# Alphabets without letters for all vowels, and those whose letters are syllables with a vowel of their own.
_PER_OTHER_LETTER = 0.6
_SYLLABIC = ((0x3041, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


def syllables(text: str) -> float:
    """About how many syllables a text has; groups of vowels in Latin, Greek and Cyrillic, a sign each in CJK."""
    return sum(_of_word(word) for word in _WORD.findall(text))


def speaking_seconds(text: str, pace: float = COMFORTABLE) -> float:
    """About how long it takes to say a text, with its breaths, in seconds."""
    breaths = sum(seconds * len(sign.findall(text)) for sign, seconds in _BREATHS)
    return max(_LEAST_SECONDS, syllables(text) / pace + breaths * COMFORTABLE / max(pace, COMFORTABLE))


def _of_word(word: str) -> float:
    plain = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if not unicodedata.combining(c))
    plain = unicodedata.normalize("NFC", plain)  # Hangul falls apart in NFD
    count = float(len(_VOWELS.findall(plain)))
    for letter in plain:
        if letter.isdigit():
            count += _PER_DIGIT
        elif any(first <= ord(letter) <= last for first, last in _SYLLABIC):
            count += 1
        elif unicodedata.category(letter) == "Lo":
            count += _PER_OTHER_LETTER
    return max(1.0, count)
