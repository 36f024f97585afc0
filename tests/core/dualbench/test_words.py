import json
import sys
from pathlib import Path

import pytest

from dualdub_core.dualbench import normalise, word_errors
from dualdub_core.errors import ConfigError, InputError

GOLDEN = json.loads((Path(__file__).parents[2] / "fixtures" / "bench" / "wer.json").read_text())
SCRIPTS, TRANSCRIPTS = zip(*GOLDEN["pairs_ref_hyp"], strict=True)
NORMALISERS = sorted(GOLDEN["by_normaliser"])


@pytest.fixture(autouse=True)
def _needs_the_extra(request):
    if "without_packages" not in request.node.name:
        pytest.importorskip("jiwer", reason="needs the extra bench")
        pytest.importorskip("whisper_normalizer", reason="needs the extra bench")


@pytest.mark.parametrize("name", NORMALISERS)
def test_texts_are_normalised_as_the_reference_does(name):
    for pair, expected in zip(GOLDEN["pairs_ref_hyp"], GOLDEN["by_normaliser"][name]["normalized"], strict=True):
        assert [normalise(text, name) for text in pair] == expected


@pytest.mark.parametrize("name", NORMALISERS)
def test_errors_are_counted_as_the_reference_does(name):
    expected = GOLDEN["by_normaliser"][name]
    result = word_errors(SCRIPTS, TRANSCRIPTS, normaliser=name)
    for count in ("hits", "substitutions", "deletions", "insertions"):
        assert getattr(result, count) == expected[count]
    assert result.by_pair == pytest.approx(expected["per_pair_wer"])
    assert result.rate == pytest.approx(expected["corpus_wer"])
    assert result.mean_rate == pytest.approx(expected["mean_of_wers"])
    assert result.normaliser == name


def test_the_script_is_the_reference_and_not_the_transcript():
    # One tool in the field swaps them: half the words wrong then looks like all.
    assert word_errors(["red ball"], ["red"]).rate == 0.5
    assert word_errors(["red"], ["red ball"]).rate == 1.0


def test_swapped_muted_and_noisier_clips_have_more_errors():
    scripts = ["the red ball falls", "seven green birds", "open the door now"]
    noisy = ["the red wall falls", "seven green birds", "open the door"]
    rates = [word_errors(scripts, heard).rate for heard in (scripts, noisy, scripts[1:] + scripts[:1], ["", "", ""])]
    assert rates[0] == 0.0
    assert rates[0] < rates[1] < min(rates[2:])
    assert rates[3] == 1.0


def test_words_where_none_are_due_count_for_the_set_and_not_for_the_mean():
    result = word_errors(["[laughs]", "hello there"], ["what is that", "hello there"])
    assert (result.insertions, result.rate, result.mean_rate) == (3, 1.5, 0.0)


def test_pairs_that_say_nothing_are_refused():
    with pytest.raises(InputError, match="no words in any script"):
        word_errors(["!?", ""], ["", ""])
    with pytest.raises(InputError, match="no words in any script"):
        word_errors([], [])
    with pytest.raises(InputError, match="got 2 scripts and 1 transcripts, expected pairs"):
        word_errors(["a", "b"], ["a"])
    with pytest.raises(InputError, match="got normaliser 'x', expected one of whisper_english"):
        word_errors(["a"], ["a"], normaliser="x")


def test_without_packages_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(ConfigError, match=r'WER: needs jiwer, which is not installed; pip install "dualdub\[bench\]"'):
        word_errors(["a"], ["a"])
