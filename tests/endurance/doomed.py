"""Runs a command of ours that may end before its time: `doomed.py AT FOLDER MODULE ...`.

Before the AT-th change of a file below FOLDER the process kills itself, as `kill -9` would; with 0 it only counts them,
and writes the number to standard error. MODULE is run as `python -m` would, or `module:function` is called.
"""

import importlib
import os
import runpy
import signal
import sys
from pathlib import Path

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.link", "os.symlink"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Doom:
    """An audit hook that counts changes of files, and ends the process at one of them."""

    def __init__(self, at: int, folder: Path) -> None:
        self.at, self.folder, self.count = at, f"{folder.resolve()}{os.sep}", 0

    def __call__(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            is_change = isinstance(flags, int) and flags & _WRITES
        else:
            is_change, path = event in _CHANGES, arguments[0] if arguments else None
        if not is_change or not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        # Within rmtree names are relative to a descriptor.
        is_ours = os.path.abspath(name).startswith(self.folder) or (os.sep not in name and "open" not in event)  # noqa: PTH100
        if is_ours:
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    at, folder, target = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    sys.argv = [target, *sys.argv[4:]]
    module, _, function = target.partition(":")
    sys.path[0] = str(Path.cwd())
    doom = Doom(at, folder)
    sys.addaudithook(doom)
    result = 0
    if function:
        result = getattr(importlib.import_module(module), function)() or 0
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    if at == 0:
        print(f"changes: {doom.count}", file=sys.stderr)
    return result


if __name__ == "__main__":
    sys.exit(main())
