import pytest
import torch

from dualdub_core.timing import FrameClock, overlapping_frames

CODES = FrameClock(sample_rate=24_000, hop_length=600)
CLOCKS = [(44_100, 2048, 3), (24_000, 300, 1), (24_000, 600, 1), (48_000, 1920, 3), (24_000, 2000, 4)]


@pytest.mark.parametrize(("sample_rate", "hop_length", "num_slots"), CLOCKS)
def test_every_code_is_read_for_exactly_as_long_as_it_lasts(sample_rate, hop_length, num_slots):
    clock = FrameClock(sample_rate=sample_rate, hop_length=hop_length)
    num_target = clock.num_frames(5.0)
    index, weight = overlapping_frames(CODES, clock, num_source=200, num_target=num_target)
    read = torch.zeros(200, dtype=torch.float64).index_add(0, index.flatten(), weight.flatten())
    torch.testing.assert_close(read, torch.full_like(read, clock.frame_rate / CODES.frame_rate))
    torch.testing.assert_close(weight.sum(1)[:-1], torch.ones(num_target - 1, dtype=torch.float64))
    assert index.shape[1] == num_slots
    assert (weight > 0).any(0).all(), "no slot is useless"


def test_overlaps_of_the_first_latent_frames_are_those_on_paper():
    # A latent frame lasts 2048 / 44100 s = 1.857596... codes.
    clock = FrameClock(sample_rate=44_100, hop_length=2048)
    share = 44_100 / 2048 / 40
    index, weight = overlapping_frames(CODES, clock, num_source=5, num_target=2)
    assert index.tolist() == [[0, 1, 2], [1, 2, 3]]
    expected = torch.tensor([[share, 1 - share, 0], [2 * share - 1, share, 2 - 3 * share]], dtype=torch.float64)
    torch.testing.assert_close(weight, expected)


def test_frames_after_the_last_code_read_nothing():
    index, weight = overlapping_frames(CODES, CODES, num_source=2, num_target=4)
    assert index.flatten().tolist() == [0, 1, 1, 1]
    assert weight.flatten().tolist() == [1, 1, 0, 0]
