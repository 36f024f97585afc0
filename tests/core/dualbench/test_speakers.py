import json
import math

import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

from dualdub_core.dualbench import load_speaker_judge, paired_cosines
from dualdub_core.errors import CheckpointError, InputError
from dualdub_core.types import Audio


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("wavlm-tiny-sv")
    config = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        tdnn_dim=(8, 8, 8, 8, 12),
        xvector_output_dim=10,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        WavLMForXVector(config).save_pretrained(path)
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def judge(folder):
    return load_speaker_judge(folder)


def noise(seconds, rate=16_000, seed=0):
    return Audio(torch.randn(1, 1, round(seconds * rate), generator=torch.Generator().manual_seed(seed)) * 0.1, rate)


def test_a_recording_is_most_like_itself(judge, folder):
    first, second = judge.embed(noise(1.0)), judge.embed(noise(1.0, seed=1))
    assert first.shape == (10,)
    assert judge.name == folder.name
    itself = float(paired_cosines(first[None], first[None]))
    assert itself == pytest.approx(1.0)
    assert float(paired_cosines(first[None], second[None])) < itself


def test_the_mean_of_channels_is_heard_at_16_khz(judge):
    mono = noise(1.0)
    stereo = Audio(mono.waveform * torch.tensor([0.5, 1.5])[None, :, None], mono.sample_rate)
    assert torch.allclose(judge.embed(stereo), judge.embed(mono), atol=1e-5)
    assert judge.embed(noise(1.0, rate=24_000)).isfinite().all()


@pytest.mark.parametrize("audio", [noise(0.1), Audio(torch.zeros(1, 1, 24_000), 24_000)], ids=["0.1 s", "silence"])
def test_short_and_silent_speech_is_judged_as_it_is(judge, audio):
    assert judge.embed(audio).isfinite().all()


def test_unusable_speech_is_refused(judge):
    with pytest.raises(InputError, match="NaN or infinite samples"):
        judge.embed(Audio(torch.full((1, 1, 100), math.nan), 16_000))
    with pytest.raises(InputError, match="got a batch of 2"):
        judge.embed(Audio(torch.zeros(2, 1, 100), 16_000))


def test_folders_of_other_things_are_refused(tmp_path, folder):
    with pytest.raises(CheckpointError, match=r"has no config.json; expected the folder of a WavLM"):
        load_speaker_judge(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text((folder / "preprocessor_config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="has no usable weights"):
        load_speaker_judge(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="has no usable weights"):
        load_speaker_judge(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["WavLMModel"]}))
    with pytest.raises(CheckpointError, match="expected WavLMForXVector"):
        load_speaker_judge(tmp_path)
