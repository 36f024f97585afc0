"""Which words of a script a small model never heard: it will babble there, and should say so before it does."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_WORD = re.compile("[^\\W_]+(?:['\u2019][^\\W_]+)*")
_SHOWN = 8


def unknown_words(texts: Iterable[str], info: Mapping[str, Any]) -> tuple[str, ...]:
    """Words that a model was not trained to say, each once, in order.

    Args:
        texts: the script, or its lines.
        info: of the model's checkpoint; one that does not list its `vocabulary` knows all words.
    """
    known = info.get("vocabulary")
    if not isinstance(known, list):
        return ()
    said = (match.group().casefold() for text in texts for match in _WORD.finditer(text))
    return tuple(dict.fromkeys(word for word in said if word not in known))


def vocabulary_warning(texts: Iterable[str], info: Mapping[str, Any]) -> str:
    """A line for people about unknown words; empty where there are none."""
    unknown = unknown_words(texts, info)
    if not unknown:
        return ""
    known = info["vocabulary"]
    return (
        f"{info.get('name', 'the model')} was taught {len(known)} words and will babble at others: {_some(unknown)}; "
        f"it can say {_some(known)}"
    )


def _some(words: Iterable[str]) -> str:
    listed = list(words)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
