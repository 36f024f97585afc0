import hashlib

import pytest
import regex
import tiktoken_ext.openai_public
from hypothesis import given, settings
from hypothesis import strategies as st

from dualdub_core import text
from dualdub_core.errors import CheckpointError, ConfigError, InputError
from dualdub_core.text import BACKGROUND_PROMPT, MINI_RANKS, TextConfig, TextTokenizer, normalise
from train.scenes.words import VOCABULARY
from train.text_ranks import CORPUS, NUM_RANKS, learn_ranks, read_lines, write_ranks

PUBLIC = ("cl100k_base", "o200k_base", "r50k_base")
SCRIPTS = (
    BACKGROUND_PROMPT,
    "four seven one nine two",
    "Call 555-0142 at 19:30!",
    "Where's Anna? I can't see her...",
    "Grüße aus Köln, naïve café; 東京 says: здравствуй \U0001f44b",
    "He said: <|endoftext|> and left.",
)


@pytest.fixture(scope="module")
def mini():
    return TextTokenizer.mini()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_comes_back_from_its_ids(mini, script):
    ids = mini.encode(script)
    assert mini.decode(ids) == normalise(script)
    assert ids[-1] == mini.end_of_text
    assert mini.end_of_text not in ids[:-1]
    assert max(ids) < mini.vocab_size == 1024


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_unicode_is_spelled_or_refused(script):
    mini = TextTokenizer.mini()
    try:
        expected = normalise(script)
    except InputError:
        return
    assert mini.decode(mini.encode(script)) == expected


def test_half_a_surrogate_pair_does_not_stop_encoding(mini):
    assert mini.encode("a \ud83d b")[-1] == mini.end_of_text


def test_a_word_of_the_mini_corpus_is_one_id_wherever_it_stands(mini):
    for word in VOCABULARY:
        first, end = mini.encode(word)
        assert mini.encode(f"seven {word} seven")[1:] == [first, *mini.encode("seven")]
        assert end == mini.end_of_text


def test_everyday_sentences_are_short(mini):
    assert len(mini.encode("I don't know what you want from me.")) <= 14


def test_digits_are_read_one_by_one(mini):
    assert len(mini.encode("47192")) == 5 + 1


def test_normalising_joins_lines_and_composes_accents():
    assert normalise("\ufeff  Cafe\u0301\n\tau\u00a0lait\u200b ") == "Caf\u00e9 au lait"
    assert normalise(normalise("a  b")) == "a b"


@pytest.mark.parametrize("script", ["", "  \n\t", "\u200b\ufeff", "\u3000"])
def test_a_script_with_nothing_in_it_is_refused(mini, script):
    with pytest.raises(InputError, match="no text"):
        mini.encode(script)


def test_the_shipped_ranks_are_what_the_script_makes(tmp_path):
    write_ranks(tmp_path / "ranks", learn_ranks(read_lines(CORPUS), NUM_RANKS))
    assert (tmp_path / "ranks").read_bytes() == MINI_RANKS.read_bytes()


def test_the_most_frequent_pair_is_merged_first():
    assert learn_ranks(["abab ab xy"], 257)[256] == b"ab"


def test_learning_stops_where_nothing_repeats():
    assert len(learn_ranks([""], 300)) == 256


@pytest.mark.parametrize("name", PUBLIC)
def test_public_encodings_are_those_of_tiktoken(name, monkeypatch):
    asked = {}

    def no_download(url, expected_hash):
        asked.update(url=url, sha256=expected_hash)
        return {}

    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", no_download)
    theirs = tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS[name]()
    ours = text._PUBLIC[name]
    assert asked == {"url": ours.url, "sha256": ours.sha256}
    assert theirs["special_tokens"] == ours.special_ids
    for script in SCRIPTS:
        assert regex.findall(ours.pattern, script) == regex.findall(theirs["pat_str"], script)


def stand_in(monkeypatch, name, path):
    """The 256 bytes as a ranks file, declared to be the published one."""
    write_ranks(path, [bytes([value]) for value in range(256)])
    published = text._PUBLIC[name]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    changed = text._PublicEncoding(
        url=published.url, sha256=digest, pattern=published.pattern, special_ids=published.special_ids
    )
    monkeypatch.setitem(text._PUBLIC, name, changed)


@pytest.mark.parametrize(
    ("name", "end_of_text", "vocab_size"),
    [
        ("cl100k_base", 100_257, 100_277),
        ("o200k_base", 199_999, 200_019),
        ("r50k_base", 50_256, 50_257),
    ],
)
def test_a_public_encoding_is_read_from_a_local_file(name, end_of_text, vocab_size, tmp_path, monkeypatch):
    stand_in(monkeypatch, name, tmp_path / "ranks.tiktoken")
    tokenizer = TextTokenizer.public(name, tmp_path / "ranks.tiktoken")
    assert tokenizer.config == TextConfig(encoding=name)
    assert tokenizer.vocab_size == vocab_size
    assert tokenizer.encode("Hi <|endoftext|>") == [*b"Hi <|endoftext|>", end_of_text]


def test_a_missing_ranks_file_says_where_to_get_it(tmp_path):
    with pytest.raises(CheckpointError, match=r"no such ranks file; download https://\S+/cl100k_base.tiktoken"):
        TextTokenizer.public("cl100k_base", tmp_path / "cl100k_base.tiktoken")


def test_other_ranks_than_the_published_ones_are_refused():
    with pytest.raises(CheckpointError, match=r"not the ranks of o200k_base .* download https"):
        TextTokenizer.public("o200k_base", MINI_RANKS)


def test_a_damaged_ranks_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "mini.tiktoken"
    path.write_bytes(b"not base64 at all\n")
    monkeypatch.setattr(text, "MINI_RANKS", path)
    with pytest.raises(CheckpointError, match="not a ranks file"):
        TextTokenizer.mini()


def test_an_unknown_encoding_is_refused():
    with pytest.raises(ConfigError, match=r"known are mini, cl100k_base"):
        TextConfig(encoding="p50k")
    with pytest.raises(ConfigError, match="not a public encoding"):
        TextTokenizer.public("mini", MINI_RANKS)
