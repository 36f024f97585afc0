"""Scripts and captions that are broken, hostile or odd, and lists of seeds."""

import math
import time
from contextlib import suppress

import pytest

from dualdub_core.batch import parse_seeds, parse_table, safe_name
from dualdub_core.errors import InputError
from dualdub_core.scripts.captions import parse_json, parse_srt, parse_vtt
from dualdub_core.scripts.formats import parse_script, read_script
from dualdub_core.scripts.plan import PlannedLine, plan_script
from dualdub_core.scripts.rerolls import line_seeds, parse_rerolls
from dualdub_core.scripts.script import MAX_CHARACTERS, Script, ScriptLine
from dualdub_core.scripts.scripted import voice_of
from dualdub_core.text import TextTokenizer
from dualdub_core.types import Voice

SRT = "1\n00:00:01,000 --> 00:00:02,000\n"
TEXTS = {
    "nothing": ("", "got no text, expected at least one word"),
    "white space": (" \t\r\n\u00a0", "got no text"),
    "characters that nobody sees": ("\u200b\ufeff\u2060", "got no text"),
    "100 kB of words": ("word " * 20_000, "a line of 99999 characters, expected at most 2000; divide it by cues"),
    "100 kB without a space": ("ä" * 50_000, "a line of 50000 characters"),
    "more than a megabyte": ("x" * 1_000_001, "got 1000001 bytes, expected at most 1000000; divide it into parts"),
    "only a name": ("[Anna]", "got no lines, expected at least one word"),
    "a cue with nothing to say": ("[00:01]", "has no words before the end of the script"),
    "two cues in a row": ("[00:01] [00:02] Hi", r"the cue \[00:01\] has no words before the next time"),
    "61 seconds": ("[00:61] Hi", r"got the cue \[00:61\], expected a time such as"),
    "60 minutes": ("[1:60:00] Hi", r"got the cue \[1:60:00\]"),
    "three times in a cue": ("[00:01-00:02-00:03] Hi", "expected a time such as"),
    "half a range": ("[00:01-] Hi", r"got the cue \[00:01-\]"),
    "a range backwards": ("[00:03-00:01] Hi", "start at 3.000 s and its end at 1.000 s, expected a start before"),
    "a range of no length": ("[00:03-00:03] Hi", "start at 3.000 s and its end at 3.000 s"),
    "a cue of a thousand digits": (f"[{'9' * 1000}] Hi", "got the cue .*…, expected a time such as"),
    "a remark that begins with a digit": ("[2 knocks] Hi", "write remarks that begin with a digit without brackets"),
    "cues out of order": ("[00:02] a [00:01] b", "line 2 starts at 1.000 s, but line 1 starts at 2.000 s"),
    "cues at one time": ("[00:02] a [00:02] b", "lines must follow each other"),
    "cues that overlap": ("[00:01-00:03] a [00:02] b", "line 2 starts at 2.000 s, but line 1 ends at 3.000 s"),
    "captions without a blank line": ("1\n00:00:01 --> 00:00:02\nHi", "block 1: got .*, expected times such as"),
    "a wrong arrow": ("1\n00:00:01,000 -> 00:00:02,000\nHi", "srt: block 1: got '00:00:01,000 -> 00:00:02,000'"),
    "no arrow": ("1\n00:00:01,000\nHi", "a blank line ends a block"),
    "a caption without words": (SRT, "got no lines"),
    "a caption of marks alone": (f"{SRT}<i></i>", "got no lines"),
    "a caption that ends before it begins": (
        "1\n00:00:03,000 --> 00:00:02,000\nHi",
        "srt: block 1 ends at 2.000 s, before it starts at 3.000 s; correct its times",
    ),
    "captions that overlap": (
        f"{SRT}a\n\n2\n00:00:01,500 --> 00:00:03,000\nb",
        "line 2 starts at 1.500 s, but line 1 ends at 2.000 s",
    ),
    "a second caption without times": (f"{SRT}a\n\nHello", "srt: block 2: got 'Hello', expected times"),
    "a header alone": ("WEBVTT", "got no lines"),
    "WebVTT without times": ("WEBVTT\n\nHello", "vtt: block 1: got 'Hello', expected times such as 00:00:01.200"),
    "two voices in a cue": (
        "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Anna>Hi <v Ben>Ho",
        "vtt: block 1 holds the voices Anna, Ben; give each a cue of its own",
    ),
    "JSON cut off": ('{"lines": [{"text": "Hi"', "not a JSON script"),
    "JSON without lines": ('{"lines": []}', "got no lines"),
    "JSON lines that are words": ('{"lines": ["Hi"]}', "not a JSON script .*expected"),
    "JSON lines that are a number": ('{"lines": 7}', "not a JSON script .*expected"),
    "JSON without words": ('{"lines": [{"start": 1}]}', "not a JSON script .*no 'text'"),
    "JSON words that are a number": ('{"lines": [{"text": 7}]}', "not a JSON script .*expected"),
    "a JSON time in words": ('{"lines": [{"text": "a", "start": "1"}]}', "not a JSON script .*expected"),
    "a JSON time that is true": ('{"lines": [{"text": "a", "start": true}]}', "not a JSON script .*expected"),
    "a negative JSON time": ('{"lines": [{"text": "a", "start": -1}]}', "its start at -1.0 s, expected 0 or more"),
    "a JSON time that is no number": ('{"lines": [{"text": "a", "start": NaN}]}', "its start at nan s"),
    "a JSON time beyond floats": ('{"lines": [{"text": "a", "start": 1e999}]}', "its start at inf s"),
    "a JSON time of 400 digits": (f'{{"lines": [{{"text": "a", "start": {"9" * 400}}}]}}', "not a JSON script"),
    "a JSON time of 9000 digits": (f'{{"lines": [{{"text": "a", "start": {"9" * 9000}}}]}}', "not a JSON script"),
    "an end without a start": ('{"lines": [{"text": "a", "end": 1}]}', "has no start and its end at 1.000 s"),
    "a JSON speaker that is a list": ('{"lines": [{"text": "a", "speaker": ["b"]}]}', "not a JSON script"),
    "JSON nested 100 000 deep": ('{"lines": ' + "[" * 100_000, "not a JSON script"),
}


@pytest.mark.parametrize("case", TEXTS.values(), ids=TEXTS)
def test_what_cannot_be_a_script_is_refused(refused, case):
    text, says = case
    with refused(says):
        parse_script(text)


def test_captions_called_by_another_name_are_told_in_one_line(refused):
    with refused("vtt: got 'one', expected WEBVTT|vtt: got 'one' at the top, expected WEBVTT"):
        parse_vtt("one\ntwo\n\nthree")
    with refused("not a JSON script"):
        parse_json("[]")
    with refused("srt: block 1: got 'a\\[0'"):
        parse_srt("a[0\n\n")


# text; lines, and what the first one says
ODD = {
    "from right to left": ("[00:01] [דנה] שלום, עולם!", 1, "שלום, עולם!"),
    "Arabic with marks of direction": ("\u202bمرحبا بكم\u202c", 1, "\u202bمرحبا بكم\u202c"),  # noqa: RUF001
    "emoji": ("[00:01] 🙂👨‍👩‍👧‍👦 [00:02] 🏳️‍🌈", 2, "🙂👨‍👩‍👧‍👦"),
    "Chinese without spaces": ("你好" * 900, 1, "你好" * 900),
    "combining marks": ("e\u0301" * 9, 1, "é" * 9),
    "as long as may be": ("x" * MAX_CHARACTERS, 1, "x" * MAX_CHARACTERS),
    "Windows line ends": ("[00:01] a\r\nb\r\n", 1, "a b"),
    "old Mac line ends": (SRT.replace("\n", "\r") + "Hi\r", 1, "Hi"),
    "a mark of byte order": (f"\ufeff{SRT}Hi", 1, "Hi"),
    "brackets in brackets": ("[[00:01]] Hi", 2, "["),
    "brackets without an end": ("[00:01 Hi", 1, "[00:01 Hi"),
    "words that look like marks": ("a < b > c & <script>alert(1)</script>", 1, None),
    "words that look like a path": ("../../etc/passwd %s {0} $HOME `id`", 1, None),
    "half an emoji": ('{"lines": [{"text": "\\ud83d Hi"}]}', 1, "\ufffd Hi"),
    "an emoji in two halves": ('{"lines": [{"text": "\\ud83d\\ude42"}]}', 1, "🙂"),
    "1000 lines": ("".join(f"[{i}-{i + 0.5}] line\n" for i in range(1000)), 1000, "line"),
    "hours": ("[99:59:59.999] late", 1, "late"),
    "a character of a million digits": (
        f"WEBVTT\n\n00:01.000 --> 00:02.000\nHi &#{'9' * 9000};!",
        1,
        "Hi \ufffd;!",
    ),
}


@pytest.mark.parametrize("case", ODD.values(), ids=ODD)
def test_an_odd_script_is_read_and_can_be_spoken(case):
    text, count, first = case
    script = parse_script(text)
    assert len(script.lines) == count
    assert first is None or script.lines[0].text == first
    assert len(line_seeds(script, 7)) == count
    plan = plan_script(script)
    assert [line.end > line.start for line in plan.lines] == [True] * count
    assert all(TextTokenizer.mini().encode(line.text) for line in script.lines[:3])


SLOW = {
    "opening marks in captions": f"{SRT}{'<b ' * 60_000}",
    "opening braces in captions": SRT + "{\\" * 60_000,
    "opening marks in WebVTT": f"WEBVTT\n\n00:01.000 --> 00:02.000\n{'<' * 200_000}",
    "voices without an end": f"WEBVTT\n\n00:01.000 --> 00:02.000\n{'<v ' * 60_000}",
    "spaces after a voice": f"WEBVTT\n\n00:01.000 --> 00:02.000\n<v{' ' * 200_000}",
    "spaces in a cue": f"[1{' ' * 200_000}2] Hi",
    "opening brackets": "[" * 200_000,
    "brackets in a row": "a" + "[x]" * 60_000,
    "blank lines": SRT + "Hi" + "\n " * 100_000,
    "arrows": "-->" * 60_000,
    "digits": f"1\n{'0' * 200_000}:",
}  # fmt: skip


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_no_text_takes_long(text):
    begun = time.process_time()
    with suppress(InputError):
        parse_script(text)
    assert time.process_time() - begun < 1.5


FILES = {
    "nothing": (None, "no such file"),
    "a folder": ("folder", "is a folder, expected a file"),
    "no bytes": (b"", "got no text"),
    "a mark of byte order alone": (b"\xff\xfe", "got no text"),
    "another encoding": ("façade".encode("latin-1"), "cannot be read as UTF-8 text .*; save it as UTF-8"),
    "UTF-16 without its mark": ("Hello".encode("utf-16-le"), "has zero bytes.*save it as UTF-8"),
    "UTF-16 with half a character": (b"\xff\xfeH", "cannot be read as UTF-8"),
    "UTF-32": ("Hello".encode("utf-32"), "zero bytes"),
    "a film": (b"\0\0\0\x18ftypmp42\0\0", "zero bytes|cannot be read as UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0", "cannot be read as UTF-8"),
    "two megabytes": (b"a" * 2_000_001, "has 2000001 bytes, expected at most 1000000"),
}


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_a_file_that_is_no_script_is_refused(tmp_path, refused, case):
    content, says = case
    path = tmp_path / "a.srt"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with refused(says):
        read_script(path)


LINES = {
    "a negative start": ((-1.0, None), "its start at -1.0 s, expected 0 or more"),
    "a start that is no number": ((math.nan, None), "its start at nan s"),
    "an infinite start": ((math.inf, None), "its start at inf s"),
    "a start in words": (("1", None), "its start at 1 s, expected 0 or more"),
    "a negative end": ((0.0, -1.0), "its end at -1.0 s"),
    "an infinite end": ((0.0, math.inf), "its end at inf s"),
    "an end at the start": ((1.0, 1.0), "expected a start before the end"),
    "an end without a start": ((None, 1.0), "has no start and its end at 1.000 s"),
}


@pytest.mark.parametrize("case", LINES.values(), ids=LINES)
def test_times_that_are_none_are_refused(refused, case):
    times, says = case
    with refused(says):
        ScriptLine("Hi", *times)


FITS = {
    "a line at the clip's end": ("[00:02] a", 2.0, "line 1 starts at 2.000 s, but the clip lasts 2.000 s; correct"),
    "a line beyond the clip": ("[00:01] a [01:00] b", 2.0, "line 2 starts at 60.000 s, but the clip lasts 2.000 s"),
    "a line that ends beyond it": ("[00:01-00:03] a", 2.0, "line 1 ends at 3.000 s, but the clip lasts 2.000 s"),
    "no room after the last line": ("[00:00-00:02] a\n[]b", 2.0, "no time is left for line 2"),
    "no clip": ("[00:00] a", 0.0, "line 1 starts at 0.000 s, but the clip lasts 0.000 s"),
}


@pytest.mark.parametrize("case", FITS.values(), ids=FITS)
def test_a_script_that_does_not_fit_the_clip_is_refused(refused, case):
    text, duration, says = case
    with refused(says):
        plan_script(parse_script(text), duration)


def test_a_part_of_a_clip_in_which_nobody_speaks_is_refused(refused):
    with refused("none of its 1 lines starts between 3.0 s and 4.0 s; choose another part"):
        parse_script("[00:01] a").part(3.0, 1.0)
    with refused("got no lines"):
        Script(())


def voice_for(speaker, names):
    row = PlannedLine(number=2, text="Hi", speaker=speaker, start=0.0, end=1.0, is_cued=True, needs=0.5, at_least=0.3)
    tensor = pytest.importorskip("torch").zeros(4)
    return voice_of(row, {name: Voice(tensor, "id") for name in names})


SPEAKERS = {
    "somebody without a voice": ("Ben", ["Anna"], "line 2 is spoken by 'Ben', but the voices are Anna; correct"),
    "nobody among several": ("", ["Anna", "Ben"], "line 2 has no speaker, but the voices are Anna, Ben"),
    "a name with a space more": ("Anna ", ["Ben", "Anna"], "line 2 is spoken by 'Anna '"),
}


@pytest.mark.parametrize("case", SPEAKERS.values(), ids=SPEAKERS)
def test_a_speaker_without_a_voice_is_refused(refused, case):
    speaker, names, says = case
    with refused(says):
        voice_for(speaker, names)


LISTS = {
    "seeds in words": (parse_seeds, "one, two", "seeds: got 'one', expected numbers"),
    "a negative seed": (parse_seeds, "-3", "seeds: got '-3'"),
    "seeds backwards": (parse_seeds, "5-2", "seeds: got '5-2'"),
    "a range without an end": (parse_seeds, "5-", "seeds: got '5-'"),
    "a million seeds": (parse_seeds, "0-999999", "expected at most 10000 seeds"),
    "a seed twice": (parse_seeds, "1, 1", "got 1 twice, expected each once"),
    "a seed of 65 bits": (parse_seeds, str(2**64), "each below 2"),
    "a seed of 9000 digits": (parse_seeds, "9" * 9000, "seeds: got '9+…', expected numbers"),
    "half a seed": (parse_seeds, "1.5", "seeds: got '1.5'"),
    "new seeds in words": (parse_rerolls, "three:7", "reroll: got 'three:7', expected LINE:SEED"),
    "a line without a seed": (parse_rerolls, "3", "expected LINE:SEED, such as 3:7"),
    "a new seed of 9000 digits": (parse_rerolls, f"3:{'9' * 9000}", "expected LINE:SEED"),
    "a table without names": (parse_table, ",\n1,2", "expected a name for each column"),
    "a table with a column twice": (parse_table, "seed,seed\n1,2", "expected a name for each column"),
    "a row with more cells": (parse_table, "name\na,b", "line 2 has more cells than the header; quote cells"),
    "two rows of one name": (parse_table, "name,seed\na,1\na,2", "two items are called 'a'; tell them apart"),
    "a name that leaves the folder": (parse_table, "name,seed\n../a,1", "got the name '../a', expected one without"),
    "a name from the root": (safe_name, "/etc/passwd", "got the name '/etc/passwd'"),
    "a name of dots": (safe_name, "..", r"got the name '\.\.'"),
    "a name that Windows keeps": (safe_name, "NUL.txt", "got the name 'NUL.txt'"),
    "a name with a zero": (safe_name, "a\0b", "got the name"),
}


@pytest.mark.parametrize("case", LISTS.values(), ids=LISTS)
def test_lists_and_tables_that_are_none_are_refused(refused, case):
    read, text, says = case
    with refused(says):
        read(text)


def test_a_new_seed_for_a_line_that_is_not_there_is_refused(refused):
    with refused("got a new seed for line 9, expected 1 to 1"):
        line_seeds(parse_script("Hi"), 0, {9: 1})
    with refused("seed: got 18446744073709551616, expected a whole number from 0"):
        line_seeds(parse_script("Hi"), 0, {1: 2**64})
