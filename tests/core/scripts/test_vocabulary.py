"""A small model says which words it never heard."""

import pytest

from dualdub_core.scripts.vocabulary import unknown_words, vocabulary_warning

INFO = {"name": "mini", "vocabulary": ["one", "two", "don't"]}


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("One, two!", ()),
        ("Don't.", ()),
        ("three two three 4", ("three", "4")),
        ("été one", ("été",)),
        ("...", ()),
    ],
)
def test_words_are_found_whatever_their_case_and_punctuation(text, unknown):
    assert unknown_words([text], INFO) == unknown


def test_a_checkpoint_without_a_list_knows_every_word():
    assert unknown_words(["anything"], {"name": "paper"}) == ()
    assert vocabulary_warning(["anything"], {"name": "paper"}) == ""


def test_the_warning_names_the_words_and_what_can_be_said():
    assert vocabulary_warning(["one two"], INFO) == ""
    text = vocabulary_warning(["one three", "four"], INFO)
    assert text == "mini was taught 3 words and will babble at others: three, four; it can say one, two, don't"


def test_a_long_list_is_cut():
    many = " ".join(f"word{i}" for i in range(20))
    assert "word7 and 12 more" in vocabulary_warning([many], INFO)
