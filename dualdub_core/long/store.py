"""Windows that are finished already, by a fingerprint of everything that they depend on.

Nothing in it grows stale: what would be another window has another key.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..files import replacing

_SAMPLED = 256  # values of each tensor that tell two trainings apart


class WindowStore(Protocol):
    """Keeps the codes (B, 2, T) of windows."""

    def get(self, key: str) -> Tensor | None:
        """What was kept under a key."""

    def put(self, key: str, codes: Tensor) -> None:
        """Keep codes."""


class MemoryStore:
    """In memory; the least used go when there are too many frames."""

    def __init__(self, most_frames: int = 4_000_000) -> None:
        """Keep up to so many frames of takes, 16 bytes each."""
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._most = most_frames

    def get(self, key: str) -> Tensor | None:
        """What was kept under a key."""
        codes = self._kept.get(key)
        if codes is not None:
            self._kept.move_to_end(key)
        return codes

    def put(self, key: str, codes: Tensor) -> None:
        """Keep codes (B, 2, T)."""
        self._kept[key] = codes.clone()
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(kept[:, 0].numel() for kept in self._kept.values()) > self._most:
            self._kept.popitem(last=False)


class FolderStore:
    """A file a window; a run that was stopped goes on from them."""

    def __init__(self, folder: Path) -> None:
        """Keep files in a folder, which is made when the first is written."""
        self._folder = folder

    def get(self, key: str) -> Tensor | None:
        """What was kept under a key; a file that cannot be read was never kept."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            codes: Tensor | None = load_file(path).get("codes")
        except SafetensorError:
            return None
        return codes

    def put(self, key: str, codes: Tensor) -> None:
        """Keep codes (B, 2, T)."""
        with replacing(self._path(key)) as temporary:
            save_file({"codes": codes.contiguous()}, temporary)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"


def key_of(facts: Mapping[str, Any]) -> str:
    """32 hexadecimal digits of facts: tensors by their values, the rest as JSON."""
    digest = hashlib.sha256()
    for name in sorted(facts):
        value = facts[name]
        digest.update(name.encode() + b"\0")
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            plain = value.detach().to("cpu").contiguous()
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(json.dumps(value, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def module_id(module: nn.Module) -> str:
    """Fingerprint of a network's weights in their dtype, from values spread over each of its tensors."""
    values = []
    shapes = []
    for name, tensor in module.state_dict().items():
        flat = tensor.detach().reshape(-1)
        places = torch.linspace(0, max(0, flat.numel() - 1), min(flat.numel(), _SAMPLED), dtype=torch.float64)
        values.append(flat[places.long().to(flat.device)].float().cpu())
        shapes.append([name, list(tensor.shape), str(tensor.dtype)])
    return key_of({"shapes": shapes, "values": torch.cat(values)})
