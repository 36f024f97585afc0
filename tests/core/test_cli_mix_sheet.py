import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from dualdub_core.cli import main


@pytest.fixture
def run(tmp_path, make_video, capfd):
    """Runs `dualdub generate` on a second of video; gives exit code, output folder, report and what was said."""
    voice = tmp_path / "voice.wav"
    soundfile.write(voice, 0.1 * np.random.default_rng(0).standard_normal(3 * 24_000), 24_000)

    def generate(*arguments):
        out = tmp_path / "out"
        words = [str(make_video()), "--voice", str(voice), "--out", str(out), "--decoder", "codec", "--quiet"]
        code = main(["generate", *words, *map(str, arguments)])
        report = json.loads((out / "report.json").read_text()) if code == 0 else {}
        return SimpleNamespace(code=code, out=out, report=report, said=capfd.readouterr())

    return generate


def test_a_delivery_is_reached_in_stereo_and_reported(run):
    made = run("--script", "one", "--delivery", "podcast", "--stereo", "--duck", 6)
    assert made.code == 0, made.said.err
    mix = made.report["mix"]
    assert mix["lufs"]["mix"] == pytest.approx(-16, abs=0.1) or "note: mix: loudness" in made.said.err
    assert mix["true_peak_db"]["mix"] <= -1
    assert soundfile.info(made.out / "mix.wav").channels == 2
    assert "sheet" not in made.report["files"]


def test_a_sheet_is_drawn_into_the_output_folder(run):
    made = run("--script", "[00:00.2-00:00.8] one", "--sheet", "--captions", "words")
    assert made.code == 0, made.said.err
    assert made.report["files"]["sheet"] == "sheet.png"
    assert str(made.out / "sheet.png") in made.said.out
    assert Image.open(made.out / "sheet.png").width == 1600
    assert made.report["mix"]["spoken_from"] == "script"


def test_two_wishes_for_the_loudness_are_refused(run):
    made = run("--script", "one", "--delivery", "r128", "--lufs", -20)
    assert made.code == 1
    assert "mix: got --lufs and --delivery, expected one of them" in made.said.err
