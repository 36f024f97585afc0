"""The most memory that this process has held, as Linux counts it; and the same of tensors, as operations make them."""

import re
import weakref
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak() -> int:
    """Bytes of resident memory at the peak since the start or since `forget`."""
    return _field("VmHWM")


def resident() -> int:
    """Bytes of resident memory now, mapped files and all."""
    return _field("VmRSS")


def anonymous() -> int:
    """Bytes of resident memory now that no file stands behind."""
    return _field("RssAnon")


def forget() -> None:
    """Let the peak begin anew."""
    RESET.write_text("5")


def _field(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


class Ledger(TorchDispatchMode):
    """Bytes of the tensors of one device that operations made and that are still alive.

    What kernels take for themselves while they run is not in it, nor is an allocator's rounding.
    """

    def __init__(self, device: str = "cpu") -> None:
        """Count tensors of a type of device, "meta" too."""
        super().__init__()
        self.live = self.peak = 0
        self._device, self._known = device, WeakIdKeyDictionary()

    def _drop(self, size: int) -> None:
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == self._device:
                storage = tensor.untyped_storage()
                if storage not in self._known:
                    self._known[storage] = True
                    self.live += storage.nbytes()
                    weakref.finalize(storage, self._drop, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return result
