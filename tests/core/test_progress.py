import pytest

from dualdub_core.progress import TimeLeft, spell_seconds


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_time_left_is_the_mean_time_of_a_unit_times_those_that_are_left(clock):
    left = TimeLeft(clock)
    assert left("generate", 0, 100) is None
    clock.now += 3.0
    assert left("generate", 20, 100) == pytest.approx(12.0)
    clock.now += 1.0
    assert left("generate", 80, 100) == pytest.approx(1.0)
    assert left("generate", 100, 100) == 0.0


def test_what_was_known_beforehand_took_no_time(clock):
    left = TimeLeft(clock)
    assert left("generate", 60, 100) is None
    clock.now += 2.0
    assert left("generate", 80, 100) == pytest.approx(2.0)


def test_another_stage_or_the_same_one_again_begins_anew(clock):
    left = TimeLeft(clock)
    left("decode", 0, 10)
    clock.now += 50.0
    left("decode", 10, 10)
    assert left("render", 1, 4) is None
    clock.now += 1.0
    assert left("render", 2, 4) == pytest.approx(2.0)
    assert left.elapsed == pytest.approx(1.0)
    assert left("render", 0, 4) is None


@pytest.mark.parametrize(
    ("seconds", "spelt"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (125, "2:05"), (3723, "1:02:03")]
)
def test_seconds_are_spelt_as_people_read_them(seconds, spelt):
    assert spell_seconds(seconds) == spelt
