"""Scripts as captions: SubRip (SRT), WebVTT and our JSON, read strictly and written so that they read back the same.

Sources: SubRip as Matroska documents it (https://www.matroska.org/technical/subtitles.html), and WebVTT
(https://www.w3.org/TR/webvtt1/). Names of speakers are `[Anna]` at the start of an SRT cue and `<v Anna>` in WebVTT.
"""

import html
import json
import re
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

from ..errors import InputError, shortened
from .script import Script, ScriptLine, line_of, numbered, seconds_of, stamp
from .words import WordTime, split_words

_ARROW = "-->"
_HOURS = r"(?:\d{1,3}:)?\d{1,2}:\d{2}[.,]\d{1,3}"
_TIMES = re.compile(rf"\s*({_HOURS})\s*{_ARROW}\s*({_HOURS})(?:\s.*)?", re.ASCII)
# Marks end where the next begins: else a row of opening brackets would take time with the square of its length.
_SRT_MARKS = re.compile(r"</?(?:b|i|u|s|font)\b[^<>]*>|\{\\[^{}]*\}", re.IGNORECASE)
_NAME = re.compile(r"\[([^\W\d_][^\[\]\n]{0,39}|)\]\s*")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s([^<>]+)>")
_VTT_MARKS = re.compile(r"<[^<>]*>")
_LONG_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{8,}")  # no character has so many digits
_VTT_ASIDES = ("NOTE", "STYLE", "REGION")


def parse_srt(text: str) -> Script:
    """A SubRip file.

    Raises:
        InputError: a block without times, times out of order, or no words at all.
    """
    lines = []
    for number, start, end, rows in _blocks(text, "srt"):
        words = _SRT_MARKS.sub("", " ".join(rows)).strip()
        named = _NAME.match(words)
        speaker, words = (named[1], words[named.end() :]) if named else ("", words)
        if words:  # a cue may only describe a sound, as "[door]" does
            lines.append(_line(words, start, end, speaker, f"srt: block {number}"))
    return Script(tuple(lines))


def parse_vtt(text: str) -> Script:
    """A WebVTT file; settings, styles and notes are left out.

    Raises:
        InputError: no header, a block without times, two voices in one cue, times out of order, or no words at all.
    """
    header, _, body = text.replace("\r\n", "\n").lstrip("\ufeff").partition("\n\n")
    if not header.startswith("WEBVTT"):
        raise InputError(f"vtt: got '{shortened(header, 30)}' at the top, expected WEBVTT")
    lines = []
    for number, start, end, rows in _blocks(body, "vtt"):
        raw = " ".join(rows)
        raw = _LONG_REFERENCE.sub("\ufffd", raw)
        voices = list(dict.fromkeys(name.strip() for name in _VOICE.findall(raw)))
        if len(voices) > 1:
            told = shortened(", ".join(voices), 80)
            raise InputError(f"vtt: block {number} holds the voices {told}; give each a cue of its own")
        words = html.unescape(_VTT_MARKS.sub("", raw)).strip()
        if words:
            lines.append(_line(words, start, end, html.unescape(voices[0]) if voices else "", f"vtt: block {number}"))
    return Script(tuple(lines))


def parse_json(text: str) -> Script:
    """What `to_json` writes; further keys of a line are not read.

    Raises:
        InputError: not JSON, or not such lines.
    """
    try:
        entries = json.loads(text)["lines"]
        lines = [
            line_of(entry["text"], _number(entry.get("start")), _number(entry.get("end")), entry.get("speaker") or "")
            for entry in entries
        ]
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"script: not a JSON script ({_told(error)}); expected "
            '{"lines": [{"text": ..., "start": ..., "end": ..., "speaker": ...}]}'
        ) from error
    return Script(tuple(lines))


def to_srt(script: Script) -> str:
    """A SubRip file.

    Raises:
        InputError: a line has no start or no end.
    """
    cues = []
    for number, line, start, end in _timed(script):
        name = f"[{line.speaker}] " if line.speaker or line.text.startswith("[") else ""
        times = f"{stamp(start, decimal=',')} {_ARROW} {stamp(end, decimal=',')}"
        cues.append(f"{number}\n{times}\n{name}{line.text}\n")
    return "\n".join(cues)


def to_vtt(script: Script, words: Sequence[Sequence[WordTime]] = ()) -> str:
    """A WebVTT file.

    Args:
        script: the lines.
        words: of each line, to have a time tag before each that begins within its cue, as in karaoke; none without.

    Raises:
        InputError: a line has no start or no end.
    """
    cues = ["WEBVTT\n"]
    for (number, line, start, end), tagged in zip(_timed(script), words or repeat(()), strict=False):
        name = f"<v {html.escape(line.speaker, quote=False)}>" if line.speaker else ""
        text = _tagged(line, tagged, start, end) if tagged else html.escape(line.text, quote=False)
        cues.append(f"{number}\n{stamp(start)} {_ARROW} {stamp(end)}\n{name}{text}\n")
    return "\n".join(cues)


def _tagged(line: ScriptLine, words: Sequence[WordTime], start: float, end: float) -> str:
    """A line with a time tag before each word but the first; tags must grow and lie within the cue."""
    text, latest = "", stamp(start)
    for piece, word in zip(split_words(line.text), words, strict=True):
        tag = stamp(word.start)
        if latest < tag < stamp(end):
            text, latest = f"{text}<{tag}>", tag
        text += html.escape(piece, quote=False)
    return text


def to_json(script: Script) -> str:
    """JSON with the keys text, start, end, speaker for each line; open times are null."""
    lines = [{"text": e.text, "start": e.start, "end": e.end, "speaker": e.speaker} for e in script.lines]
    return json.dumps({"lines": lines}, indent=2, ensure_ascii=False) + "\n"


def _blocks(text: str, kind: str) -> Iterator[tuple[int, float, float, list[str]]]:
    """Number, start, end and rows of words of each cue."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip("\ufeff \n\t")
    number = 0
    for block in re.split(r"\n[ \t]*(?:\n[ \t]*)+", text):
        rows = block.split("\n")
        if not block.strip() or (kind == "vtt" and rows[0].split(" ")[0] in _VTT_ASIDES):
            continue
        number += 1
        found = _TIMES.fullmatch(rows[0])
        if found is None and len(rows) > 1:  # the first row is the cue's number or name
            rows = rows[1:]
            found = _TIMES.fullmatch(rows[0])
        times = (None, None) if found is None else (seconds_of(found[1]), seconds_of(found[2]))
        if times[0] is None or times[1] is None:
            example = "00:00:01,200 --> 00:00:03,000" if kind == "srt" else "00:00:01.200 --> 00:00:03.000"
            raise InputError(
                f"{kind}: block {number}: got '{rows[0].strip()[:40]}', expected times such as {example}; "
                "a blank line ends a block"
            )
        yield number, times[0], times[1], rows[1:]


def _line(words: str, start: float, end: float, speaker: str, what: str) -> ScriptLine:
    if end <= start:
        raise InputError(f"{what} ends at {end:.3f} s, before it starts at {start:.3f} s; correct its times")
    return line_of(words, start, end, speaker)


def _timed(script: Script) -> Iterator[tuple[int, ScriptLine, float, float]]:
    for number, line in numbered(script.lines):
        if line.start is None or line.end is None:
            raise InputError(
                f"captions: line {number} ('{line.shown}') has no {'start' if line.start is None else 'end'}; "
                "write the planned or the measured times"
            )
        yield number, line, line.start, line.end


def _told(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error}"
    return shortened(error, 80) if isinstance(error, ValueError) else "something else where lines or words belong"


def _number(value: Any) -> float | None:  # noqa: ANN401
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"got the time {value!r}")
    return float(value)
