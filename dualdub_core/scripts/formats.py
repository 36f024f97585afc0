"""A script in whatever form it comes: which one it is found out from the text itself."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..files import problem_of
from .captions import parse_json, parse_srt, parse_vtt, to_json, to_srt, to_vtt
from .cues import has_cues, parse_cues, to_cues
from .script import Script, line_of

MAX_BYTES = 1_000_000
"""Of a script; a feature film's captions have a tenth of it."""

SCRIPT_SUFFIXES = (".txt", ".srt", ".vtt", ".json")
ScriptFormat = Literal["plain", "cues", "srt", "vtt", "json"]

# A number and times under it are meant as SubRip even where the arrow is wrong, so that the mistake is told.
_SRT_START = re.compile(r"\s*\d+[ \t]*\n[ \t]*\d+:\d\d")
_READERS: dict[ScriptFormat, Callable[[str], Script]] = {
    "cues": parse_cues,
    "srt": parse_srt,
    "vtt": parse_vtt,
    "json": parse_json,
}
WRITERS: dict[str, Callable[[Script], str]] = {"cues": to_cues, "srt": to_srt, "vtt": to_vtt, "json": to_json}
"""What writes each form."""


def detect_format(text: str) -> ScriptFormat:
    """Which form a text has; "plain" where nothing but words is found."""
    text = text.lstrip("\ufeff \t\r\n").replace("\r\n", "\n")
    if text.startswith("WEBVTT"):
        return "vtt"
    if text.startswith("{") and '"lines"' in text:
        return "json"
    if "-->" in text.split("[", maxsplit=1)[0] or _SRT_START.match(text):
        return "srt"
    return "cues" if has_cues(text) else "plain"


def parse_script(text: str) -> Script:
    """A script of any form.

    Raises:
        InputError: nothing to say, too much of it, or broken captions.
    """
    size = len(text.encode("utf-8", errors="replace"))
    if size > MAX_BYTES:
        raise InputError(f"script: got {size} bytes, expected at most {MAX_BYTES}; divide it into parts")
    kind = detect_format(text)
    if kind == "plain":
        return Script((line_of(text, None, None, ""),))
    return _READERS[kind](text)


def read_script(path: Path | str) -> Script:
    """A script from a file in UTF-8, or UTF-16 with its mark.

    Raises:
        InputError: no such file, another encoding, or what `parse_script` refuses.
    """
    return parse_script(read_text(path))


def read_text(path: Path | str) -> str:
    """The text of a script file.

    Raises:
        InputError: no such file, a huge one, or another encoding.
    """
    path = Path(path)
    if problem := problem_of(path):
        raise InputError(f"script: {path}: {problem}")
    size = path.stat().st_size
    if size > 2 * MAX_BYTES:
        raise InputError(f"script: {path.name}: has {size} bytes, expected at most {MAX_BYTES}; divide it")
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"script: {path.name}: cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
    if "\0" in text:
        raise InputError(f"script: {path.name}: cannot be read as UTF-8 text (it has zero bytes); save it as UTF-8")
    return text
