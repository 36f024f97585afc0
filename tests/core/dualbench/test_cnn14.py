import pytest
import torch

from dualdub_core.dualbench import judged_waveform
from dualdub_core.dualbench.cnn14 import Cnn14, Cnn14Config, load_cnn14
from dualdub_core.errors import CheckpointError, ConfigError, InputError
from dualdub_core.types import Audio


@pytest.fixture(scope="module")
def judge():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Cnn14(Cnn14Config.mini()).eval().requires_grad_(False)


def test_the_published_network_has_its_names_and_its_size():
    with torch.device("meta"):
        network = Cnn14(Cnn14Config.paper())
    # The count that the paper prints.
    assert sum(tensor.numel() for tensor in network.parameters()) == 80_753_615
    state = network.state_dict()
    assert state["conv_block6.conv2.weight"].shape == (2048, 2048, 3, 3)
    assert {"bn0.running_mean", "fc1.bias", "fc_audioset.weight", "conv_block1.bn2.weight"} <= set(state)


def test_clips_of_any_length_have_one_feature_and_logits(judge):
    for num_samples in (32_000, 40_001):
        heard = judge(torch.randn(2, num_samples))
        assert heard.features.shape == (2, 8)
        assert heard.logits.shape == (2, 5)
        assert heard.features.min() >= 0


def test_the_logits_are_those_of_the_rectified_feature(judge):
    heard = judge(torch.randn(1, 32_000))
    assert torch.equal(heard.logits, judge.fc_audioset(heard.features))


def test_clips_do_not_hear_each_other(judge):
    waveform = torch.randn(3, 32_000)
    alone = torch.cat([judge(row[None]).logits for row in waveform])
    assert torch.allclose(judge(waveform).logits, alone, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_silence_and_a_tenth_of_a_second_are_heard_once_padded(judge, seconds):
    silence = Audio(torch.zeros(1, 1, round(24_000 * seconds)), 24_000)
    assert judge(judged_waveform(silence, 16_000)).logits.isfinite().all()


def test_unusable_input_and_files_are_refused(tmp_path, judge):
    with pytest.raises(InputError, match="pad the clip"):
        judge(torch.zeros(1, 100))
    with pytest.raises(ConfigError, match="must be 16000 or 32000"):
        Cnn14Config.paper(24_000)
    torch.save(judge.state_dict(), tmp_path / "cnn14.pth")
    with pytest.raises(CheckpointError, match="wrong shapes"):
        load_cnn14(tmp_path / "cnn14.pth", Cnn14Config.paper())


def test_a_published_file_is_loaded_without_its_front_end(tmp_path, judge):
    front_end = {"spectrogram_extractor.stft.conv_real.weight": torch.zeros(3), "logmel_extractor.melW": torch.zeros(3)}
    torch.save({**judge.state_dict(), **front_end}, tmp_path / "cnn14.pth")
    loaded = load_cnn14(tmp_path / "cnn14.pth", Cnn14Config.mini())
    waveform = torch.randn(1, 32_000)
    assert torch.equal(loaded(waveform).logits, judge(waveform).logits)
