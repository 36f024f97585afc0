import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dualdub_core import checkpoint, tensor_files
from dualdub_core.checks.inspection import kind_of
from dualdub_core.errors import CheckpointError
from dualdub_core.models.dualdub import DualDub

INFO = {"name": "tiny", "status": checkpoint.UNTRAINED}


@pytest.fixture
def saved(tmp_path, tiny_model):
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, {"model": tiny_model}, info=INFO)
    return path


def test_what_is_loaded_is_what_was_saved(saved, tiny_model):
    loaded = checkpoint.load(saved)
    model = loaded.modules["model"]
    assert model.config == tiny_model.config
    assert not model.training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), tiny_model.parameters(), strict=True))
    assert not any(p.requires_grad for p in model.parameters())


def test_the_header_is_readable_alone(saved, tiny_config):
    header = checkpoint.read_header(saved)
    assert header.configs == {"model": tiny_config}
    assert header.info == INFO
    assert not header.is_trained
    assert header.shapes["model.heads.weight"] == (50, 16)


def test_the_dtype_may_differ_by_component(saved):
    model = checkpoint.load(saved, dtype={"model": torch.bfloat16}).modules["model"]
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads the map of memory where Linux keeps it")
def test_weights_that_keep_their_type_are_the_file_and_others_leave_it(saved):
    def is_of_file(tensor):
        for line in Path("/proc/self/maps").read_text().splitlines():
            low, high = (int(end, 16) for end in line.split()[0].split("-"))
            if low <= tensor.data_ptr() < high:
                return line.endswith(str(saved))
        return False

    same = checkpoint.load(saved).modules["model"]
    other = checkpoint.load(saved, dtype=torch.bfloat16).modules["model"]
    assert all(is_of_file(parameter) for parameter in same.parameters())
    assert not any(is_of_file(parameter) for parameter in other.parameters())


def test_a_file_read_in_parts_gives_the_same_weights(saved, tiny_model, monkeypatch):
    monkeypatch.setattr(checkpoint, "_AT_ONCE", 1000)
    model = checkpoint.load(saved).modules["model"]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), tiny_model.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_nan_and_infinity_are_found_and_a_sum_that_overflows_is_not_one(dtype):
    largest = torch.finfo(dtype).max
    assert checkpoint.is_sound(torch.full((1000,), largest, dtype=dtype))
    for bad in (float("nan"), float("inf"), -float("inf")):
        tensor = torch.ones(1000, dtype=dtype)
        tensor[777] = bad
        assert not checkpoint.is_sound(tensor)
    assert not checkpoint.is_sound(torch.tensor([float("inf"), -float("inf")], dtype=dtype))


def test_a_component_the_file_lacks_is_named(saved):
    with pytest.raises(CheckpointError, match=r"tiny.safetensors: has no codec; it holds model"):
        checkpoint.load(saved, components=["codec"])


def test_a_truncated_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged, truncated or not safetensors"):
        checkpoint.load(saved)


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, struct.pack("<Q", 2**31) + b"{}", b"PK\x03\x04 not this"])
def test_what_is_not_safetensors_is_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged, truncated or not safetensors"):
        checkpoint.read_header(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere.safetensors: no such file"):
        checkpoint.load(tmp_path / "nowhere.safetensors")


def test_weights_of_another_origin_are_sent_to_their_own_loader(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    assert kind_of(path) == "other"
    with pytest.raises(CheckpointError, match="not a DualDub checkpoint of format 1"):
        checkpoint.load(path)


def test_a_configuration_with_an_unknown_key_is_refused(saved, tmp_path):
    tensors = checkpoint.read_published(saved)
    config = json.dumps({"model": {"depth": 1}})
    path = tmp_path / "changed.safetensors"
    save_file(tensors, path, metadata={"dualdub_format": "1", "config": config, "info": "{}"})
    with pytest.raises(CheckpointError, match=r"unknown keys \['depth'\]"):
        checkpoint.load(path)


def rewritten(saved, tmp_path, change):
    tensors = checkpoint.read_published(saved)
    change(tensors)
    header = checkpoint.read_header(saved)
    metadata = {
        "dualdub_format": "1",
        "config": json.dumps({"model": checkpoint.to_dict(header.configs["model"])}),
        "info": json.dumps(header.info),
    }
    path = tmp_path / "changed.safetensors"
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.heads.weight"), "missing heads.weight"),
        (lambda t: t.update({"model.extra": torch.zeros(1)}), "unexpected extra"),
        (
            lambda t: t.update({"model.heads.weight": torch.zeros(3, 16)}),
            r"wrong shapes: heads.weight is \(3, 16\), expected \(50, 16\)",
        ),
    ],
)
def test_keys_and_shapes_must_fit_exactly(saved, tmp_path, change, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(rewritten(saved, tmp_path, change))


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "owned"

    class Hostile:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": Hostile()}}, path)
    with pytest.raises(CheckpointError, match="refused, it holds more than tensors"):
        checkpoint.read_published(path)
    assert not marker.exists()


def test_a_lightning_container_is_opened_and_a_truncated_one_refused(tmp_path):
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.arange(5)}, "epoch": 3}, path)
    assert torch.equal(checkpoint.read_published(path)["a"], torch.arange(5))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"x.ckpt: (damaged or truncated|refused)"):
        checkpoint.read_published(path)


def test_a_save_that_fails_leaves_the_old_file_whole(saved, tiny_config, monkeypatch):
    before = saved.read_bytes()

    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(tensor_files, "save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(saved, {"model": DualDub(tiny_config)}, info=INFO)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_every_file_says_whether_it_was_trained(tmp_path, tiny_model):
    with pytest.raises(CheckpointError, match="info needs a name and a status"):
        checkpoint.save(tmp_path / "x.safetensors", {"model": tiny_model}, info={"name": "x"})
