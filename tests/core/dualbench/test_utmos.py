import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dualdub_core.checkpoint import read_published
from dualdub_core.dualbench.utmos import Utmos, UtmosConfig, load_utmos
from dualdub_core.errors import CheckpointError, ConfigError, InputError
from dualdub_core.types import Audio

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bench"
PUBLISHED = FIXTURES / "utmos_small.pt"
GOLDEN = np.load(FIXTURES / "networks.npz")


@pytest.fixture(scope="module")
def judge():
    return load_utmos(PUBLISHED, UtmosConfig.mini())


def golden_sound():
    times = torch.arange(20_000, dtype=torch.float64) / 16_000
    chirp = 0.2 * torch.sin(2 * math.pi * (300 * times + 900 * times**2))
    return (chirp + 0.1 * torch.sin(2 * math.pi * 2_500 * times)).float()[None]


def test_a_published_file_hears_what_its_own_code_hears(judge):
    sound = golden_sound()
    expected = torch.from_numpy(GOLDEN["utmos_small__features"])
    torch.testing.assert_close(judge.wav2vec2(sound)[0], expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("index", "num_samples"), [(0, 20_000), (1, 19_700)])
def test_scores_are_those_of_its_own_code_for_even_and_odd_numbers_of_frames(judge, index, num_samples):
    score = judge.score(Audio(golden_sound()[None, :, :num_samples], 16_000))
    assert score.tolist() == pytest.approx([float(GOLDEN["utmos_small__scores"][index])], abs=1e-5)


def test_the_published_network_has_its_size_and_its_names():
    with torch.device("meta"):
        state = Utmos(UtmosConfig.paper()).state_dict()
    # 102,772,865 with the mask embedding, which only training uses.
    assert sum(tensor.numel() for tensor in state.values()) == 102_772_865 - 768
    assert set(Utmos(UtmosConfig.mini()).state_dict()) == set(read_published(PUBLISHED)) - {"wav2vec2.mask_emb"}
    assert state["blstm.weight_ih_l0_reverse"].shape == (2048, 1024)
    assert state["wav2vec2.feature_extractor.conv_layers.0.2.weight"].shape == (512,)


def test_a_recording_is_heard_alone_at_any_rate_and_channel(judge):
    sound = golden_sound()
    stereo = Audio(torch.stack((sound[0] * 1.5, sound[0] * 0.5))[None], 16_000)
    assert torch.allclose(judge.score(stereo), judge.score(Audio(sound[None], 16_000)), atol=1e-5)
    other = torch.randn(1, 1, 20_000) * 0.1
    both = judge.score(Audio(torch.cat((sound[None], other)), 16_000))
    assert torch.allclose(both[:1], judge.score(Audio(sound[None], 16_000)))
    assert judge.score(Audio(torch.randn(1, 1, 24_000) * 0.1, 24_000)).shape == (1,)


def test_scores_are_on_the_scale_of_listeners(judge):
    # The last layer's nothing is the middle of the scale.
    silent = load_utmos(PUBLISHED, UtmosConfig.mini())
    for parameter in silent.projection[2].parameters():
        parameter.zero_()
    assert silent.score(Audio(golden_sound()[None], 16_000)).tolist() == [3.0]


@pytest.mark.parametrize("num_samples", [1, 399, 1_600])
def test_silence_and_short_sound_have_a_score(judge, num_samples):
    assert judge.score(Audio(torch.zeros(1, 1, num_samples), 16_000)).isfinite().all()


def test_unusable_input_and_files_are_refused(judge, tmp_path):
    with pytest.raises(InputError, match="UTMOS: got NaN"):
        judge.score(Audio(torch.full((1, 1, 800), math.nan), 16_000))
    with pytest.raises(InputError, match="UTMOS: got 0 samples"):
        judge.score(Audio(torch.zeros(1, 1, 0), 16_000))
    with pytest.raises(ConfigError, match="must be a multiple of"):
        UtmosConfig(**{**dict.fromkeys(UtmosConfig.__dataclass_fields__, 4), "width": 10})
    with pytest.raises(CheckpointError, match="missing wav2vec2"):
        load_utmos(PUBLISHED)
    state = {key: tensor for key, tensor in read_published(PUBLISHED).items() if key != "domain_emb"}
    torch.save(state, tmp_path / "utmos.pt")
    with pytest.raises(CheckpointError, match=r"utmos.pt: missing domain_emb"):
        load_utmos(tmp_path / "utmos.pt", UtmosConfig.mini())
