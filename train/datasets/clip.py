"""What every layout is read into: where one clip's sound and pictures lie, and what is known about them.

Finding clips opens no media file. What is missing or broken shows when a clip is read (`train.stems`) and is
reported there.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from dualdub_core.errors import InputError
from dualdub_core.types import Task

_TEST_SHARE, _VALIDATION_SHARE = 0.05, 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One row of a corpus before its media are read.

    Attributes:
        id: unique over all data sets.
        task: what it can teach.
        split: train, validation or test.
        source: the data set.
        sound: file whose sound track it is.
        picture: file whose pictures it is; None for speech alone.
        is_mix: whether the sound has to be separated into stems.
        start: seconds into the files, for parts of films.
        duration: seconds; None is to the end.
        text: what is said.
        speaker: who says it, unique over all data sets; "" where unknown or several.
        lang: of the text.
    """

    id: str
    task: Task
    split: str
    source: str
    sound: Path
    picture: Path | None = None
    is_mix: bool = False
    start: float = 0.0
    duration: float | None = None
    text: str = ""
    speaker: str = ""
    lang: str = "en"

    @property
    def is_part(self) -> bool:
        """Whether it lies in a longer film."""
        return self.duration is not None

    def fingerprint(self) -> str:
        """Changes when what is known about the clip does, or its files come, go or change in size."""
        files = (self.sound, self.picture)
        sizes = [path.stat().st_size if path is not None and path.is_file() else None for path in files]
        facts = (self.id, self.task.value, self.is_mix, self.start, self.duration, self.text, self.speaker, self.lang)
        return repr((*facts, sizes))


def split_by(key: str) -> str:
    """The split of everything that shares `key`, where a data set comes without splits: 5 % test, 5 % validation."""
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    if share < _TEST_SHARE:
        return "test"
    return "validation" if share < _TEST_SHARE + _VALIDATION_SHARE else "train"


def required(path: Path, what: str) -> Path:
    """A file or folder that the layout cannot do without.

    Raises:
        InputError: it is not there.
    """
    if not path.exists():
        raise InputError(f"{path}: not there, expected {what}; give the data set's own folder")
    return path
