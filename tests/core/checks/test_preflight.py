import json
from dataclasses import replace

import pytest
import torch

from dualdub_core import checkpoint
from dualdub_core.checkpoint import Header
from dualdub_core.checks.doctor import complaints, environment, free_memory
from dualdub_core.checks.estimate import Machine, estimate, measure_machine, parameters, vae_work
from dualdub_core.checks.preflight import missing_models, preflight
from dualdub_core.hub import PUBLISHED
from dualdub_core.models.oobleck import Oobleck, OobleckConfig
from dualdub_core.scripts.formats import parse_script
from dualdub_core.system import BUILTIN
from dualdub_core.types import Task

MACHINE = Machine(read_rate=10e9, work_rate=1e11, dispatch=5e-6, free_bytes=8 * 10**9)
SCRIPT = parse_script("[00:00.1-00:00.9] one two")


def header() -> Header:
    return checkpoint.read_header(BUILTIN)


def verdicts(found) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for check in found.checks:
        told.setdefault(check.name, []).append(check.verdict)
    return told


def test_a_run_that_will_work_is_ready_and_needs_no_weights(make_video):
    found = preflight(BUILTIN, MACHINE, source=make_video(), script=SCRIPT)
    assert found.ready
    assert "1.000 s, 25.000 fps, 25 pictures of 64x48" in found.table()
    assert found.table().endswith("ready")
    assert set(found.as_dict()["estimate"]["seconds"]) == {"generate", "watch", "flow", "vae"}
    json.dumps(found.as_dict())


def test_what_will_not_work_is_a_row_each(make_video, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_text("words")
    text = preflight(BUILTIN, MACHINE, source=broken).table()
    assert "broken.mp4" in text
    assert "none given, and task 'joint' needs one" in text
    assert text.endswith("2 problems")
    late = preflight(BUILTIN, MACHINE, source=make_video(), script=parse_script("[00:09] late"))
    assert verdicts(late)["script"] == ["problem"]
    much = preflight(BUILTIN, MACHINE, source=make_video(), script=parse_script("[0:00.1-0:00.2] " + "word " * 20))
    assert "too long" in much.table()
    poor = preflight(BUILTIN, replace(MACHINE, free_bytes=10**6), source=make_video(), script=SCRIPT)
    assert verdicts(poor)["memory"] == ["problem"]
    none = preflight(tmp_path / "no.safetensors", MACHINE, source=make_video(), script=SCRIPT)
    assert verdicts(none)["model"] == ["problem"]
    assert none.estimate is None


def test_variable_frame_rates_and_sound_are_told(make_video):
    found = preflight(BUILTIN, MACHINE, source=make_video(rate=30, stamps=[0, 1, 2, 7, 8]), script=SCRIPT)
    assert "varies" in found.table()


def test_a_part_that_a_checkpoint_lacks_is_told_with_its_address_and_folder(make_video, tmp_path, tiny_model):
    path = tmp_path / "half.safetensors"
    checkpoint.save(path, {"model": tiny_model}, info={"name": "half", "status": "trained"})
    found = preflight(path, MACHINE, source=make_video(), script=SCRIPT, models=tmp_path, present=("decoder",))
    text = found.table()
    assert PUBLISHED["clip"].url in text
    assert str(tmp_path) in text
    assert PUBLISHED["vae"].licence in text
    assert not found.ready
    (tmp_path / PUBLISHED["vae"].save_as).touch()
    assert "load it with its own loader" in preflight(path, MACHINE, source=make_video(), models=tmp_path).table()
    assert len(missing_models(tmp_path)) == len(PUBLISHED) - 1
    assert len(missing_models(None)) == len(PUBLISHED)


def test_speech_alone_needs_no_video_and_background_alone_no_script(make_video):
    assert preflight(BUILTIN, MACHINE, script=SCRIPT, duration=1.0, task=Task.SPEECH).ready
    assert preflight(BUILTIN, MACHINE, source=make_video(), task=Task.BACKGROUND).ready


def test_work_grows_as_it_must():
    base = estimate(header(), MACHINE, duration=10.0)
    double = estimate(header(), MACHINE, duration=20.0)
    assert double.seconds["generate"] == pytest.approx(2 * base.seconds["generate"])
    assert estimate(header(), MACHINE, duration=10.0, num_steps=20).seconds["flow"] == pytest.approx(
        2 * base.seconds["flow"]
    )
    assert estimate(header(), MACHINE, duration=10.0, takes=2).memory["cache"] == 2 * base.memory["cache"]
    half = estimate(header(), MACHINE, duration=10.0, weight_bytes=2)
    assert half.total_bytes < base.total_bytes
    codec = estimate(header(), MACHINE, duration=10.0, decoder="codec")
    assert codec.total_seconds < base.total_seconds


def test_the_work_of_stable_audios_vae_is_what_others_count():
    with torch.device("meta"):
        vae = Oobleck(OobleckConfig.paper())
    shapes = {f"vae.{name}": tuple(tensor.shape) for name, tensor in vae.state_dict().items()}
    facts = Header(configs={"vae": vae.config}, info={}, shapes=shapes)
    assert vae_work(facts) * 44_100 / 2048 == pytest.approx(108.6e9, rel=1e-3)
    assert parameters(facts)["vae"] == sum(tensor.numel() for tensor in vae.state_dict().values())


def test_the_machine_is_measured_in_a_moment():
    machine = measure_machine(free_bytes=1)
    assert 1e7 < machine.read_rate < 1e13
    assert 1e8 < machine.work_rate < 1e16
    assert 1e-8 < machine.dispatch < 0.1


def test_the_report_for_bug_threads_holds_no_path_and_no_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    report = environment()
    text = json.dumps(report)
    assert "hf_secret" not in text
    assert str(tmp_path) not in text
    assert str(BUILTIN.parent) not in text
    assert {"HF_TOKEN", "HF_HOME"} <= set(report["set"])
    assert report["packages"]["torch"]
    assert report["built_in_model"]["fingerprint"]
    assert complaints(report) == []
    assert complaints({**report, "encoders": []})[0].startswith("this FFmpeg has no AAC")
    assert complaints({**report, "packages": {"av": None}}) == ["av is not installed"]
    assert free_memory("cpu") is None or free_memory("cpu") > 0
