import numpy as np
import pytest

from dualdub_core.errors import InputError
from dualdub_core.media.film import read_film


def test_pictures_are_those_shown_in_the_middles_of_equal_parts(make_video):
    video = make_video(rate=10, num_frames=12)  # picture n is 40 * (n % 6) bright
    film = read_film(video, count=4, height=24)
    assert [picture.time for picture in film] == pytest.approx([0.15, 0.45, 0.75, 1.05])
    assert film[0].pixels.shape == (24, 32, 3)
    bright = [float(np.mean(picture.pixels)) for picture in film]
    assert bright[0] == pytest.approx(60, abs=25)  # picture 1 or 2
    assert bright[1] == pytest.approx(180, abs=25)  # picture 4 or 5
    assert bright[2] == pytest.approx(60, abs=25)  # picture 7 or 8


def test_a_part_of_a_clip_has_pictures_of_that_part(make_video):
    video = make_video(rate=10, num_frames=12)
    film = read_film(video, start=0.4, duration=0.2, count=2, height=24)
    assert [picture.time for picture in film] == pytest.approx([0.05, 0.15])
    assert float(np.mean(film[0].pixels)) == pytest.approx(160, abs=25)
    assert float(np.mean(film[1].pixels)) == pytest.approx(200, abs=25)


def test_a_clip_of_one_picture_shows_it_throughout(make_video):
    film = read_film(make_video(num_frames=1), count=3)
    assert len(film) == 3
    assert np.array_equal(film[0].pixels, film[2].pixels)


def test_no_such_part_is_refused(make_video):
    with pytest.raises(InputError, match=r"got a start at 9.* s"):
        read_film(make_video(), start=9.0)
