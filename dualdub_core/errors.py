"""The errors a user can cause: one line each, saying what, what came, what was expected, what to do."""

import re
from collections.abc import Sequence

# Characters that break or turn a line, which a name or a text from a file can hold.
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


class DualDubError(Exception):
    """Base of every error this package raises on purpose; its message is one line, whatever it quotes."""

    def __str__(self) -> str:
        return _BREAKS.sub(" ", super().__str__())


class ConfigError(DualDubError, ValueError):
    """A configuration contradicts itself or has unknown keys."""


class CheckpointError(DualDubError, ValueError):
    """A weights file is missing, damaged, hostile or of another kind."""


class InputError(DualDubError, ValueError):
    """A video, script, voice, recording or setting cannot be used as given."""


def shortened(error: object, most: int = 160) -> str:
    """What a library said, for a message of ours: its first line, and no more of that than people read."""
    line = " ".join(str(error).strip().split("\n", maxsplit=1)[0].split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def some_of(names: Sequence[str]) -> str:
    """The first of many names, for messages."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return shortened(", ".join(names[:3]), 250) + more
