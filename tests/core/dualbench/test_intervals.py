import math

import numpy as np
import pytest

from dualdub_core.dualbench.intervals import Estimate, mean, of_set, ratio, ratio_difference, set_difference
from dualdub_core.errors import InputError


def test_a_mean_has_the_interval_of_a_normal_one():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400).tolist()
    found = mean(values)
    assert found.value == pytest.approx(np.mean(values))
    half = 1.96 * np.std(values) / math.sqrt(400)
    assert found.low == pytest.approx(found.value - half, abs=0.05)
    assert found.high == pytest.approx(found.value + half, abs=0.05)
    assert mean(values) == found


def test_what_is_no_number_does_not_count():
    assert mean([1.0, math.nan, 3.0]).value == 2.0
    assert mean([1.0, math.nan, 3.0]).num_clips == 2
    nothing = mean([math.nan])
    assert math.isnan(nothing.value)
    assert nothing.num_clips == 0
    assert ratio([1.0, 5.0], [2.0, 0.0]).value == 0.5


def test_a_ratio_is_of_sums_and_not_the_mean_of_ratios():
    assert ratio([1.0, 1.0], [1.0, 9.0]).value == 0.2


def test_equal_clips_leave_no_doubt():
    assert mean([2.0] * 5) == Estimate(2.0, 2.0, 2.0, 5)
    assert ratio_difference(([1.0] * 5, [1.0] * 5), ([3.0] * 5, [1.0] * 5)) == Estimate(2.0, 2.0, 2.0, 5)


def test_a_difference_of_pairs_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    clip = rng.normal(0, 5, 200)
    first, second = (clip + rng.normal(shift, 0.1, 200) for shift in (0.0, 0.2))
    ones = [1.0] * 200
    found = ratio_difference((first.tolist(), ones), (second.tolist(), ones))
    assert found.is_clear
    assert found.value == pytest.approx(0.2, abs=0.03)
    assert found.high - found.low < 0.1 < mean(first.tolist()).high - mean(first.tolist()).low
    swapped = ratio_difference((second.tolist(), ones), (first.tolist(), ones))
    assert (swapped.value, swapped.low) == (-found.value, pytest.approx(-found.high))
    with pytest.raises(InputError, match="unequal length"):
        ratio_difference(([1.0], [1.0]), ([1.0, 2.0], [1.0, 1.0]))


def test_a_figure_of_a_set_lies_within_the_spread_of_its_draws():
    values = np.random.default_rng(0).normal(0, 1, 50)
    # The largest of drawn clips is never more than the largest of all: a biased figure.
    found = of_set(lambda rows: float(values[rows].max()), 50)
    assert found.low < found.value < found.high
    assert found.num_clips == 50
    assert math.isnan(of_set(lambda rows: 1.0, 50, draws=0).low)
    assert math.isnan(of_set(lambda rows: math.nan, 50).low)


def test_a_set_differs_from_itself_by_nothing():
    values = np.random.default_rng(0).normal(0, 1, 20)
    found = set_difference(lambda rows: float(values[rows].std()), lambda rows: float(values[rows].std()), 20, draws=10)
    assert found == Estimate(0.0, 0.0, 0.0, 20)
    assert not found.is_clear


def test_json_has_null_for_what_is_no_number():
    estimate = Estimate(1.5, math.nan, math.nan, 3)
    assert estimate.to_json() == {"value": 1.5, "low": None, "high": None, "num_clips": 3}
    again = Estimate.from_json(estimate.to_json())
    assert again.value == 1.5
    assert math.isnan(again.low)
