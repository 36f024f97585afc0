"""Every trainer and every stage runs from its yaml file, in order, on a toy corpus."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from dualdub_core import checkpoint
from dualdub_core.errors import ConfigError
from dualdub_core.system import load_system
from train import assemble, precompute
from train import run as train_run
from train.config import read, write
from train.folder import state_folder

CONFIGS = Path(__file__).parents[2] / "train" / "configs"
TINY = CONFIGS / "tiny"


@pytest.fixture(scope="module")
def trained(toy_corpus, tmp_path_factory):
    """A folder in which everything tiny was trained."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "corpus").symlink_to(toy_corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("codec_decoder", "codec_encoder", "codec_joint", "vae"):
            _train(TINY / f"{name}.yaml")
        codec, vae = (f"runs/tiny/{part}/checkpoint.safetensors" for part in ("codec", "vae"))
        for split in ("train", "validation"):
            _precompute(f"corpus/{split}", f"prepared/{split}", "--codec", codec, "--keep-pictures")
            _precompute(f"corpus/{split}", f"latents/{split}", "--codec", codec, "--vae", vae)
        for name in ("flow", "video_encoder"):
            _train(TINY / f"{name}.yaml")
        encoder = ["--video-encoder", "runs/tiny/video_encoder/checkpoint.safetensors"]
        for split in ("train", "validation"):
            _precompute(f"prepared/{split}", f"featured/{split}", *encoder)
        for stage in (1, 2, 3):
            _train(TINY / f"language_{stage}.yaml")
    return folder


def _train(path):
    AcceleratorState._reset_state()  # a process of its own would start without one
    train_run.main([str(path)])


def _precompute(source, target, *options):
    precompute.main(["--corpus", source, "--out", target, *options])


def test_every_trainer_and_stage_runs_and_leaves_a_trained_checkpoint(trained):
    runs = sorted(path.name for path in (trained / "runs" / "tiny").iterdir())
    stages = [f"language_{stage}" for stage in (1, 2, 3)]
    assert runs == ["codec", "codec_decoder", "codec_encoder", "flow", *stages, "vae", "video_encoder"]
    for name in runs:
        folder = trained / "runs" / "tiny" / name
        assert checkpoint.read_header(folder / "checkpoint.safetensors").is_trained
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert any("validation/total" in line for line in metrics)
        assert read(folder / "config.yaml") == read(TINY / f"{_config_of(name)}.yaml")


def _config_of(run):
    return {"codec": "codec_joint"}.get(run, run)


def test_the_joined_parts_load_as_one_system(trained, tmp_path):
    runs = trained / "runs" / "tiny"
    parts = {"model": "language_3", "video_encoder": "video_encoder", "codec": "codec", "decoder": "flow", "vae": "vae"}
    options = [f"--{part.replace('_', '-')}={runs / run}" for part, run in parts.items()]
    assemble.main(["--out", str(tmp_path / "tiny.safetensors"), "--name", "tiny", "--note", "hours=0", *options])
    system = load_system(tmp_path / "tiny.safetensors")
    assert system.header.is_trained
    assert system.header.info["parts"]["vae"]["updates"] == 4
    assert system.header.info["provenance"] == {"hours": "0"}
    assert None not in (system.model, system.video_encoder, system.codec, system.decoder, system.vae)


def test_rows_with_a_silent_stem_are_left_out_with_the_reason(trained):
    report = (trained / "prepared" / "train" / "left_out.jsonl").read_text().splitlines()
    reasons = {entry["id"]: entry["reason"] for entry in map(json.loads, report)}
    assert set(reasons) == {"background-8", "speech-8", "joint-8"}
    assert all("below -40 dB" in reason for reason in reasons.values())


def test_only_what_a_phase_trains_has_changed(trained):
    def codec(run):
        path = trained / "runs" / "tiny" / run / "checkpoint.safetensors"
        return checkpoint.load(path).modules["codec"].state_dict()

    decoder, encoder, joint = codec("codec_decoder"), codec("codec_encoder"), codec("codec")
    torch.testing.assert_close(decoder["codebook.weight"], encoder["codebook.weight"])
    assert not torch.equal(joint["codebook.weight"], decoder["codebook.weight"])
    assert not torch.equal(joint["encoder.conv_in.weight"], encoder["encoder.conv_in.weight"])


def test_a_resumed_run_equals_the_uninterrupted_one_to_the_last_digit(trained, tmp_path, monkeypatch):
    whole = read(TINY / "language_3.yaml")
    monkeypatch.chdir(trained)
    values = (TINY / "language_3.yaml").read_text()
    for name, minutes in (("whole", "0.0"), ("halves", "0.000000001")):
        text = values.replace("folder: runs/tiny/language_3", f"folder: {tmp_path / name}")
        (tmp_path / f"{name}.yaml").write_text(text + f"max_minutes: {minutes}\n")
    _train(tmp_path / "whole.yaml")
    for _ in range(whole.num_updates):  # stopped after every update
        _train(tmp_path / "halves.yaml")
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "halves")]
    assert lines[0] == lines[1]
    one, other = (
        checkpoint.load(tmp_path / name / "checkpoint.safetensors").modules["model"].state_dict()
        for name in ("whole", "halves")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert state_folder(tmp_path / "halves").name == "state"


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_same_global_batch(trained, tmp_path):
    text = (TINY / "language_3.yaml").read_text().replace("global_batch: 4", "global_batch: 8")
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(text.replace("runs/tiny/language_3", str(tmp_path / name)))
    environment = {
        **os.environ,
        "PYTHONPATH": str(CONFIGS.parents[1]),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    for name, count in (("one", 1), ("two", 2)):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        command = [*launch, "-m", "train.run", str(tmp_path / f"{name}.yaml")]
        subprocess.run(command, cwd=trained, env=environment, check=True, capture_output=True)
        # Each process keeps its own generators.
        assert len(list((tmp_path / name / "state").glob("random_states_*.pkl"))) == count
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [set(line) for line in one] == [set(line) for line in two]
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=2e-3)  # bfloat16 in the tiny run, summed in another order


def test_another_configuration_does_not_continue_a_run(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    text = (TINY / "flow.yaml").read_text().replace("num_updates: 4", "num_updates: 6")
    (tmp_path / "flow.yaml").write_text(text)
    with pytest.raises(SystemExit):
        _train(tmp_path / "flow.yaml")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("[!a]*/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_configuration_passes_a_dry_run(path, capsys):
    train_run.main([str(path), "--dry-run"])
    assert "parameters" in capsys.readouterr().out


def test_a_configuration_reads_as_it_was_written(tmp_path):
    config = read(TINY / "video_encoder.yaml")
    write(tmp_path / "config.yaml", config)
    assert read(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("vae:", "flow:\n  size: tiny\nvae:"), "exactly one of"),
        (("num_updates: 4", "num_epochs: 0"), "num_updates or num_epochs"),
        (("global_batch: 4", "global_batch: 2"), "smaller than a micro-batch"),
        (("size: tiny", "size: huge"), "expected one of"),
        (("kl:", "lk:"), "unknown keys"),
    ],
)
def test_contradictions_are_refused(tmp_path, change, message):
    text = (TINY / "vae.yaml").read_text()
    assert change[0] in text
    (tmp_path / "vae.yaml").write_text(text.replace(*change, 1))
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / "vae.yaml")
