import numpy as np
import pytest

from train.scenes.config import Split
from train.scenes.splits import (
    HELD_OUT_PAIRS,
    held_out_pairs,
    is_held_out_pair,
    layout_key,
    split_of_layout,
    split_of_phrase,
)
from train.scenes.voices import HELD_OUT_VOICES, TRAINING_VOICES, VOICES
from train.scenes.words import DIGITS, VOCABULARY, WORDS, draw_few_words, draw_phrase, draw_unseen_pairs


@pytest.fixture
def phrases():
    rng = np.random.default_rng(0)
    return {split: [draw_phrase(rng, split) for _ in range(300)] for split in Split}


def test_no_phrase_is_in_two_splits(phrases):
    sets = {split: set(drawn) for split, drawn in phrases.items()}
    assert not sets[Split.TRAIN] & sets[Split.VALIDATION]
    assert not sets[Split.TRAIN] & sets[Split.TEST]
    assert not sets[Split.VALIDATION] & sets[Split.TEST]
    assert all(split_of_phrase(phrase) is split for split, drawn in phrases.items() for phrase in drawn)


def test_no_drawn_phrase_has_a_held_out_pair(phrases):
    assert not any(held_out_pairs(phrase) for drawn in phrases.values() for phrase in drawn)


def test_a_phrase_of_unseen_pairs_has_no_other_pairs_and_is_for_testing():
    rng = np.random.default_rng(1)
    for phrase in [draw_unseen_pairs(rng) for _ in range(100)]:
        assert len(held_out_pairs(phrase)) == len(phrase) - 1 >= 1
        assert split_of_phrase(phrase) is Split.TEST


def test_about_as_many_pairs_are_held_out_as_it_says():
    pairs = [(a, b) for a in VOCABULARY for b in VOCABULARY]
    assert np.mean([is_held_out_pair(*pair) for pair in pairs]) == pytest.approx(HELD_OUT_PAIRS, abs=0.02)


def test_every_word_and_digit_is_said_in_training_and_in_two_to_seven_words(phrases):
    rng = np.random.default_rng(2)
    training = phrases[Split.TRAIN] + [draw_phrase(rng, Split.TRAIN) for _ in range(500)]
    assert {word for phrase in training for word in phrase} == set(VOCABULARY)
    assert {len(phrase) for phrase in training} == {2, 3, 4, 5, 6, 7}


def test_there_are_ten_digits_and_sixty_different_words():
    assert len(DIGITS) == 10
    assert len(WORDS) == len(set(WORDS) - set(DIGITS)) == 60


def test_a_layout_is_its_kind_and_its_times_to_a_tenth_of_a_second():
    assert layout_key("ball", [0.41, 1.08]) == layout_key("ball", [0.39, 1.12]) == "ball 0.4 1.1"
    assert layout_key("ball", [0.4]) != layout_key("door", [0.4])


def test_most_layouts_are_for_training_and_some_for_each_other_split():
    splits = [split_of_layout(layout_key("ball", [i / 10, j / 10])) for i in range(40) for j in range(40)]
    assert splits.count(Split.TRAIN) > 0.8 * len(splits)
    assert splits.count(Split.VALIDATION) > 0.03 * len(splits)
    assert splits.count(Split.TEST) > 0.07 * len(splits)


def test_some_voices_of_every_base_never_train():
    assert {voice.base for voice in HELD_OUT_VOICES} == {voice.base for voice in VOICES}
    assert not set(HELD_OUT_VOICES) & set(TRAINING_VOICES)
    assert len({voice.name for voice in VOICES}) == len(VOICES) >= 18


def test_few_words_cover_the_vocabulary_and_no_pair_of_theirs_is_held_out():
    drawn = [draw_few_words(np.random.default_rng(seed), Split.TRAIN) for seed in range(2000)]
    assert {len(phrase) for phrase in drawn} == {1, 2}
    assert {word for phrase in drawn if len(phrase) == 1 for word in phrase} == set(VOCABULARY)
    pairs = [phrase for phrase in drawn if len(phrase) == 2]
    assert all(split_of_phrase(pair) is Split.TRAIN and not held_out_pairs(pair) for pair in pairs)
