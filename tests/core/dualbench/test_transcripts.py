import json
import math

import pytest
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from dualdub_core.dualbench import load_recogniser
from dualdub_core.errors import CheckpointError, InputError
from dualdub_core.types import Audio

LETTERS = ["a", "b", "c", "Ġ"]
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
IDS = {token: index for index, token in enumerate(LETTERS + SPECIAL)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Whisper of one layer that knows three letters; what it hears is noise, but always the same."""
    path = tmp_path_factory.mktemp("whisper-tiny")
    end, start = IDS["<|endoftext|>"], IDS["<|startoftranscript|>"]
    tokens = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": start}
    config = WhisperConfig(
        vocab_size=len(IDS),
        num_mel_bins=8,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_target_positions=16,
        **tokens,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = WhisperForConditionalGeneration(config)
    network.generation_config = GenerationConfig(
        is_multilingual=True,
        lang_to_id={"<|en|>": IDS["<|en|>"]},
        task_to_id={"transcribe": IDS["<|transcribe|>"], "translate": IDS["<|translate|>"]},
        no_timestamps_token_id=IDS["<|notimestamps|>"],
        max_length=12,
        suppress_tokens=[IDS[token] for token in SPECIAL[1:]],
        **tokens,
    )
    network.save_pretrained(path)
    (path / "vocab.json").write_text(json.dumps(IDS))
    (path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer.from_pretrained(path)  # made from its parts differently by transformers 4 and 5
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    WhisperProcessor(WhisperFeatureExtractor(feature_size=8), tokenizer).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def recogniser(folder):
    return load_recogniser(folder)


def noise(seconds, rate=16_000):
    return Audio(torch.randn(1, 1, round(seconds * rate), generator=torch.Generator().manual_seed(0)) * 0.1, rate)


def test_the_same_sound_is_heard_the_same_and_without_special_tokens(recogniser, folder):
    text = recogniser.transcribe(noise(1.0))
    assert text == recogniser.transcribe(noise(1.0))
    assert set(text) <= set("abc ")
    assert recogniser.name == folder.name


def test_more_than_30_s_is_heard_in_parts(recogniser):
    whole = noise(31.0)
    parts = [Audio(part, 16_000) for part in whole.waveform.split(30 * 16_000, dim=-1)]
    assert recogniser.transcribe(whole) == " ".join(filter(None, map(recogniser.transcribe, parts)))


@pytest.mark.parametrize(
    "audio", [noise(0.1, 24_000), Audio(torch.zeros(1, 2, 48_000), 48_000)], ids=["0.1 s", "silence"]
)
def test_short_and_silent_speech_at_any_rate_has_a_transcript(recogniser, audio):
    assert isinstance(recogniser.transcribe(audio), str)


def test_unusable_speech_is_refused(recogniser):
    with pytest.raises(InputError, match="NaN or infinite samples"):
        recogniser.transcribe(Audio(torch.full((1, 1, 100), math.nan), 16_000))
    with pytest.raises(InputError, match="got a batch of 2"):
        recogniser.transcribe(Audio(torch.zeros(2, 1, 100), 16_000))


def test_folders_of_other_things_are_refused(tmp_path, folder):
    with pytest.raises(CheckpointError, match=r"has no config.json; expected the folder of a Whisper"):
        load_recogniser(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(CheckpointError, match="is incomplete or damaged"):
        load_recogniser(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wavlm"}))
    with pytest.raises(CheckpointError, match="holds a wavlm model, expected whisper"):
        load_recogniser(tmp_path)
