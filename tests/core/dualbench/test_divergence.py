import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dualdub_core.dualbench import kl_divergence, kl_divergence_by_name
from dualdub_core.errors import InputError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bench"
CASES = json.loads((FIXTURES / "kl.json").read_text())["cases"]
LOGITS = np.load(FIXTURES / "kl.npz")
PAIRED = [name for name, case in CASES.items() if case["same_name"]]


def by_name(case, side):
    return dict(zip(CASES[case][f"files_{side}"], torch.from_numpy(LOGITS[f"{case}__{side}"]), strict=True))


@pytest.mark.parametrize("name", PAIRED)
def test_kl_is_that_of_audioldm_eval(name):
    expected = CASES[name]["audioldm_eval"]
    result = kl_divergence_by_name(by_name(name, "gen"), by_name(name, "ref"))
    assert result.tool == "audioldm_eval"
    assert result.softmax == pytest.approx(expected["kullback_leibler_divergence_softmax"], rel=1e-5)
    assert result.sigmoid == pytest.approx(expected["kullback_leibler_divergence_sigmoid"], rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_kl_is_that_of_av_benchmark(name):
    expected = CASES[name]["av_bench_log_target_no_eps"]
    result = kl_divergence_by_name(by_name(name, "gen"), by_name(name, "ref"), tool="av_bench")
    assert result.softmax == pytest.approx(expected["kl_softmax"], rel=1e-5)
    assert result.sigmoid == pytest.approx(expected["kl_sigmoid"], rel=1e-5)


def test_a_missing_clip_is_left_out_and_named():
    result = kl_divergence_by_name(by_name("missing_one", "gen"), by_name("missing_one", "ref"))
    assert result.num_pairs == 39
    assert result.missing == ("clip_039.wav",)


def test_of_two_classes_it_is_the_closed_form():
    generated, reference = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])
    result = kl_divergence(generated, reference, tool="av_bench")
    assert result.softmax == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


@pytest.mark.parametrize("tool", ["audioldm_eval", "av_bench"])
def test_equal_clips_have_none_and_swapped_or_muted_ones_have_more(tool):
    reference = torch.from_numpy(LOGITS["paired__ref"])
    assert kl_divergence(reference, reference, tool=tool).softmax == pytest.approx(0, abs=1e-4)
    swapped = kl_divergence(reference.roll(1, 0), reference, tool=tool).softmax
    muted = kl_divergence(torch.zeros_like(reference), reference, tool=tool).softmax
    noisy = kl_divergence(reference + 0.3 * torch.randn(reference.shape), reference, tool=tool).softmax
    assert min(swapped, muted) > noisy > 0.01


def test_clips_that_do_not_pair_are_refused():
    logits = {"a.wav": torch.zeros(3)}
    with pytest.raises(InputError, match="without one name in common"):
        kl_divergence_by_name(logits, {"b.wav": torch.zeros(3)})
    with pytest.raises(InputError, match="without one name in common"):
        kl_divergence_by_name({}, {})
    with pytest.raises(InputError, match="2 and 1 rows, expected pairs"):
        kl_divergence(torch.zeros(2, 3), torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"b.wav has logits of shape \(4,\), expected \(3,\)"):
        kl_divergence_by_name({**logits, "b.wav": torch.zeros(4)}, {**logits, "b.wav": torch.zeros(3)})


def test_unusable_logits_and_tools_are_refused():
    with pytest.raises(InputError, match="generated logits: got NaN or infinite"):
        kl_divergence(torch.full((1, 3), math.inf), torch.zeros(1, 3))
    with pytest.raises(InputError, match="got tool 'fadtk', expected one of audioldm_eval, av_bench"):
        kl_divergence(torch.zeros(1, 3), torch.zeros(1, 3), tool="fadtk")
