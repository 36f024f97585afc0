import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dualdub_core.dualbench import inception_score
from dualdub_core.errors import InputError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bench"
CASES = json.loads((FIXTURES / "inception_score.json").read_text())["cases"]
LOGITS = np.load(FIXTURES / "inception_score.npz")


@pytest.mark.parametrize("name", CASES)
def test_the_score_is_that_of_audioldm_eval(name):
    case = CASES[name]
    score = inception_score(torch.from_numpy(LOGITS[name]), num_splits=case["splits"])
    assert score.num_clips == case["N"]
    assert score.mean == pytest.approx(float(case["inception_score_mean"]), rel=1e-6, nan_ok=True)
    assert score.std == pytest.approx(float(case["inception_score_std"]), rel=1e-6, abs=1e-12, nan_ok=True)


def test_a_classifier_that_is_sure_of_every_class_once_scores_their_number():
    score = inception_score(100 * torch.eye(8), num_splits=1)
    assert (score.mean, score.std) == (pytest.approx(8.0), 0.0)


def test_a_soundtrack_that_says_nothing_scores_1():
    assert inception_score(torch.zeros(20, 5)).mean == pytest.approx(1.0)
    muted = torch.randn(1, 5).expand(20, 5)
    assert inception_score(muted).mean == pytest.approx(1.0)


def test_damage_that_makes_the_classifier_unsure_lowers_the_score():
    logits = torch.from_numpy(LOGITS["n200_c50"])
    scores = [inception_score(logits * sureness).mean for sureness in (1.0, 0.5, 0.1)]
    assert scores == sorted(scores, reverse=True)


def test_logits_as_large_as_they_come_do_not_overflow():
    score = inception_score(torch.eye(10) * 1e30, num_splits=1)
    assert score.mean == pytest.approx(10)


def test_unusable_logits_are_refused():
    with pytest.raises(InputError, match="logits: got NaN"):
        inception_score(torch.full((10, 3), math.nan))
    with pytest.raises(InputError, match="got 0 rows"):
        inception_score(torch.zeros(0, 3))
    with pytest.raises(InputError, match="got 0 splits"):
        inception_score(torch.zeros(10, 3), num_splits=0)
