"""Judges' networks that lie on this disk: a folder, or a name that was fetched before. Nothing is downloaded."""

import hashlib
from pathlib import Path

from ..errors import CheckpointError

WHISPER = "openai/whisper-large-v3"
"""The paper's recogniser."""

WAVLM = "microsoft/wavlm-base-plus-sv"
"""The speaker judge that the paper's figures point to."""


def local_folder(name: str | Path, what: str) -> Path:
    """The folder of a network.

    Args:
        name: a folder, or `owner/name` of the Hugging Face hub that is in its cache.
        what: the metric, for messages.

    Raises:
        CheckpointError: neither is there.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise CheckpointError(
            f"{what}: {name}: no such folder, nor fetched before under this name; nothing is downloaded by itself: run "
            f"'hf download {name}', or give a folder"
        ) from error


def folder_identity(folder: Path) -> str:
    """Tells a network's folder from others by names and sizes: weights are too large to be read for it."""
    facts = sorted((path.name, path.stat().st_size) for path in folder.iterdir() if path.is_file())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
