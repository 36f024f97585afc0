"""Tensors in a safetensors file whose bytes depend on nothing but what it holds.

The library writes a header's metadata in an order drawn at random, so equal runs would leave files of different hashes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts; the same ones give the same bytes.

    Args:
        path: a temporary file, see `files.replacing`.
        tensors: contiguous, on the CPU.
        metadata: free texts of the header.
    """
    save_file(dict(tensors), path, metadata=dict(metadata))
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(text) <= size
        file.seek(8)
        file.write(text.ljust(size))
