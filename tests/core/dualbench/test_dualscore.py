import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dualdub_core.dualbench import contrastive_loss, paired_cosines, retrieval
from dualdub_core.errors import InputError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bench"
CASES = json.loads((FIXTURES / "dualscore.json").read_text())["cases"]
EMBEDDINGS = np.load(FIXTURES / "dualscore.npz")


def case(name):
    return tuple(torch.from_numpy(EMBEDDINGS[f"{name}__{stem}"]) for stem in ("speech", "audio"))


@pytest.mark.parametrize("name", CASES)
def test_scores_are_the_golden_cosines(name):
    scores = paired_cosines(*case(name))
    assert float(scores.mean()) == pytest.approx(CASES[name]["dualscore_mean"], abs=1e-6)
    assert scores[:5].tolist() == pytest.approx(CASES[name]["dualscore_first5"], abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_retrieval_is_the_golden_one_in_both_directions(name):
    result = retrieval(*case(name))
    for k in (1, 3, 5):
        assert result.speech_to_audio[k] == pytest.approx(CASES[name]["speech_to_audio"][f"top{k}"])
        assert result.speech_to_audio[k] == pytest.approx(CASES[name]["speech_to_audio_pessimistic_ties"][f"top{k}"])
        assert result.audio_to_speech[k] == pytest.approx(CASES[name]["audio_to_speech"][f"top{k}"])


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_the_golden_one(name):
    loss = contrastive_loss(*case(name), CASES[name]["logit_scale"])
    assert float(loss) == pytest.approx(CASES[name]["infonce"], abs=1e-5)


def test_embeddings_that_are_all_alike_retrieve_nothing():
    # Ties count against the partner: a network that answers the same to all must not look perfect.
    same = torch.ones(6, 4)
    result = retrieval(same, same)
    assert result.speech_to_audio == {1: 0.0, 3: 0.0, 5: 0.0}
    assert float(contrastive_loss(same, same, 10.0)) == pytest.approx(math.log(6))


def test_neither_length_nor_order_changes_a_score():
    speech, audio = case("hard")
    assert torch.allclose(paired_cosines(3 * speech, audio), paired_cosines(speech, audio))
    order = torch.randperm(len(speech))
    assert retrieval(speech[order], audio[order]) == retrieval(speech, audio)


def test_swapped_partners_and_noise_lower_the_scores():
    speech, audio = case("easy")
    noise = torch.randn(audio.shape, generator=torch.Generator().manual_seed(0))
    clean = float(paired_cosines(speech, audio).mean())
    noisy = float(paired_cosines(speech, audio + noise).mean())
    swapped = float(paired_cosines(speech, audio.roll(1, 0)).mean())
    assert clean > noisy > swapped
    assert retrieval(speech, audio.roll(1, 0)).speech_to_audio[1] == 0.0


def test_the_loss_reaches_both_branches():
    speech, audio = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    contrastive_loss(speech, audio, 10.0).backward()
    assert speech.grad.abs().sum() > 0 < audio.grad.abs().sum()


def test_unusable_embeddings_are_refused():
    good = torch.randn(3, 4)
    silent = good.clone()
    silent[1] = 0
    with pytest.raises(InputError, match="row 1 is all zeros"):
        paired_cosines(good, silent)
    with pytest.raises(InputError, match="3 and 2 rows, expected pairs"):
        retrieval(good, good[:2])
    with pytest.raises(InputError, match="NaN or infinite values in row 0"):
        paired_cosines(good * math.nan, good)
    with pytest.raises(InputError, match="got k = 0"):
        retrieval(good, good, ks=(0, 1))
