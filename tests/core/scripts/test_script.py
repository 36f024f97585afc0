import math
import time

import pytest

from dualdub_core.errors import InputError
from dualdub_core.scripts.captions import to_srt
from dualdub_core.scripts.cues import has_cues, parse_cues, to_cues
from dualdub_core.scripts.formats import WRITERS, detect_format, parse_script, read_script
from dualdub_core.scripts.script import Script, ScriptLine, seconds_of, stamp

TIMED = Script(
    (
        ScriptLine("Where have you been?", 1.2, 3.0, "Anna"),
        ScriptLine("Out — 100 % 🙂 <b>bold</b> & more", 3.5, 4.25, "Ben"),
        ScriptLine("שלום, עולם", 5.0, 6.125),
        ScriptLine("[sighs] and on.", 3661.001, 3662.5, "Ärger Wang"),
    )
)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_form_reads_back_as_it_was_written(kind):
    text = WRITERS[kind](TIMED)
    assert detect_format(text) == kind
    read = parse_script(text)
    if kind == "srt":  # which has such marks of its own
        assert read.lines[1].text == "Out — 100 % 🙂 bold & more"
        read = Script((read.lines[0], TIMED.lines[1], *read.lines[2:]))
    assert read == TIMED


@pytest.mark.parametrize("kind", ["cues", "json"])
def test_open_times_and_names_survive(kind):
    script = Script((ScriptLine("one", speaker="Anna"), ScriptLine("two", 2.0), ScriptLine("three")))
    assert parse_script(WRITERS[kind](script)) == script


def test_inline_times_and_names_begin_lines_wherever_they_stand():
    script = parse_cues("[Anna] Hello\nthere. [00:01.2] Who is it?\n[00:02-00:03.5][Ben] Me. \n[] Nobody [laughs].")
    assert script.lines == (
        ScriptLine("Hello there.", speaker="Anna"),
        ScriptLine("Who is it?", 1.2, None, "Anna"),
        ScriptLine("Me.", 2.0, 3.5, "Ben"),
        ScriptLine("Nobody [laughs]."),
    )
    assert script.speakers == ("Anna", "Ben")
    assert script.text == "Hello there. Who is it? Me. Nobody [laughs]."


def test_words_alone_are_one_line_as_they_always_were():
    script = parse_script("  One\n\n two [laughs]  three\n")
    assert script.lines == (ScriptLine("One two [laughs] three"),)
    assert script.is_plain
    assert to_cues(script) == "One two [laughs] three"
    assert not has_cues("a [...] b")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:01.2", 1.2),
        ("1:02:03,500", 3723.5),
        ("75", 75.0),
        ("90:00", 5400.0),
        ("00:61", None),
        ("1:60:00", None),
        ("1.2.3", None),
        ("", None),
    ],
)
def test_times_are_read_as_captions_write_them(text, seconds):
    assert seconds_of(text) == seconds


def test_times_are_rounded_to_milliseconds_and_carried():
    assert stamp(59.9996) == "00:01:00.000"
    assert stamp(3599.9999, hours=False) == "01:00:00.000"
    assert stamp(61.5, decimal=",", hours=False) == "01:01,500"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got no text"),
        (" \n\u200b", "got no text"),
        ("[00:61.0] Hi", r"got the cue \[00:61.0\], expected a time such as"),
        ("[2 apples] Hi", "write remarks that begin with a digit without brackets"),
        ("[00:01]\n[00:02] Hi", r"the cue \[00:01\] has no words before the next time"),
        ("Hi [00:01]", "no words before the end of the script"),
        ("[00:03-00:01] Hi", "its start at 3.000 s and its end at 1.000 s"),
        ("[00:01-00:03] a [00:02] b", "line 2 starts at 2.000 s, but line 1 ends at 3.000 s"),
        ("[00:02] a [00:01] b", "line 2 starts at 1.000 s, but line 1 starts at 2.000 s"),
        ("[00:02] a [00:02] b", "line 2 starts at 2.000 s, but line 1 starts"),
        ("[Anna]", "got no lines"),
        ("word " * 20_000, "a line of 99999 characters, expected at most 2000"),
        ("[00:01] x\n" * 100_001, "got 1000010 bytes, expected at most 1000000"),
    ],
)
def test_what_cannot_be_a_script_is_refused_with_the_place(text, message):
    with pytest.raises(InputError, match=message):
        parse_script(text)


@pytest.mark.parametrize("start", [-1.0, math.nan, math.inf])
def test_times_that_are_none_are_refused(start):
    with pytest.raises(InputError, match="has its start at"):
        ScriptLine("hi", start)


def test_100_kilobytes_of_captions_are_read_in_a_moment():
    lines = tuple(ScriptLine("the quick brown fox jumps over it", float(i), i + 0.5) for i in range(1500))
    text = to_srt(Script(lines))
    assert len(text) > 100_000
    begun = time.process_time()
    assert parse_script(text).lines == lines
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_are_read_in_the_encodings_that_editors_write(tmp_path, encoding):
    path = tmp_path / "line.srt"
    path.write_text("1\r\n00:00:01,000 --> 00:00:02,000\r\nÇa va 🙂?\r\n", encoding=encoding, newline="")
    assert read_script(path).lines == (ScriptLine("Ça va 🙂?", 1.0, 2.0),)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_script(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes("façade".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_script(tmp_path / "latin.txt")


def test_a_part_of_a_script_is_on_the_parts_clock():
    script = parse_cues("[00:01-00:02] a [00:04-00:06] b [00:09] c")
    assert script.part(3.0, 2.0).lines == (ScriptLine("b", 1.0, 2.0),)
    assert script.part(9.0).lines == (ScriptLine("c", 0.0),)
    with pytest.raises(InputError, match=r"none of its 3 lines starts between 6.5 s and 8.0 s"):
        script.part(6.5, 1.5)
