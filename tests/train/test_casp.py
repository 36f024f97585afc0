"""CASP's trainer, its pairs and its table, on a toy corpus and in closed form."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState

from dualdub_core import checkpoint
from dualdub_core.dualbench import retrieval
from dualdub_core.dualbench.beats import Beats, init_beats
from dualdub_core.dualbench.casp import Casp, init_casp, load_casp
from dualdub_core.errors import CheckpointError, ConfigError, InputError
from train import casp_table
from train import run as train_run
from train.casp_table import hits
from train.config import CaspTraining, DataConfig, read
from train.losses import casp_losses
from train.pairs import PairCorpus
from train.sizes import casp_config
from train.trainers import casp as trainer

TINY = Path(__file__).parents[2] / "train" / "configs" / "tiny" / "casp.yaml"
RATE = 1_000


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Joint clips whose background is their speech upside down, each sample telling clip and time; one other row."""
    folder = tmp_path_factory.mktemp("ramps")
    rows = []
    for index, seconds in enumerate((2.0, 2.0, 3.0, 0.4, 2.0)):
        ramp = (index + np.arange(round(seconds * RATE)) / (4 * RATE)) / 8
        rows.append({"task": "joint", "speech_flac": _flac(ramp), "background_flac": _flac(-ramp)})
    rows.insert(1, {"task": "speech", "speech_flac": _flac(np.zeros(RATE)), "background_flac": None})
    pq.write_table(pa.Table.from_pylist(rows), folder / "joint-00000.parquet")
    return folder


def _flac(samples):
    target = io.BytesIO()
    soundfile.write(target, samples, RATE, format="FLAC", subtype="PCM_24")
    return target.getvalue()


def pairs(folder, tmp_path, *, micro_batch=2, seconds=1.0, shortest=0.5, rate=RATE):
    data = DataConfig(train="", micro_batch=micro_batch, seconds=seconds, cache=str(tmp_path))
    return PairCorpus(str(folder), data, shortest=shortest, sample_rate=rate)


@pytest.fixture(scope="module")
def trained(toy_corpus, tmp_path_factory):
    """A folder in which the tiny CASP was trained."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "corpus").symlink_to(toy_corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        AcceleratorState._reset_state()
        train_run.main([str(TINY)])
    return folder


def test_both_stems_are_cut_at_one_place_to_one_length(ramps, tmp_path):
    corpus = pairs(ramps, tmp_path)
    assert len(corpus) == 5
    seen = set()
    for seed in range(8):
        batch = corpus.batch((0, 3), np.random.default_rng(seed))  # rows of 2 and 3 s
        assert torch.allclose(batch.speech, -batch.audio)
        assert batch.lengths.unique().numel() == 1
        assert 500 <= int(batch.lengths[0]) == batch.speech.shape[1] <= 1_000
        seen.add(int(batch.lengths[0]))
    assert len(seen) > 4


def test_a_shorter_clip_is_heard_whole_and_its_end_is_not_sound(ramps, tmp_path):
    batch = pairs(ramps, tmp_path).batch((4, 0), np.random.default_rng(0))
    assert batch.lengths.tolist() == [400, batch.speech.shape[1]]
    assert batch.speech.shape[1] >= 500
    assert batch.speech[0, 400:].abs().max() == 0
    assert float(batch.speech[0, 399]) == pytest.approx((3 + 399 / 4_000) / 8, abs=1e-5)


def test_an_epoch_is_whole_batches_of_joint_clips(ramps, tmp_path):
    batches = pairs(ramps, tmp_path).epoch(np.random.default_rng(0))
    assert [len(rows) for rows in batches] == [2, 2]
    assert 1 not in {row for rows in batches for row in rows}


def test_pieces_come_at_the_rate_of_the_network(ramps, tmp_path):
    batch = pairs(ramps, tmp_path, rate=2 * RATE).batch((0,), np.random.default_rng(0))
    half = pairs(ramps, tmp_path).batch((0,), np.random.default_rng(0))
    assert batch.speech.shape[1] == 2 * half.speech.shape[1]


def test_too_few_pairs_and_pieces_that_cannot_be_are_refused(ramps, tmp_path):
    with pytest.raises(InputError, match="has 5 joint clips, expected at least a micro-batch of 6"):
        pairs(ramps, tmp_path, micro_batch=6)
    with pytest.raises(ConfigError, match="no more than the data's"):
        pairs(ramps, tmp_path, shortest=1.5)


def test_the_loss_of_embeddings_that_know_nothing_is_the_logarithm_of_the_batch():
    same = torch.nn.functional.normalize(torch.ones(8, 4), dim=1)
    losses = casp_losses(same, same, torch.tensor([10.0]))
    assert losses.total.item() == pytest.approx(math.log(8), abs=1e-5)
    assert losses.cosine.item() == pytest.approx(1)
    perfect = casp_losses(torch.eye(8), torch.eye(8), torch.tensor([10.0]))
    assert perfect.total.item() == pytest.approx(math.log(1 + 7 * math.exp(-10)), abs=1e-6)
    assert perfect.top1.item() == 1
    assert casp_losses(torch.eye(8), torch.eye(8).roll(1, 0), torch.tensor([10.0])).top1.item() == 0


def test_a_few_updates_on_one_batch_bring_pairs_together(ramps, tmp_path):
    torch.manual_seed(0)
    casp = Casp(replace(casp_config("tiny"), window=0.5))
    init_casp(casp)
    objective = trainer.CaspObjective(casp).eval()
    generator = torch.Generator().manual_seed(0)
    levels = torch.logspace(-3, -0.5, 4)[:, None]
    speech, audio = (levels * torch.randn(4, 6_000, generator=generator) for _ in range(2))
    batch = trainer.PairBatch("pairs", 0, speech, audio, torch.full((4,), 6_000))
    assert objective.weight(batch) == 4
    optimiser = torch.optim.Adam(objective.parameters(), lr=5e-3)
    first = objective(batch)
    for _ in range(60):
        optimiser.zero_grad()
        objective(batch).total.backward()
        optimiser.step()
        objective.after_update()
    last = objective(batch)
    assert last.total < 0.5 < first.total
    assert last.top1 == 1


def test_the_tiny_run_leaves_a_casp_that_loads(trained):
    folder = trained / "runs" / "tiny" / "casp"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation/pairs/total"] < 10
    assert read(folder / "config.yaml") == read(TINY)
    assert checkpoint.read_header(folder / "checkpoint.safetensors").is_trained
    assert load_casp(folder / "checkpoint.safetensors").config == casp_config("tiny")


def test_the_audio_branch_starts_from_published_weights_and_the_speech_branch_does_not(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    beats = Beats(casp_config("tiny").beats)
    init_beats(beats)
    names = {"encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_layers": 1, "encoder_attention_heads": 2}
    cfg = {
        "activation_fn": "gelu", "layer_norm_first": False, "deep_norm": True, "gru_rel_pos": True, "conv_bias": False,
        "relative_position_embedding": True, "conv_pos": 8, "conv_pos_groups": 4, "num_buckets": 64,
        "max_distance": 160, "input_patch_size": 16, "embed_dim": 8, "dropout": 0.1, **names,
    }  # fmt: skip
    torch.save({"cfg": cfg, "model": beats.state_dict()}, tmp_path / "beats.pt")
    config = replace(read(TINY), casp=CaspTraining(size="tiny", beats=str(tmp_path / "beats.pt")))
    casp = trainer.make(config, is_resumed=False).objective.casp
    state = beats.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in casp.audio.state_dict().items())
    assert not torch.equal(casp.speech.patch_embedding.weight, casp.audio.patch_embedding.weight)
    assert all(parameter.requires_grad for parameter in casp.parameters())
    torch.save({"cfg": {**cfg, "dropout": 0.0}, "model": beats.state_dict()}, tmp_path / "beats.pt")
    trainer.start_from(casp, str(tmp_path / "beats.pt"))  # what is dropped in training is the run's affair
    torch.save({"cfg": {**cfg, "max_distance": 100}, "model": beats.state_dict()}, tmp_path / "beats.pt")
    with pytest.raises(CheckpointError, match=r"a BEATs of .*name the size that fits"):
        trainer.start_from(casp, str(tmp_path / "beats.pt"))


def test_hits_are_those_of_dualscores_retrieval():
    generator = torch.Generator().manual_seed(0)
    speech, audio = (torch.nn.functional.normalize(torch.randn(30, 4, generator=generator), dim=1) for _ in range(2))
    audio[3] = audio[4]  # a tie
    found = hits(speech.double() @ audio.double().T, ties="worst")
    expected = retrieval(speech, audio).speech_to_audio
    assert {k: float(share.mean()) for k, share in found.items()} == pytest.approx(expected)


def test_ties_by_chance_count_as_often_as_an_order_finds_the_partner():
    # Two lengths, four clips and one: the four are found by guessing among themselves.
    lengths = torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0])
    similarity = -(lengths[:, None] - lengths).abs()
    assert hits(similarity, ties="chance")[1].tolist() == [0.25] * 4 + [1.0]
    assert hits(similarity, ties="chance")[3].tolist() == [0.75] * 4 + [1.0]
    assert hits(similarity, ties="worst")[1].tolist() == [0.0] * 4 + [1.0]


def test_the_table_stands_beside_chance_and_baselines(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    run = "runs/tiny/casp/checkpoint.safetensors"
    casp_table.main(["--checkpoint", run, "--corpus", "corpus/validation", "--json", str(tmp_path / "casp.json")])
    printed = capsys.readouterr().out
    assert "**corpus/validation**: N = 9 pairs" in printed
    assert "| chance, k / N | mean of both | 11.1 % | 33.3 % | 55.6 % |" in printed
    table = json.loads((tmp_path / "casp.json").read_text())["tables"][0]
    by_name = {(line["ranked_by"], line["direction"]): line["top"] for line in table["lines"]}
    # Eight clips of two lengths and one silent one of a third.
    assert by_name["durations alone", "mean of both"]["1"]["value"] == pytest.approx((8 / 4 + 1) / 9)
    assert table["window"] == 1.0
    assert len(by_name) == 9
    assert all(0 <= share["value"] <= 1 for top in by_name.values() for share in top.values())
    assert -1 <= table["dualscore"]["value"] <= 1


def test_a_table_of_one_pair_or_of_another_checkpoint_is_refused(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    run = "runs/tiny/casp/checkpoint.safetensors"
    with pytest.raises(SystemExit):
        casp_table.main(["--checkpoint", run, "--corpus", "corpus/validation", "--limit", "1"])
    assert "expected at least two" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        casp_table.main(["--checkpoint", "none.safetensors", "--corpus", "corpus/validation"])
    assert "none.safetensors: no such file" in capsys.readouterr().err
