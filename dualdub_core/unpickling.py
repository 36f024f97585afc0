"""Weights in pickles, as torch saves them, opened as if they were written by an enemy."""

import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError, shortened
from .files import problem_of

# What torch and pickle raise over damaged bytes.
_DAMAGED = (
    RuntimeError, EOFError, OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ImportError,
    OverflowError, MemoryError, struct.error, zlib.error,
)  # fmt: skip


def unpickled(path: Path) -> Any:  # noqa: ANN401
    """What a `.ckpt`/`.pt`/`.bin` holds, without running its pickle.

    Raises:
        CheckpointError: missing, damaged, or with more in it than tensors and plain values.
    """
    if problem := problem_of(path):
        raise CheckpointError(f"{path}: {problem}")
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name}: refused, it holds more than tensors or is damaged ({shortened(error)}); "
            "get it from its authors, best as .safetensors"
        ) from error
    except _DAMAGED as error:
        told = shortened(error) if isinstance(error, (RuntimeError, EOFError, OSError)) else type(error).__name__
        raise CheckpointError(f"{path.name}: damaged or truncated ({told}); download it again") from error


def _check_archive(path: Path) -> None:
    """Refuse an archive that torch did not write: compressed, it could hold any number of bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise CheckpointError(f"{path.name}: damaged or truncated ({shortened(error)}); download it again") from error
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise CheckpointError(f"{path.name}: holds a program (TorchScript), expected weights; get them as .safetensors")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(f"{path.name}: refused, it is compressed, expected weights as torch stores them")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise CheckpointError(f"{path.name}: refused, it claims more bytes than the file has; download it again")


def holds_what_it_claims(tensor: Tensor) -> bool:
    """Whether every number has its place in memory; strides of 0 can make terabytes of one number."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
