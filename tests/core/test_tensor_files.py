"""Tensors in files."""

import torch
from safetensors import safe_open

from dualdub_core.tensor_files import save_tensors

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2, dtype=torch.int64)}
METADATA = {key: f'{key} \u4f60\u597d "quoted"\n\t\x07\x7f' for key in ("info", "config", "format", "name", "more")}


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    for number in range(8):  # the library draws an order anew each time
        save_tensors(tmp_path / f"{number}", TENSORS, METADATA)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_what_was_written_is_read(tmp_path):
    save_tensors(tmp_path / "x", TENSORS, METADATA)
    with safe_open(tmp_path / "x", "pt") as file:
        assert file.metadata() == METADATA
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {  # noqa: SIM118
            name: tensor.tolist() for name, tensor in TENSORS.items()
        }
