"""Files that are no films, or broken ones, or parts that a film does not have: refused by every reader alike."""

import math
import struct
import zipfile
import zlib

import pytest
import torch

from dualdub_core.media.film import read_film
from dualdub_core.media.muxing import mux
from dualdub_core.media.sound import probe
from dualdub_core.media.video import frames_from_images, read_frames
from dualdub_core.types import Audio

SOUND = Audio(torch.zeros(1, 1, 2400), 24_000)
READERS = {
    "probe": lambda path: probe(path),
    "read_frames": lambda path: read_frames(path, size=16),
    "read_film": lambda path: read_film(path, count=3, height=8),
    "mux": lambda path: mux(path, SOUND, path.parent / "dubbed" / "out.mp4"),
}


def png(width, height, rows=b""):
    """A PNG file with this size in its header."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def box(data, name):
    """Where the content of an mp4 box begins and how long it is."""
    at = data.index(name)
    return at + 4, struct.unpack_from(">I", data, at - 4)[0] - 8


def blanked(data, name):
    """An mp4 file with zeros for what a box holds."""
    start, length = box(data, name)
    return data[:start] + bytes(length) + data[start + length :]


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("film.mp4", b"x")


def wav(frames=80, rate=8000):
    samples = bytes(2 * frames)
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    head = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(samples))
    return b"RIFF" + struct.pack("<I", len(head) + len(samples)) + head + samples


def linked_in_a_circle(path):
    path.symlink_to(path)


NOT_MEDIA = "not a video or sound file|no picture stream|cannot be decoded|no picture can be|no picture of this part"
NO_PICTURES = "no picture stream"
# name of the file, what is in it (bytes, or a function that makes it), what the message says
FILMS = {
    "zero bytes": ("a.mp4", b"", r"a\.mp4: the file is empty \(0 bytes\); get it again"),
    "one byte": ("a.mp4", b"\0", NOT_MEDIA),
    "the first bytes of a film": ("a.mp4", lambda f: f["mp4"][:64], "not a video or sound file"),
    "half a film": ("a.mp4", lambda f: f["mp4"][: len(f["mp4"]) // 2], NOT_MEDIA),
    "a film without its index": ("a.mp4", lambda f: f["mp4"][: f["mp4"].index(b"mdat") + 60], "damaged or cut off"),
    "an index of zeros": ("a.mp4", lambda f: blanked(f["mp4"], b"moov"), NOT_MEDIA),
    "an index without pictures": ("a.mp4", lambda f: blanked(f["mp4"], b"stsz"), "0 frames|no picture|not a video"),
    "a film cut in its header": ("a.mkv", lambda f: f["mkv"][:200], NOT_MEDIA),
    "random bytes": ("a.mp4", bytes((i * i * 7919 + i) % 251 for i in range(5000)), NOT_MEDIA),
    "words": ("a.mp4", b"once upon a time " * 99, "not a video or sound file"),
    "a web page": ("a.mp4", b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 9, "not a video or sound file"),
    "captions called mp4": ("a.mp4", b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 5, NOT_MEDIA),
    "a recording called mp4": ("a.mp4", wav(), NO_PICTURES),
    "a recording": ("a.wav", wav(), NO_PICTURES),
    "an archive called mp4": ("a.mp4", archive, "not a video or sound file"),
    "a picture that claims 40 000 pixels a side": ("a.png", png(40_000, 40_000), NOT_MEDIA),
    "a picture of no width": ("a.png", png(0, 24), NOT_MEDIA),
    "a picture without pixels": ("a.png", png(32, 24), NOT_MEDIA),
    "a playlist of an address": (
        "a.m3u8",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        NOT_MEDIA + "|0 frames",
    ),
    "a list of somebody's files": ("a.mp4", b"ffconcat version 1.0\nfile '/etc/hostname'\n", NOT_MEDIA + "|0 frames"),
    "a folder": ("a.mp4", lambda path: path.mkdir(), r"a\.mp4: is a folder, expected a file"),
    "nothing": ("a.mp4", None, r"a\.mp4: no such file; check the path"),
    "a link to nothing": ("a.mp4", lambda path: path.symlink_to(path.with_name("gone.mp4")), "no such file"),
    "a link to itself": ("a.mp4", linked_in_a_circle, "no such file"),
    "a name too long for any file": ("a" * 300 + ".mp4", None, "cannot be opened .*name too long"),
    "a name with a zero in it": ("a\0.mp4", None, "no such file"),
}


def made(tmp_path, film_bytes, name, content):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        by_kind = content.__code__.co_varnames[0] == "f"
        data = content(film_bytes if by_kind else path)
        if by_kind:
            path.write_bytes(data)
    return path


# A copy does not look at pictures, so mux takes those that cannot be decoded.
CASES = {f"{case}-{reader}": (FILMS[case], reader) for case in FILMS for reader in READERS}
CASES = {name: case for name, case in CASES.items() if case[1] != "mux" or not case[0][0].endswith(".png")}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_no_film_is_refused_by_every_reader(tmp_path, film_bytes, refused, case):
    (name, content, says), reader = case
    path = made(tmp_path, film_bytes, name, content)
    (tmp_path / "dubbed").mkdir()
    with refused(says):
        READERS[reader](path)


PARTS = {
    "a start before the film": ({"start": -1.0}, "got a start at -1.0 s, expected 0 up to less than the clip's 0.400"),
    "a start at the end": ({"start": 0.4}, "got a start at 0.4 s"),
    "a start beyond the film": ({"start": 1e18}, r"got a start at 1e\+18 s"),
    "a start that is no number": ({"start": math.nan}, "got a start at nan s"),
    "a start at infinity": ({"start": math.inf}, "got a start at inf s"),
    "a start in words": ({"start": "0.1"}, "got a start at '?0.1'? s"),
    "no duration": ({"duration": 0.0}, "got a duration of 0.0 s, expected more than 0, or none for all of it"),
    "a negative duration": ({"duration": -1.0}, "got a duration of -1.0 s"),
    "a duration that is no number": ({"duration": math.nan}, "got a duration of nan s"),
    "a duration in words": ({"duration": "1"}, "got a duration of '?1'? s"),
}
PART_READERS = {
    "read_frames": lambda path, **part: read_frames(path, size=16, **part),
    "read_film": lambda path, **part: read_film(path, count=3, height=8, **part),
    "mux": lambda path, **part: mux(path, SOUND, path.with_name("out.mkv"), **part),
}


@pytest.mark.parametrize("reader", PART_READERS)
@pytest.mark.parametrize("case", PARTS.values(), ids=PARTS)
def test_a_part_that_a_film_does_not_have_is_refused(tmp_path, film_bytes, refused, case, reader):
    path = tmp_path / "a.mp4"
    path.write_bytes(film_bytes["mp4"])
    part, says = case
    with refused(says):
        PART_READERS[reader](path, **part)


TARGETS = {
    "a kind of file that is not known": ("out.xyz", SOUND, "got suffix '.xyz', expected one of .mp4"),
    "no kind of file": ("out", SOUND, "got suffix ''"),
    "no sound at all": ("out.mp4", {}, "got no sound, expected at least one track"),
    "a sound of no samples": ("out.mp4", torch.zeros(1, 1, 0), "soundtrack: got 0 samples"),
    "a sound with NaN": ("out.mp4", torch.full((1, 1, 9), math.nan), "soundtrack: got NaN or infinite samples"),
    "an infinite sound": ("out.mkv", torch.full((1, 2, 9), math.inf), "got NaN or infinite samples"),
    "two sounds at once": ("out.mp4", torch.zeros(2, 1, 9), "got a batch of 2 sounds, expected one"),
    "7.1 sound": ("out.mp4", torch.zeros(1, 8, 9), "got 8 channels, expected 1 or 2; mix it down"),
    "a track of no samples": ("out.mov", {"Speech": torch.zeros(1, 1, 0)}, "track 'Speech': got 0 samples"),
}


@pytest.mark.parametrize("case", TARGETS.values(), ids=TARGETS)
def test_a_film_that_cannot_be_dubbed_leaves_no_file(tmp_path, film_bytes, refused, case):
    source = tmp_path / "a.mp4"
    source.write_bytes(film_bytes["mp4"])
    name, sound, says = case
    if isinstance(sound, torch.Tensor):
        sound = Audio(sound, 24_000)
    elif isinstance(sound, dict):
        sound = {track: Audio(waveform, 24_000) for track, waveform in sound.items()}
    with refused(says):
        mux(source, sound, tmp_path / name)


PICTURES = {
    "no pictures": (torch.zeros(0, 4, 4, 3), 25.0, "expected .*at least one"),
    "pictures of no height": (torch.zeros(2, 0, 4, 3), 25.0, "expected .*at least one"),
    "grey pictures": (torch.zeros(2, 4, 4, 1), 25.0, r"got shape \(2, 4, 4, 1\)"),
    "one picture without its axis": (torch.zeros(4, 4, 3), 25.0, r"got shape \(4, 4, 3\)"),
    "no frame rate": (torch.zeros(2, 4, 4, 3), 0.0, "got 0.0 fps, expected a positive number"),
    "a frame rate that is no number": (torch.zeros(2, 4, 4, 3), math.nan, "got nan fps"),
    "an infinite frame rate": (torch.zeros(2, 4, 4, 3), math.inf, "got inf fps"),
    "a frame rate in words": (torch.zeros(2, 4, 4, 3), "25", "got '?25'? fps"),
    "a picture every month": (torch.zeros(2, 4, 4, 3), 1e-7, "expected at most"),
    "pictures with NaN": (torch.full((2, 4, 4, 3), math.nan), 25.0, "NaN or infinite"),
}


@pytest.mark.parametrize("case", PICTURES.values(), ids=PICTURES)
def test_pictures_that_are_no_film_are_refused(refused, case):
    images, fps, says = case
    with refused(says):
        frames_from_images(images, fps=fps, size=8)
