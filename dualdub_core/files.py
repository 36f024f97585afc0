"""Files are there or not, and appear whole or not at all: written in a hidden folder beside them, then renamed.

What is being written lies in `.HOST-RANDOM.part`. Whoever writes in a folder holds a shared lock on it, which the
system takes back however the writer ends. Where nobody holds one, hidden folders with this machine's name are what
killed runs left, and the next writer removes them. Windows and some network drives know no such locks: there they stay.
"""

import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

if sys.platform != "win32":
    import fcntl

# Another machine's locks may not be seen on a shared drive, so its folders are left alone.
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_LEFTOVER = re.compile(rf"\.{_HOST}-[0-9a-f]{{32}}\.part")


def problem_of(path: Path) -> str:
    """Why a path is not that of a file that can be opened, for messages; empty where it is."""
    try:
        if path.is_file():
            return ""
        return "is a folder, expected a file" if path.is_dir() else "no such file"
    except OSError as error:  # such as a name longer than any file's
        return f"cannot be opened ({(error.strerror or 'unknown reason').lower()}); give it another name"


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is hidden, as all that is not whole yet."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path of the same name that becomes `path` when the block ends without an error.

    The file gets the permissions that a plain `open` would give it, whatever the writer sets, and is on the disk before
    it gets its name, so that neither a kill nor a power cut leaves half of it.
    """
    with _beside(path) as folder:
        temporary = folder / path.name
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder that becomes `path` when the block ends without an error, in place of the one that is there.

    A kill leaves the old folder, the new one, or for a moment none; never a part of one.
    """
    with _beside(path) as folder:
        temporary = folder / path.name
        temporary.mkdir()
        yield temporary
        _swap(temporary, path, folder)


def remove_folder(path: Path) -> None:
    """Remove a folder and what is in it; a kill leaves all of it or nothing under its name."""
    if path.is_dir():
        with _beside(path) as folder:
            path.rename(folder / path.name)


def _swap(temporary: Path, path: Path, folder: Path) -> None:
    """Rename a folder, and the one that is there out of its way; another process may be doing the same."""
    for number in range(10):
        with suppress(FileNotFoundError):
            path.rename(folder / f"{number}")
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        else:
            return
    temporary.rename(path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A hidden folder beside a path, with all that writers may leave in it; gone at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _writing(path.parent):
        folder = path.with_name(f".{_HOST}-{uuid4().hex}.part")
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Hold the lock of those who write in a folder; whoever finds that nobody does tidies up first."""
    if sys.platform == "win32":
        yield
        return
    with suppress(OSError):  # somebody writes, or a drive without locks
        _tidy(folder.resolve())
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@cache
def _tidy(folder: Path) -> None:
    """Remove what killed runs left in a folder; once a process, as some folders hold very many files.

    Raises:
        OSError: somebody writes there, so it is tried again the next time.
    """
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for entry in list(folder.iterdir()):
                if _LEFTOVER.fullmatch(entry.name):
                    shutil.rmtree(entry, ignore_errors=True)
        finally:
            os.close(descriptor)
