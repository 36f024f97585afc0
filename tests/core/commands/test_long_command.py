import argparse
import json

import pytest

from dualdub_core.artifacts import load_codes
from dualdub_core.commands.long import add_long
from dualdub_core.errors import ConfigError, InputError
from dualdub_core.provenance.stamps import read_provenance

UNCUT = ("--at-cuts", "ignore")  # the video's pictures are all unlike each other


def run(video, out, *more) -> None:
    parser = argparse.ArgumentParser()
    add_long(parser.add_subparsers())
    options = parser.parse_args(["long", str(video), "-o", str(out), "-q", "--decoder", "codec", *map(str, more)])
    options.run(options)


def test_a_plan_is_written_without_weights(make_video, tmp_path, capsys):
    run(make_video(num_frames=80), tmp_path / "out", "--plan", "--window", "1", "--context", "0.5", *UNCUT)
    assert "4 windows in 3.200 s" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"plan.json", "plan.png"}
    assert json.loads((tmp_path / "out/plan.json").read_text())["windows"][1]["context"] == 20


def test_a_second_run_writes_only_what_a_changed_line_concerns(make_video, tmp_path, capsys):
    video, out = make_video(num_frames=40), tmp_path / "out"
    windows = ("--window", "1", "--context", "0.2", *UNCUT, "--script")
    run(video, out, *windows, "[00:00.1-00:00.5] one [00:01-00:01.5] two")
    run(video, out, *windows, "[00:00.1-00:00.5] one [00:01-00:01.5] ten")
    assert "2 windows, written anew: 2" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert [window["is_kept"] for window in report["windows"]] == [True, False]
    assert [seam["time"] for seam in report["seams"]["mix"]] == [0.8]
    codes = load_codes(out / "codes.safetensors")
    assert codes.num_frames == 64
    assert codes.made_by == read_provenance(out / "mix.wav") == read_provenance(out / "clip.mp4")
    assert codes.made_by.settings["windows"]["longest"] == 1.0


def test_what_is_wrong_is_told_before_any_work(make_video, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path / "none.mp4", tmp_path / "out")
    with pytest.raises(InputError, match="the video lies there and would be replaced"):
        run(make_video(), tmp_path)
    with pytest.raises(ConfigError, match="half the longest window"):
        run(make_video(), tmp_path / "out", "--window", "2")
    assert not (tmp_path / "out").exists()


def test_it_takes_the_settings_of_one_take_and_tells_of_unknown_words(make_video, tmp_path, capfd):
    settings = ("--speech-temperature", "0.5", "--background-top-k", "7", "--script", "perpendicular")
    run(make_video(num_frames=8), tmp_path / "out", *settings, *UNCUT)
    assert "will babble at others: perpendicular" in capfd.readouterr().err
    sampling = read_provenance(tmp_path / "out/mix.wav").settings["sampling"]
    assert sampling["speech"]["temperature"] == 0.5
    assert sampling["background"]["top_k"] == 7
