import tracemalloc
from fractions import Fraction
from importlib.util import find_spec
from io import BytesIO

import av
import numpy as np
import pytest

from dualdub_core.errors import ConfigError, InputError
from dualdub_core.long.cuts import CutConfig, cuts_among, find_cuts


def moving(shot: int, step: int) -> np.ndarray:
    """A picture (48, 64, 3) of a texture of its own that moves."""
    texture = np.random.default_rng(shot).integers(0, 255, (12, 16), np.uint8).repeat(4, 0).repeat(4, 1)
    return np.roll(texture, step, axis=1)[..., None].repeat(3, 2)


@pytest.fixture
def make_film(tmp_path):
    """Writes shots of so many pictures each."""

    def make(shots: list[int], rate: Fraction | int = 25, name: str = "film.mp4"):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=Fraction(rate))
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.time_base = 1 / Fraction(rate)
            index = 0
            for shot, count in enumerate(shots):
                for step in range(count):
                    frame = av.VideoFrame.from_ndarray(moving(shot, step // 2), format="rgb24")
                    frame.pts, frame.time_base = index, 1 / Fraction(rate)
                    container.mux(stream.encode(frame))
                    index += 1
            container.mux(stream.encode())
        return path

    return make


@pytest.mark.parametrize("rate", [25, Fraction(24_000, 1001), Fraction(60_000, 1001), 12])
def test_cuts_are_found_at_the_first_picture_of_a_shot(make_film, rate):
    film = make_film([20, 31, 17, 40], rate)
    assert find_cuts(film) == pytest.approx([20 / rate, 51 / rate, 68 / rate], abs=1e-3)


def test_times_count_from_the_part_that_is_looked_at(make_film):
    film = make_film([20, 31, 17, 40])
    assert find_cuts(film, start=1.0, duration=1.5) == pytest.approx([51 / 25 - 1], abs=1e-3)
    assert find_cuts(film, start=20 / 25, duration=1.0) == ()


def test_motion_flashes_and_stills_are_no_cuts():
    still, other = np.full((36, 64), 40, np.uint8), np.full((36, 64), 200, np.uint8)

    def cuts(*pictures):
        return list(cuts_among(enumerate(pictures), CutConfig(apart=0)))

    assert cuts(*[still] * 9) == []
    assert cuts(*[still] * 5, other, *[still] * 5) == []
    assert cuts(*[still, other] * 6) == []
    assert cuts(*(np.full((36, 64), 9 * n, np.uint8) for n in range(20))) == []
    assert cuts(*[still] * 5, *[other] * 5) == [5]
    assert cuts(*[still] * 5, other) == [5]
    assert cuts(*[still] * 5, *[np.full((36, 64), 50, np.uint8)] * 5) == []


def test_cuts_keep_their_distance():
    pictures = [(n / 10, np.full((36, 64), 200 * (n // 4 % 2), np.uint8)) for n in range(16)]
    assert list(cuts_among(iter(pictures), CutConfig(apart=0.25))) == [0.4, 0.8, 1.2]
    assert list(cuts_among(iter(pictures), CutConfig(apart=0.5))) == [0.4, 1.2]


def test_memory_does_not_grow_with_the_film():
    def pictures(count):
        return ((n, np.full((36, 64), n % 7, np.uint8)) for n in range(count))

    def peak(count):
        tracemalloc.start()
        list(cuts_among(pictures(count), CutConfig()))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(3200) < 1.2 * peak(400)


def test_progress_is_told_and_cancels(make_film):
    film, told = make_film([10, 10]), []
    find_cuts(film, progress=lambda *report: told.append(report))
    assert told[-1] == ("cuts", 20, 20)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_cuts(film, progress=stop)


def test_what_cannot_be_looked_at_is_refused(tmp_path, make_film):
    with pytest.raises(InputError, match="no such file"):
        find_cuts(tmp_path / "none.mp4")
    with pytest.raises(ConfigError, match="expected least in"):
        CutConfig(least=0.0)
    film = make_film([10, 10])
    if find_spec("scenedetect") is None:
        with pytest.raises(ConfigError, match="PySceneDetect is not installed; pip install scenedetect-headless"):
            find_cuts(film, detector="PySceneDetect")
    else:
        with pytest.raises(InputError, match="PySceneDetect needs a file"):
            find_cuts(BytesIO(film.read_bytes()), detector="PySceneDetect")


@pytest.mark.skipif(find_spec("scenedetect") is None, reason="PySceneDetect is not installed")
def test_pyscenedetect_sees_the_same_cuts(make_film):
    film = make_film([40, 50, 45])
    assert find_cuts(film, detector="PySceneDetect") == pytest.approx(find_cuts(film), abs=1e-3)
