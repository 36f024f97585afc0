"""Films that are odd but legal: looked at, dubbed, and exactly as long afterwards."""

import struct
from fractions import Fraction

import av
import pytest
import torch

from dualdub_core.media.muxing import mux
from dualdub_core.media.sound import probe, read_audio
from dualdub_core.media.video import frames_from_images, read_frames
from dualdub_core.timing import num_samples, video_feature_times
from dualdub_core.types import Audio

RATE = 24_000


def with_hours(data, hours=3):
    """An mp4 file whose headers, all of them, say that it lasts hours."""
    data = bytearray(data)
    for name, scale, length in ((b"mvhd", 12, 16), (b"tkhd", None, 20), (b"mdhd", 12, 16)):
        at = data.index(name) + 4
        ticks = 1000 if scale is None else struct.unpack_from(">I", data, at + scale)[0]
        struct.pack_into(">I", data, at + length, hours * 3600 * ticks)
    return bytes(data)


def with_size(data, width, height):
    """An mp4 file whose headers claim another size than its pictures have."""
    data = bytearray(data)
    struct.pack_into(">II", data, data.index(b"tkhd") + 4 + 76, width << 16, height << 16)
    struct.pack_into(">HH", data, data.index(b"mp4v") + 4 + 24, width, height)
    return bytes(data)


def damaged(data):
    """A film with bytes changed in the middle of its pictures."""
    middle = data.index(b"mdat") + 200
    return data[:middle] + b"\xff" * 40 + data[middle + 40 :]


# name of the file; how it is drawn, or bytes made of a good one; seconds that it lasts, pictures that it has
FILMS = {
    "one picture": ("a.mp4", {"count": 1}, 0.04, 1),
    "two pictures": ("a.mp4", {"count": 2}, 0.08, 2),
    "one picture a second": ("a.mp4", {"count": 2, "rate": 1}, 2.0, 2),
    "240 pictures a second": ("a.mp4", {"count": 48, "rate": 240}, 0.2, 48),
    "film rate": ("a.mp4", {"count": 12, "rate": Fraction(24_000, 1001)}, 0.5005, 12),
    "a varying rate": ("a.mkv", {"stamps": [0, 4, 9, 10, 30, 31, 50], "rate": 100}, None, 7),
    "a rate that stops": ("a.mkv", {"stamps": [0, 1, 2, 50], "rate": 25}, None, 4),
    "a clock that starts late": ("a.mkv", {"stamps": [2500 + i for i in range(10)], "rate": 25}, 0.4, 10),
    "odd sides": ("a.mp4", {"size": (33, 25)}, 0.4, 10),
    "a picture of two pixels": ("a.mp4", {"size": (2, 2), "codec": "mpeg4"}, 0.4, 10),
    "a ribbon": ("a.mp4", {"count": 2, "size": (2048, 2)}, 0.08, 2),
    "a pole": ("a.mp4", {"count": 2, "size": (2, 2048)}, 0.08, 2),
    "three hours by its headers only": ("a.mp4", lambda f: with_hours(f["mp4"]), 0.4, 10),
    "8K by its headers only": ("a.mp4", lambda f: with_size(f["mp4"], 7680, 4320), 0.4, 10),
    "no size in its headers": ("a.mp4", lambda f: with_size(f["mp4"], 0, 0), 0.4, 10),
    "damaged in the middle": ("a.mp4", lambda f: damaged(f["mp4"]), 0.4, 10),
    "junk after its end": ("a.mp4", lambda f: f["mp4"] + bytes(99), 0.4, 10),
    "a Matroska film called mp4": ("a.mp4", lambda f: f["mkv"], 0.4, 10),
    "an mp4 film called avi": ("a.avi", lambda f: f["mp4"], 0.4, 10),
    "an AVI film": ("a.avi", lambda f: f["avi"], 0.4, 10),
    "a name in capitals": ("A.MP4", {}, 0.4, 10),
    "a name without an ending": ("film", {"container": "mp4"}, 0.4, 10),
    "a name in Hebrew with an emoji": ("שלום 🙂.mp4", {}, 0.4, 10),
    "a name that looks like an option": ("-i.mp4", {}, 0.4, 10),
    "a name that looks like an address": ("http:a.mp4", {}, 0.4, 10),
    "a name with a pattern": ("a%03d.mp4", {}, 0.4, 10),
    "a moving GIF": ("a.gif", {"codec": "gif", "rate": 25}, 0.4, 10),
}


def made(tmp_path, film, film_bytes, name, content):
    path = tmp_path / name
    if callable(content):
        path.write_bytes(content(film_bytes))
        return path
    return film(path, **content)


@pytest.mark.parametrize("case", FILMS.values(), ids=FILMS)
def test_an_odd_film_is_looked_at_and_dubbed_to_exactly_its_length(tmp_path, film, film_bytes, case):
    name, content, seconds, count = case
    path = made(tmp_path, film, film_bytes, name, content)
    info = probe(path)
    assert info.num_frames == count
    assert seconds is None or info.duration == pytest.approx(seconds, abs=0.002)
    assert info.width * info.height <= 4096
    frames = read_frames(path, size=16)
    assert frames.duration == info.duration
    assert 1 <= len(frames.pixels) <= len(video_feature_times(info.duration))
    # AVI has PCM, whose samples can be counted, and no times, so pictures at varying ones go to Matroska.
    target = tmp_path / ("out.mkv" if info.is_vfr else "out.avi")
    report = mux(path, Audio(torch.full((1, 1, 100), 0.1), RATE), target)
    assert (report.duration, report.num_frames) == (info.duration, count)
    sound = read_audio(target, duration=info.duration)
    assert (sound.sample_rate, sound.num_samples) == (RATE, num_samples(info.duration, RATE))


def test_a_film_cut_in_the_middle_lasts_as_long_as_what_is_there(tmp_path, film):
    data = film(tmp_path / "whole.mkv", 50).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) * 2 // 3])
    info = probe(path)
    assert 0 < info.num_frames < 50
    assert info.duration == pytest.approx(info.num_frames / 25, abs=0.002)
    assert mux(path, Audio(torch.zeros(1, 1, 9), RATE), tmp_path / "out.mkv").duration == info.duration


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="needs an H.264 encoder")
def test_a_film_that_changes_its_size_is_seen_at_one_size(tmp_path, film):
    parts = [film(tmp_path / f"{i}.h264", 5, size=size, codec="libx264") for i, size in enumerate(((32, 24), (48, 64)))]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert probe(path).num_frames == 10
    assert read_frames(path, size=16).pixels.shape[1:] == (3, 16, 16)


IMAGES = {
    "one picture": (torch.rand(1, 5, 7, 3), 25.0, 0.04),
    "240 pictures a second": (torch.rand(24, 4, 4, 3), 240.0, 0.1),
    "with transparency": (torch.rand(3, 4, 4, 4), 25.0, 0.12),
    "brighter than white": (torch.full((2, 4, 4, 3), 9.0), 25.0, 0.08),
    "of one pixel": (torch.rand(2, 1, 1, 3), 24.0, 2 / 24),
    "a ribbon": (torch.rand(1, 1, 3000, 3), 1.0, 1.0),
}


@pytest.mark.parametrize("case", IMAGES.values(), ids=IMAGES)
def test_odd_pictures_in_memory_are_a_film_of_their_length(case):
    images, fps, seconds = case
    frames = frames_from_images(images, fps=fps, size=8)
    assert frames.duration == pytest.approx(seconds)
    assert frames.pixels.shape[1:] == (3, 8, 8)
