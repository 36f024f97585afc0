"""The quality gate of the command line."""

import json

import pytest
import torch
from PIL import Image

from dualdub_core.artifacts import load_codes
from dualdub_core.cli import main


def generate(video, out, *more) -> int:
    words = ["--decoder", "codec", "--script", "one two", "--quiet", "--seed", "4"]
    return main(["generate", str(video), "--out", str(out), *words, *map(str, more)])


def test_takes_are_made_until_the_limit_and_the_best_is_written(make_video, tmp_path, capfd):
    clip, out = make_video(num_frames=8), tmp_path / "out"
    assert generate(clip, out, "--takes", 3, "--require", "background_level=-0.5") == 0
    told = json.loads((out / "gate.json").read_text())["gate"]
    assert "none of 3 passed" in capfd.readouterr().err
    assert [take["sampled"] for take in told["takes"][1:]] == [["background"]] * 2
    assert [take["background_seed"] for take in told["takes"]] == [4, 5, 6]
    assert Image.open(out / "gate.png").width > 500
    report = json.loads((out / "report.json").read_text())
    assert report["files"]["gate"] == "gate.json"
    assert report["seeds"] == {"speech": 4, "background": 3 + told["take"]}
    assert generate(clip, tmp_path / "plain") == 0
    plain, best = (load_codes(folder / "codes.safetensors") for folder in (tmp_path / "plain", out))
    assert torch.equal(plain.speech, best.speech)
    assert not (tmp_path / "plain" / "gate.json").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--takes", 2], "takes: got 2, but nothing that a take must reach"),
        (["--require", "beauty=1"], "require: got 'beauty', expected one of sync, "),
        (["--require", "leak"], "require: got 'leak', expected NAME=LIMIT"),
        (["--require", "wrong_words=0.1"], "there is no recogniser (word_judge)"),
        (["--takes", 0, "--require", "leak=1"], "got a limit of 0 takes"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(make_video, tmp_path, capfd, more, message):
    assert generate(make_video(num_frames=4), tmp_path / "out", *more) == 1
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("dualdub: ")]
    assert len(told) == 1
    assert message in told[0]
