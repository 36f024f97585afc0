import pytest

from dualdub_core.errors import InputError
from dualdub_core.scripts.captions import parse_json, parse_srt, parse_vtt, to_srt, to_vtt
from dualdub_core.scripts.formats import detect_format, parse_script
from dualdub_core.scripts.script import Script, ScriptLine

SRT = """\ufeff1
00:00:01,200 --> 00:00:03,000 X1:10
{\\an8}<i>Hello</i>
there.

2
00:00:04.000 --> 00:00:05.5
[door]


3
00:00:06,000-->00:00:07,000
[Ben] Come in!
"""
VTT = """WEBVTT - made by hand

STYLE
::cue { color: red }

NOTE 00:00:01.000 --> none

intro
00:01.200 --> 00:03.000 align:start
<v.loud Anna Lee>Rock <00:00:02.000>&amp; <b>roll</b>

01:00:06.000 --> 01:00:07.000
5 &lt; 6&lrm;
"""


def test_srt_of_other_makers_is_read():
    assert parse_srt(SRT).lines == (
        ScriptLine("Hello there.", 1.2, 3.0),
        ScriptLine("Come in!", 6.0, 7.0, "Ben"),
    )


def test_vtt_of_other_makers_is_read():
    assert parse_vtt(VTT).lines == (
        ScriptLine("Rock & roll", 1.2, 3.0, "Anna Lee"),
        ScriptLine("5 < 6\u200e", 3606.0, 3607.0),
    )


def test_what_is_written_is_what_players_expect():
    script = Script((ScriptLine("A & B", 0.0, 1.5, "Anna"), ScriptLine("C", 3600.0, 3601.0)))
    assert to_srt(script) == ("1\n00:00:00,000 --> 00:00:01,500\n[Anna] A & B\n\n2\n01:00:00,000 --> 01:00:01,000\nC\n")
    assert to_vtt(script) == (
        "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.500\n<v Anna>A &amp; B\n\n2\n01:00:00.000 --> 01:00:01.000\nC\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n00:00:01,000 -> 00:00:02,000\nHi", "srt: block 1: got '00:00:01,000 -> 00:00:02,000', expected times"),
        ("1\n00:00:01,000 --> 00:00:02,000\nHi\n\nmore", "srt: block 2: got 'more'.*a blank line ends a block"),
        ("1\n00:00:01,000 --> 00:61:02,000\nHi", "srt: block 1: got"),
        ("1\n00:00:03,000 --> 00:00:02,000\nHi", "srt: block 1 ends at 2.000 s, before it starts at 3.000 s"),
        ("1\n00:00:01,000 --> 00:00:02,000\n\n", "got no lines"),
        ("WEBVTT\n\n1\nHi", "vtt: block 1: got 'Hi'"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\n<v A>Hi <v B>you", "vtt: block 1 holds the voices A, B"),
        ("WEBVTT\n", "got no lines"),
        ('{"lines": [{"start": 1}]}', "not a JSON script"),
        ('{"lines": [{"text": "a", "start": "1"}]}', "not a JSON script"),
        ('{"lines": ', "not a JSON script"),
    ],
)
def test_broken_captions_are_refused_with_the_block(text, message):
    with pytest.raises(InputError, match=message):
        parse_script(text)


def test_captions_need_times():
    with pytest.raises(InputError, match=r"captions: line 2 \('b'\) has no end; write the planned or the measured"):
        to_srt(Script((ScriptLine("a", 0.0, 1.0), ScriptLine("b", 2.0))))


def test_json_may_hold_more_than_is_read():
    assert parse_json('{"lines": [{"text": "a", "start": 1, "words": []}], "x": 0}').lines == (ScriptLine("a", 1.0),)


def test_text_about_arrows_in_cues_is_no_subrip():
    assert detect_format("[00:01 --> 00:02] go") == "cues"
    assert parse_script("[00:01 --> 00:02] go").lines == (ScriptLine("go", 1.0, 2.0),)
