"""Files are there or not, and appear whole or not at all: written beside their target, then renamed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def problem_of(path: Path) -> str:
    """Why a path is not that of a file that can be opened, for messages; empty where it is."""
    try:
        if path.is_file():
            return ""
        return "is a folder, expected a file" if path.is_dir() else "no such file"
    except OSError as error:  # such as a name longer than any file's
        return f"cannot be opened ({(error.strerror or 'unknown reason').lower()}); give it another name"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the target's folder that becomes `path` when the block ends without an error.

    The temporary name keeps the suffix, since writers choose their format by it. The file gets the permissions that
    a plain `open` would give it, whatever the writer sets.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}{path.suffix}")
    temporary.touch()
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
