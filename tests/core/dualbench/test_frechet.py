import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dualdub_core.dualbench import frechet_distance
from dualdub_core.errors import InputError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bench"
CASES = json.loads((FIXTURES / "frechet.json").read_text())["cases"]
FEATURES = np.load(FIXTURES / "frechet.npz")


def case(name):
    return tuple(torch.from_numpy(FEATURES[f"{name}__{side}"]) for side in ("gen", "ref"))


@pytest.mark.parametrize("name", CASES)
def test_the_distance_is_that_of_audioldm_eval(name):
    # The reference averages in float32, and its square root of a singular product is noisy.
    assert frechet_distance(*case(name)) == pytest.approx(CASES[name]["audioldm_eval_fid"], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_distance_is_the_nuclear_norm_of_float64(name):
    # Where rows are fewer than columns the fixture's own figure carries square-root noise of 2e-8.
    assert frechet_distance(*case(name)) == pytest.approx(CASES[name]["nuclear_norm_float64"], rel=1e-7, abs=1e-6)


def test_of_one_dimensional_gaussians_it_is_the_gap_of_means_and_of_deviations():
    first = torch.tensor([[-1.0], [1.0]]) * 3
    second = torch.tensor([[-1.0], [1.0]]) + 5
    assert frechet_distance(first, second) == pytest.approx(25 + 2 * (3 - 1) ** 2)


def test_it_is_symmetric_and_does_not_depend_on_the_order_of_clips():
    generated, reference = case("well_conditioned")
    assert frechet_distance(reference, generated) == pytest.approx(frechet_distance(generated, reference))
    assert frechet_distance(generated.flip(0), reference) == pytest.approx(frechet_distance(generated, reference))


def test_rows_fewer_and_more_than_columns_give_one_answer():
    generated = torch.randn(60, 20, generator=torch.Generator().manual_seed(0))
    wide = torch.cat([generated, torch.zeros(60, 80)], dim=1)
    assert frechet_distance(wide, wide[:30] * 2) == pytest.approx(frechet_distance(generated, generated[:30] * 2))


def test_the_distance_grows_with_the_damage():
    clean = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(2))
    distances = [frechet_distance(clean + level * noise, clean) for level in (0.0, 0.3, 1.0, 3.0)]
    assert distances == sorted(distances)
    assert distances[0] < 1e-9 < distances[1]
    muted = torch.zeros_like(clean)
    assert frechet_distance(muted, clean) > distances[1]


def test_features_that_cannot_be_compared_are_refused():
    good = torch.randn(5, 4)
    bad = good.clone()
    bad[3, 1] = torch.nan
    with pytest.raises(InputError, match="generated features: got NaN or infinite values in row 3"):
        frechet_distance(bad, good)
    with pytest.raises(InputError, match="got width 4, expected 3"):
        frechet_distance(good[:, :3], good)
    with pytest.raises(InputError, match="got 1 rows, expected at least 2"):
        frechet_distance(good, good[:1])
    with pytest.raises(InputError, match="expected \\(clips, width\\)"):
        frechet_distance(good[0], good)
