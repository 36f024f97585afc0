"""Two systems on the same clips."""

import json
import math

import numpy as np
import pytest
import torch

from dualdub_core.cli import main
from dualdub_core.dualbench.bench import RESULTS, Results, write_json
from dualdub_core.dualbench.compare import compare, markdown
from dualdub_core.dualbench.figures import mean_figure, ratio_figure, set_figure
from dualdub_core.dualbench.judge_classes import SET_STATISTICS
from dualdub_core.dualbench.judges import Facts, keep_facts
from dualdub_core.errors import InputError

LABELS = {"title": "WER", "unit": "%", "tool": "counted"}
CLIPS = tuple(f"clip{number:02d}" for number in range(30))


@pytest.fixture
def finished(tmp_path):
    """Writes the results of a run."""

    def write(name, figures, clips=CLIPS, sha256="one"):
        results = Results(name, {"kind": "folder"}, "toy", sha256, tuple(clips), (), tuple(figures))
        write_json(tmp_path / name / RESULTS, results.to_json())
        return tmp_path / name / RESULTS

    return write


def errors(rates, key="wer", better="lower", **labels):
    values = dict(zip(CLIPS, rates, strict=False))
    return mean_figure(values, key=key, better=better, **{**LABELS, **labels})


def test_pairs_show_what_two_intervals_hide(finished):
    hard = np.random.default_rng(0).uniform(0, 100, 30)
    first, second = finished("first", [errors(hard)]), finished("second", [errors(hard - 3)])
    found = compare(first, second)
    (difference,) = found.differences
    assert difference.difference.value == pytest.approx(-3)
    assert (difference.difference.low, difference.difference.high) == (pytest.approx(-3), pytest.approx(-3))
    assert difference.verdict == "second is better"
    assert compare(second, first).differences[0].verdict == "first is better"
    assert compare(first.parent, second.parent) == found


def test_a_system_does_not_differ_from_itself(finished):
    path = finished("first", [errors(range(30))])
    (difference,) = compare(path, path).differences
    assert (difference.difference.value, difference.verdict) == (0, "no clear difference")


def test_what_is_better_depends_on_the_figure(finished):
    for better, verdict in (("lower", "first is better"), ("higher", "second is better"), ("neither", "")):
        first = finished("first", [errors([1.0] * 30, better=better)])
        second = finished("second", [errors([2.0] * 30, better=better)])
        assert compare(first, second).differences[0].verdict == verdict


def test_a_winner_that_is_no_better_than_chance_is_called_so(finished):
    by_chance = {"ground truth": [5.0], "another clip's": [2.5]}
    first = finished("first", [mean_figure(dict.fromkeys(CLIPS, 1.0), key="x", better="higher", **LABELS)])
    noise = mean_figure(dict.fromkeys(CLIPS, 2.0), controls=by_chance, key="x", better="higher", **LABELS)
    assert noise.is_at_chance
    (difference,) = compare(first, finished("noise", [noise])).differences
    assert difference.verdict == "second is better, but no better than its own controls"


def test_only_common_clips_count(finished):
    first = finished("first", [errors([1.0] * 20 + [100.0] * 10)])
    second = finished("second", [errors([2.0] * 20)], clips=CLIPS[:20])
    found = compare(first, second)
    assert len(found.clips) == 20
    (difference,) = found.differences
    assert (difference.first, difference.second, difference.difference.value) == (1, 2, 1)
    assert difference.difference.num_clips == 20


def test_ratios_are_compared_as_ratios(finished):
    labels = {**LABELS, "key": "wer", "better": "lower"}
    words = {"clip00": 1.0, "clip01": 9.0}
    first = finished("first", [ratio_figure({"clip00": 0.0, "clip01": 0.0}, words, {}, **labels)], clips=CLIPS[:2])
    second = finished("second", [ratio_figure({"clip00": 1.0, "clip01": 1.0}, words, {}, **labels)], clips=CLIPS[:2])
    assert compare(first, second).differences[0].difference.value == pytest.approx(0.2)


def test_figures_of_another_tool_are_not_compared(finished):
    first = finished("first", [errors([1.0] * 30), errors([1.0] * 30, key="other"), errors([1.0] * 30, key="mine")])
    second = finished("second", [errors([2.0] * 30, tool="guessed"), errors([2.0] * 30, key="other")])
    found = compare(first, second)
    assert [difference.key for difference in found.differences] == ["other"]
    assert found.skipped == ("WER: measured by counted, and by guessed as WER", "WER: only of first")
    assert "Not compared: WER: measured by counted" in markdown(found)
    with pytest.raises(InputError, match="have no figure in common"):
        compare(first, finished("third", [errors([1.0] * 30, key="third")]))


def test_another_set_or_no_results_are_refused(finished, tmp_path):
    first = finished("first", [errors([1.0] * 30)])
    with pytest.raises(InputError, match=r"judged on toy \(one\), second on toy \(two\); judge both on one set"):
        compare(first, finished("second", [errors([1.0] * 30)], sha256="two"))
    with pytest.raises(InputError, match="have no clip in common"):
        compare(first, finished("third", [errors([1.0] * 30)], clips=("x",)))
    with pytest.raises(InputError, match="no results of a benchmark there"):
        compare(first, tmp_path / "nowhere")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match="is not results of format 1"):
        compare(first, tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        compare(first, tmp_path)


def test_figures_of_a_set_are_computed_again_from_kept_facts(finished):
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(30, 4, generator=generator)
    paths = []
    for name, gap in (("near", 0.5), ("far", 3.0)):
        facts = [Facts({}, {"features": row + gap, "real_features": row}) for row in real]
        labels = {"key": "fd", "title": "FD", "unit": "", "better": "lower", "tool": "panns", "judge": "panns"}
        paths.append(finished(name, [set_figure(SET_STATISTICS["fd"](facts), 30, draws=5, **labels)]))
        for clip, fact in zip(CLIPS, facts, strict=True):
            keep_facts(paths[-1].parent / "heard" / "panns" / f"{clip}.safetensors", fact)
    (difference,) = compare(*paths, draws=20).differences
    # Only the means differ: the distance is 4 gap^2.
    assert difference.first == pytest.approx(4 * 0.5**2, abs=1e-5)
    assert difference.difference.value == pytest.approx(4 * (9 - 0.25), abs=1e-4)
    assert difference.verdict == "first is better"
    next((paths[1].parent / "heard" / "panns").iterdir()).unlink()
    (without,) = compare(*paths, draws=20).differences
    assert without.difference.value == pytest.approx(difference.difference.value, abs=1e-4)
    assert math.isnan(without.difference.low)
    assert without.verdict == "no clear difference"


def test_the_command_prints_and_keeps_a_comparison(finished, tmp_path, capsys):
    paths = [finished(name, [errors([value] * 30)]) for name, value in (("first", 1.0), ("second", 2.0))]
    assert main(["bench", "--compare", *map(str, paths), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "| WER | 1.000 % | 2.000 % | 1.000 % | 1.000 to 1.000 | 30 | first is better |" in said
    assert (tmp_path / "out" / "comparison.md").read_text() == said
    kept = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert kept["differences"][0]["verdict"] == "first is better"
    assert main(["bench", "--compare", str(paths[0]), str(tmp_path)]) == 1
    assert "no results of a benchmark" in capsys.readouterr().err
