"""What people read: the table, the page, the pictures."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from dualdub_core.dualbench import Moments
from dualdub_core.dualbench.bench import Results, run
from dualdub_core.dualbench.figures import Figure, mean_figure, ratio_figure, shown
from dualdub_core.dualbench.intervals import Estimate
from dualdub_core.dualbench.judge_levels import LevelsJudge
from dualdub_core.dualbench.pictures import WIDTH, Drawing, paint, to_tensor
from dualdub_core.dualbench.report import page, write_report
from dualdub_core.dualbench.systems import GroundTruth
from dualdub_core.dualbench.tables import markdown
from dualdub_core.dualbench.testset import read_set
from dualdub_core.media.sound import probe
from dualdub_core.types import Audio, VideoFrames

LABELS = {"key": "x", "title": "a figure", "unit": "%", "better": "lower", "tool": "a tool"}


@pytest.fixture(scope="module")
def judged(toy_set, tmp_path_factory):
    """A finished run of two clips with its report: set, results, folder."""
    out = tmp_path_factory.mktemp("report") / "out"
    bench_set = read_set(toy_set, limit=2)
    results = run(bench_set, GroundTruth(), out, judges=[LevelsJudge()])
    write_report(results, bench_set, out, silent_about=["WER: give --asr"])
    return bench_set, results, out


class Page(HTMLParser):
    """Tags that are open or closed, and what attributes point to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_table_has_value_interval_count_controls_and_tool():
    figure = mean_figure({"a": 1.0, "b": 3.0, "c": math.nan}, controls={"ground truth": [0.5, 0.5]}, **LABELS)
    results = Results("ours | best", {}, "toy", "abc", ("a", "b", "c"), ("d",), (figure,))
    lines = markdown(results).splitlines()
    assert lines[0] == "**ours \\| best** on toy, 3 clips; left out, as they have no take: 1"
    assert lines[2].count("|") == lines[4].count("|") == 8
    cells = [cell.strip() for cell in lines[4].strip("|").split("|")]
    assert cells[0] == "a figure"
    assert cells[1] == "2.000 %"
    assert cells[2] == "1.000 to 3.000"
    assert cells[3:] == ["2", "lower is better", "ground truth 0.500 %", "a tool"]


def test_numbers_are_short_and_nothing_is_said_of_nothing():
    assert [shown(value) for value in (0.12345, 12.345, 123.45, math.nan)] == ["0.123", "12.35", "123.5", "none"]
    assert shown(2.0, "dB") == "2.000 dB"
    figure = Figure(estimate=Estimate(1.0, math.nan, math.nan, 4), **LABELS)
    assert "| none |" in markdown(Results("s", {}, "t", "", ("a",), (), (figure,)))


def test_a_figure_survives_json():
    figure = ratio_figure({"a": 1.0, "b": 2.0}, {"a": 4.0, "b": 0.0}, {"chance": math.nan}, **LABELS)
    again = Figure.from_json(figure.to_json())
    assert again.by_clip == {"a": 0.25}
    assert math.isnan(again.controls["chance"])
    assert replace(again, controls={}) == replace(figure, controls={})


def test_the_report_has_players_pictures_and_scores_of_every_clip(judged):
    bench_set, results, out = judged
    html = (out / "report.html").read_text()
    read = Page(html)
    assert read.open == []
    assert read.tags.count("video") == 2
    assert read.tags.count("audio") == 2 * 6
    assert read.tags.count("img") == 2
    files = [link for link in read.links if not link.startswith("#")]
    assert len(files) == 2 * 8
    assert all((out / link).is_file() for link in files)
    assert "Not measured: WER: give --asr" in html
    assert (out / "table.md").read_text() == markdown(results) + "\n"
    for clip in bench_set.clips:
        assert probe(out / "takes" / f"{clip.id}.mp4").has_audio
        assert Image.open(out / "pictures" / f"{clip.id}.png").width == WIDTH


def test_nothing_comes_from_elsewhere(judged):
    html = (judged[2] / "report.html").read_text()
    assert not re.search(r"https?://|//cdn|@import|<link", html)
    assert html.count("<script>") == 1
    assert "<script src" not in html


def test_names_and_scripts_are_text_and_never_markup(judged):
    bench_set, results, out = judged
    hostile = '<script>alert("1")</script><img src=x onerror=alert(1)>'
    clips = [replace(bench_set.clips[0], script=hostile, speaker=hostile)]
    settings = {"kind": hostile}
    html = page(replace(results, system=hostile, set_name=hostile, system_settings=settings), clips, out, [hostile])
    assert html.count("<script>") == 1
    assert "onerror=alert(1)>" not in html.replace("&gt;", "")
    read = Page(html)
    assert read.open == []
    assert hostile in read.text


def test_a_report_is_written_again_without_painting_again(judged):
    bench_set, results, out = judged
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("pictures/*.png")}
    before = (out / "report.html").read_bytes()
    write_report(results, bench_set, out, silent_about=["WER: give --asr"])
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert (out / "report.html").read_bytes() == before


def test_a_picture_shows_peaks_where_they_are():
    sound = Audio(torch.zeros(1, 1, 16_000), 16_000)
    sound.waveform[..., 8_000] = 1.0
    plain = Drawing(title="clip", duration=1.0, sounds={"speech": sound}, mix=sound)
    moments = Moments((0.25,), (0.75,), 25.0, 1.0)
    marked = paint(replace(plain, moments=moments))
    pixels = np.asarray(marked).astype(int)
    changed = np.abs(pixels - np.asarray(paint(plain)).astype(int)).sum(axis=(0, 2)).nonzero()[0]
    columns = changed[changed > WIDTH // 5]  # the legend is on the left
    assert {round(0.75 * WIDTH), round(0.25 * WIDTH)} <= set(columns.tolist())
    assert columns.max() == round(0.75 * WIDTH)
    wave = np.asarray(paint(plain)).astype(int)[16:70, 60:].sum(axis=(0, 2))
    assert abs(int(wave.argmin()) + 60 - WIDTH // 2) <= 1
    assert to_tensor(marked).shape == (1, *np.asarray(marked).shape)
    assert 0 <= float(to_tensor(marked).min()) <= float(to_tensor(marked).max()) <= 1


@pytest.mark.parametrize("seconds", [0.01, 0.5, 3.0])
def test_sound_shorter_or_longer_than_the_video_is_painted(seconds):
    sound = Audio(torch.rand(1, 2, max(1, round(seconds * 8_000))) - 0.5, 8_000)
    frames = VideoFrames(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0.0, 0.5]).double(), 1.0)
    drawing = Drawing(title="日本\n", duration=1.0, sounds={"background": sound}, mix=sound, frames=frames)
    assert paint(drawing).width == WIDTH
