"""The folder of a run: one configuration, one process that writes, and the last whole state to go on from."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from dualdub_core.errors import ConfigError, InputError

from .config import RunConfig, read, write

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def has_state(folder: Path) -> bool:
    """Whether there is a checkpoint to resume from."""
    return (folder / "state").exists() or (folder / "state.previous").exists()


def state_folder(folder: Path) -> Path:
    """The last whole one; a run may have been stopped while it exchanged them."""
    return folder / "state" if (folder / "state").exists() else folder / "state.previous"


def claim(folder: Path, config: RunConfig) -> None:
    """Write the resolved configuration beside the checkpoints.

    Raises:
        ConfigError: the folder holds a run of another configuration.
    """
    path = folder / "config.yaml"
    if path.is_file() and has_state(folder):
        found, wanted = asdict(read(path)), asdict(config)
        different = sorted(key for key in wanted if found[key] != wanted[key] and key not in _MAY_CHANGE)
        if different:
            raise ConfigError(f"{folder}: holds a run with other {', '.join(different)}; use another folder")
    write(path, config)


_MAY_CHANGE = ("max_minutes", "log_every", "save_every", "validate_every", "validation_batches")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the only one who holds a file; it stays, empty, and says nothing of whether somebody does.

    Raises:
        InputError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not handed on to workers, as flock is
        except OSError as error:
            # A drive without locks cannot tell; POSIX says EWOULDBLOCK, Windows EACCES.
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise InputError(f"{path.parent}: another run writes there; wait for it, or choose a folder") from error
        yield
