"""Scripts with times and names between the words: `[00:01.2] [Anna] Hello. [00:03-00:04.5] [Ben] Hi!`.

A time, or a range of two, begins a line wherever it stands. A name in brackets at the start of a line of text, or
right after a time, says who speaks from there on, until the next name; `[]` is nobody in particular again.
"""

import re
from dataclasses import dataclass, field

from ..errors import InputError, shortened
from .script import Script, ScriptLine, line_of, seconds_of, stamp

_BRACKETS = re.compile(r"\[([^\[\]\n]*)\]")
_RANGE = re.compile("-->|-|–")  # noqa: RUF001
_NAME = re.compile(r"[^\W\d_][^\[\]\n]{0,39}|")


def has_cues(text: str) -> bool:
    """Whether there is any time or name in brackets."""
    return any(
        _is_time(found[1]) or (found.start() == 0 and _NAME.fullmatch(found[1].strip()))
        for line in text.splitlines()
        for found in _BRACKETS.finditer(line.lstrip())
    )


def parse_cues(text: str) -> Script:
    """A script of such text.

    Raises:
        InputError: a time that is none, a time without words, or lines that overlap.
    """
    reader = _Reader()
    for row in text.splitlines():
        reader.begin_row()
        end = 0
        for found in _BRACKETS.finditer(row):
            reader.say(row[end : found.start()])
            reader.bracket(found[1].strip(), found[0])
            end = found.end()
        reader.say(row[end:])
    reader.finish(at_end=True)
    return Script(tuple(reader.lines))


def to_cues(script: Script) -> str:
    """The same script as such text, one row a line."""
    if script.is_plain:
        return script.lines[0].text
    needs_name = bool(script.speakers) or any(line.start is None for line in script.lines)
    rows = []
    for line in script.lines:
        name = f"[{line.speaker}] " if needs_name or line.text.startswith("[") else ""
        rows.append(f"{_cue(line)}{name}{line.text}")
    return "\n".join(rows) + "\n"


@dataclass
class _Reader:
    """The line being read, and those that are complete."""

    lines: list[ScriptLine] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    times: tuple[float, float | None] | None = None
    cue: str = ""
    speaker: str = ""
    is_head: bool = True

    def begin_row(self) -> None:
        self.is_head = True
        if self.words:
            self.words.append(" ")

    def say(self, words: str) -> None:
        if words.strip():
            self.is_head = False
        if words.strip() or self.words:
            self.words.append(words)

    def bracket(self, content: str, raw: str) -> None:
        if _is_time(content):
            self.finish()
            self.times, self.cue, self.is_head = _times(content, raw), raw, True
        elif self.is_head and _NAME.fullmatch(content):
            # A name after a time belongs to that time's line, any other begins a line.
            if self.words:
                self.finish()
            self.speaker, self.is_head = content, False
        else:
            self.say(raw)

    def finish(self, *, at_end: bool = False) -> None:
        text = "".join(self.words)
        if text.strip():
            start, end = self.times or (None, None)
            self.lines.append(line_of(text, start, end, self.speaker))
        elif self.times is not None:
            after = "the end of the script" if at_end else "the next time"
            raise InputError(
                f"script: the cue {shortened(self.cue, 40)} has no words before {after}; write what is said there"
            )
        self.words, self.times, self.cue = [], None, ""


def _is_time(content: str) -> bool:
    return content[:1].isdigit()


def _times(content: str, raw: str) -> tuple[float, float | None]:
    parts = [seconds_of(part) for part in _RANGE.split(content)]
    if len(parts) > 2 or parts[0] is None or parts[-1] is None:
        raise InputError(
            f"script: got the cue {shortened(raw, 40)}, expected a time such as [00:01.2] or a range such as "
            "[00:01.2-00:03.0]; write remarks that begin with a digit without brackets"
        )
    return parts[0], parts[1] if len(parts) == 2 else None


def _cue(line: ScriptLine) -> str:
    if line.start is None:
        return ""
    until = "" if line.end is None else f"-{stamp(line.end, hours=False)}"
    return f"[{stamp(line.start, hours=False)}{until}] "
