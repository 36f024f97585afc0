"""The video encoder's teacher: codes guessed from pictures alone."""

import torch

from train.losses import language_losses
from train.trainers.video_encoder import SoundGuesser

PICTURE = torch.arange(12).repeat_interleave(5)[None]  # 60 slots, five a picture


def guesser(num_codes=7):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SoundGuesser(feature_width=4, num_codes=num_codes).eval()


def features(seed=0):
    return torch.randn(12, 4, generator=torch.Generator().manual_seed(seed))


def test_both_streams_are_guessed_at_every_slot():
    assert guesser()(features(), PICTURE).shape == (1, 2, 60, 7)


def test_a_guess_depends_on_the_pictures_around_its_slot_and_on_no_others():
    network, before = guesser(), features()
    after = before.clone()
    after[6] += 1.0
    with torch.no_grad():
        moved = (network(after, PICTURE) - network(before, PICTURE)).abs().amax((0, 1, 3)) > 1e-6
    slots = moved.nonzero()[:, 0].tolist()
    reach = 3 * 7  # three layers of seven slots to either side
    assert slots == list(range(30 - reach, 35 + reach))[: len(slots)]
    assert set(range(30, 35)) <= set(slots)


def test_slots_of_one_picture_can_be_told_apart():
    same = torch.ones(12, 4)
    with torch.no_grad():
        logits = guesser()(same, PICTURE)[0, 0]  # (T, V)
    inside = logits[30:35]
    assert torch.pdist(inside).min() > 1e-4


def test_what_only_the_picture_tells_is_learned():
    # Code 1 sounds in the second slot of every picture that shows something, code 0 everywhere else.
    torch.manual_seed(1)
    network = guesser(num_codes=2).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(2)

    def batch():
        shows = torch.rand(12, generator=generator) < 0.4
        seen = torch.where(shows[:, None], torch.ones(12, 4), -torch.ones(12, 4))
        codes = torch.zeros(60, dtype=torch.int64)
        codes[1::5] = shows.long()
        return seen, codes.expand(1, 2, 60)

    for _ in range(60):
        seen, codes = batch()
        optimiser.zero_grad()
        language_losses(network(seen, PICTURE), codes).total.backward()
        optimiser.step()
    seen, codes = batch()
    with torch.no_grad():
        found = network(seen, PICTURE).argmax(-1)
        blind = network(torch.zeros(12, 4), PICTURE).argmax(-1)
    assert torch.equal(found, codes)
    assert not torch.equal(blind, codes)
