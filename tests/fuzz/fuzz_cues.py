"""Coverage-guided fuzzing of what reads scripts: `python tests/fuzz/fuzz_cues.py -max_total_time=60 [CORPUS]`.

Any text is a script, or an InputError in one line; a script is written and read again as what it is. Options are
libFuzzer's. Needs atheris, which has wheels for Linux and macOS: pip install atheris.
"""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
if importlib.util.find_spec("atheris") is None:
    print("skipped: atheris is not installed; pip install atheris (it has no wheel for Windows)")
    sys.exit(0)

import atheris

with atheris.instrument_imports(include=["dualdub_core"]):
    from dualdub_core import batch
    from dualdub_core.errors import InputError
    from dualdub_core.scripts import captions, cues, rerolls
    from dualdub_core.scripts import formats as script_formats

SEEDS = (
    "[00:01.2] [Anna] Hello. [00:03-00:04.5] [Ben] Hi!",
    "1\n00:00:01,000 --> 00:00:02,000\n[Anna] <i>Hi</i>\n\n2\n00:00:03,000 --> 00:00:04,000\nHo\n",
    "WEBVTT\n\nNOTE x\n\n00:01.000 --> 00:02.000 align:start\n<v.loud Anna>Hi &amp; ho\n",
    '{"lines": [{"text": "Hi", "start": 1.5, "end": 2, "speaker": "Anna"}]}',
    "name;seed\na;1\n",
    "1, 5, 9-12",
    "3:7, 5:12",
)


def refused(read, text):
    """What reading gives, or None where it is refused as it should be."""
    try:
        return read(text)
    except InputError as error:
        message = str(error)
        assert len(message.splitlines()) == 1, repr(message)
        assert len(message) < 600, len(message)
        return None


def one_input(data: bytes) -> None:
    text = data.decode("utf-8", errors="surrogateescape" if data[:1] == b"\xed" else "replace")
    found = refused(script_formats.parse_script, text)
    if found is not None:
        again = refused(captions.parse_json, captions.to_json(found))
        assert again == found, (found, again)
        refused(script_formats.parse_script, cues.to_cues(found))
        rerolls.line_seeds(found, 0)
    for read in (captions.parse_srt, captions.parse_vtt, captions.parse_json, cues.parse_cues):
        refused(read, text)
    refused(batch.parse_table, text)
    refused(batch.parse_seeds, text)
    refused(rerolls.parse_rerolls, text)


def with_seeds(arguments: list[str]) -> list[str]:
    """The command line, with a folder of good scripts to begin with where none is given."""
    if any(not argument.startswith("-") for argument in arguments[1:]):
        return arguments
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="fuzz_cues_"))
    for number, seed in enumerate(SEEDS):
        (folder / str(number)).write_text(seed, encoding="utf-8")
    return [*arguments, str(folder)]


if __name__ == "__main__":
    atheris.Setup(with_seeds(sys.argv), one_input)
    atheris.Fuzz()
