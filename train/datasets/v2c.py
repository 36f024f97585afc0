"""V2C-Animation: published subtitles and who says which; the films are one's own.

    movie_speaker_id.json   film -> character -> numbers of subtitles     as published
    SRT/<film>.srt                                                        as published
    movies/<film>.mp4       or .mkv and others: the film with its full mix
    test.txt                one `<film>@<character>_00_<number>_00|...` a line, where there is a test list

The wav files that V2C's own tool cuts are never read: its preparation keeps the centre channel of 5.1 so as to lose
the background, and cuts at key frames. Clips here are parts of the films, cut to the sample when they are read.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dualdub_core.errors import InputError
from dualdub_core.types import Task

from .clip import Clip, required

_STAMP = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})[.,](\d{1,3})")
_TAGS = re.compile(r"<[^>]*>|\{[^}]*\}")
_NAME = re.compile(r"(?P<film>[^@|]+)@(?P<character>.+?)_00_(?P<number>\d+)(?:_00)?$")


@dataclass(frozen=True, slots=True)
class Subtitle:
    """Text on the screen from `start` to `end` seconds."""

    start: float
    end: float
    text: str


def v2c_clips(root: Path) -> Iterator[Clip]:
    """Clips film by film; without `test.txt` all are for training.

    Raises:
        InputError: no list of speakers, no subtitles of a film, or none of that number.
    """
    listed = required(root / "movie_speaker_id.json", "V2C-Animation's list of who says what")
    movies = required(root / "movies", "the films, named as in movie_speaker_id.json")
    films = {path.stem: path for path in sorted(movies.iterdir()) if path.is_file()}
    tests = _listed_for_test(root / "test.txt")
    for film, characters in sorted(json.loads(listed.read_text(encoding="utf-8")).items()):
        path = required(root / "SRT" / f"{film}.srt", "V2C-Animation's subtitles")
        subtitles = read_subtitles(path.read_text(encoding="utf-8-sig", errors="replace"))
        media = films.get(film, movies / f"{film}.mp4")
        for character, numbers in sorted(characters.items()):
            for number in map(int, numbers):
                if number >= len(subtitles):
                    raise InputError(f"{path}: has {len(subtitles)} subtitles, {character} says number {number}")
                subtitle = subtitles[number]
                yield Clip(
                    id=f"v2c/{film}/{character}/{number:04d}",
                    task=Task.JOINT,
                    split="test" if (film, character, number) in tests else "train",
                    source="v2c",
                    sound=media,
                    picture=media,
                    is_mix=True,
                    start=subtitle.start,
                    duration=round(subtitle.end - subtitle.start, 3),
                    text=subtitle.text,
                    speaker=f"v2c/{film}/{character}",
                )


def read_subtitles(content: str) -> list[Subtitle]:
    """The subtitles of an SRT file, by position from 0: that, not the number printed there, is what V2C counts by."""
    lines = content.splitlines()
    timed = [index for index, line in enumerate(lines) if len(_STAMP.findall(line)) == 2]
    subtitles = []
    for index, after in zip(timed, [*timed[1:], len(lines) + 1], strict=False):
        # Just before the next times is the next number.
        text = " ".join(lines[index + 1 : after - 1])
        start, end = (_seconds(*stamp) for stamp in _STAMP.findall(lines[index]))
        subtitles.append(Subtitle(start, end, " ".join(_TAGS.sub(" ", text).split())))
    return subtitles


def _seconds(hours: str, minutes: str, seconds: str, fraction: str) -> float:
    return (int(hours) * 60 + int(minutes)) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _listed_for_test(path: Path) -> set[tuple[str, str, int]]:
    if not path.is_file():
        return set()
    tests = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        name = _NAME.match(line.split("|")[0].strip())
        if name is None:
            raise InputError(f"{path}: got {line!r}, expected <film>@<character>_00_<number>_00 and more after |")
        tests.add((name["film"], name["character"], int(name["number"])))
    return tests
