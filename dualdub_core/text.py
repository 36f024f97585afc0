"""Scripts to text ids: byte-pair encoding by tiktoken, from ranks that are shipped or lie in a local file.

Nothing is downloaded here: a public encoding is read from a file whose checksum is the published one.
"""

import base64
import binascii
import hashlib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import tiktoken

from .errors import CheckpointError, ConfigError, InputError

BACKGROUND_PROMPT = "Generate audio for the video."
"""The text where nobody speaks (paper, section 3.4)."""

MINI_RANKS = Path(__file__).parent / "weights" / "mini.tiktoken"
MINI_PATTERN = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
"""What is merged at most: a word with the space before it, one digit, a run of punctuation."""

_INVISIBLE = "\ufeff\u200b\u2060"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """Which byte-pair encoding a model reads: "mini" or the name of a public one."""

    encoding: str

    def __post_init__(self) -> None:
        if self.encoding != "mini" and self.encoding not in _PUBLIC:
            raise ConfigError(f"text: unknown {self.encoding=}; known are mini, {', '.join(_PUBLIC)}")

    @classmethod
    def paper(cls) -> "TextConfig":
        """The paper says tiktoken and no more; this is its most used encoding."""
        return cls(encoding="cl100k_base")

    @classmethod
    def mini(cls) -> "TextConfig":
        """1023 shipped ranks and the end of text."""
        return cls(encoding="mini")


class TextTokenizer:
    """A script to ids, any language: what no merge covers is spelled in bytes."""

    def __init__(self, config: TextConfig, encoding: tiktoken.Encoding, *, lead: str = "") -> None:
        self.config = config
        self._encoding = encoding
        self._lead = lead

    @classmethod
    def mini(cls) -> "TextTokenizer":
        """From the shipped ranks."""
        ranks = _parse_ranks(_read(MINI_RANKS, "install the package again"), MINI_RANKS.name)
        encoding = tiktoken.Encoding(
            "mini", pat_str=MINI_PATTERN, mergeable_ranks=ranks, special_tokens={_END_OF_TEXT: len(ranks)}
        )
        # A word then has the same ids wherever it stands, also at the beginning.
        return cls(TextConfig.mini(), encoding, lead=" ")

    @classmethod
    def public(cls, name: str, ranks_file: Path | str) -> "TextTokenizer":
        """From a published ranks file on this disk.

        Args:
            name: cl100k_base, o200k_base or r50k_base.
            ranks_file: the file, under any name.

        Raises:
            ConfigError: the encoding is not known.
            CheckpointError: the file is missing or is not the published one.
        """
        config = TextConfig(encoding=name)
        if name not in _PUBLIC:
            raise ConfigError(f"text: '{name}' is not a public encoding; known are {', '.join(_PUBLIC)}")
        published, path = _PUBLIC[name], Path(ranks_file)
        content = _read(path, f"download {published.url} and put it there")
        digest = hashlib.sha256(content).hexdigest()
        if digest != published.sha256:
            raise CheckpointError(
                f"{path.name}: not the ranks of {name} (sha256 {digest}, expected {published.sha256}); "
                f"download {published.url} again"
            )
        encoding = tiktoken.Encoding(
            name,
            pat_str=published.pattern,
            mergeable_ranks=_parse_ranks(content, path.name),
            special_tokens=published.special_ids,
        )
        return cls(config, encoding)

    @property
    def vocab_size(self) -> int:
        """Rows an embedding of these ids needs."""
        return int(self._encoding.n_vocab)

    @property
    def end_of_text(self) -> int:
        """The id every encoded script ends with."""
        return int(self._encoding.eot_token)

    def encode(self, text: str) -> list[int]:
        """The ids of a script, the end-of-text id last.

        What looks like a special token in the script is read as plain text.

        Raises:
            InputError: there is nothing to say in it.
        """
        return [*self._encoding.encode_ordinary(self._lead + normalise(text)), self.end_of_text]

    def decode(self, ids: list[int]) -> str:
        """The normalised script of ids, without the end-of-text id."""
        text = str(self._encoding.decode([i for i in ids if i != self.end_of_text]))
        return text.removeprefix(self._lead)


def normalise(text: str) -> str:
    """A script in composed unicode (NFC), on one line, single spaces, none at its ends.

    Raises:
        InputError: nothing is left.
    """
    visible = text.translate(dict.fromkeys(map(ord, _INVISIBLE)))
    result = " ".join(unicodedata.normalize("NFC", visible).split())
    if not result:
        raise InputError(
            "script: got no text, expected at least one word; for a video without speech choose the task 'background'"
        )
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class _PublicEncoding:
    url: str
    sha256: str
    pattern: str
    special_ids: dict[str, int]


_END_OF_TEXT = "<|endoftext|>"
_HOST = "https://openaipublic.blob.core.windows.net/encodings"

# How text is cut before merging belongs to an encoding as much as its ranks do.
_PUBLIC = {
    "cl100k_base": _PublicEncoding(
        url=f"{_HOST}/cl100k_base.tiktoken",
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        special_ids={
            _END_OF_TEXT: 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": _PublicEncoding(
        url=f"{_HOST}/o200k_base.tiktoken",
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern=(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        special_ids={_END_OF_TEXT: 199999, "<|endofprompt|>": 200018},
    ),
    "r50k_base": _PublicEncoding(
        url=f"{_HOST}/r50k_base.tiktoken",
        sha256="306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        pattern=r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        special_ids={_END_OF_TEXT: 50256},
    ),
}


def _read(path: Path, otherwise: str) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such ranks file; {otherwise}")
    return path.read_bytes()


def _parse_ranks(content: bytes, name: str) -> dict[bytes, int]:
    """Lines of base64 bytes and a rank, as tiktoken writes them."""
    try:
        pairs = (line.split() for line in content.splitlines() if line)
        return {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except (ValueError, binascii.Error) as error:
        raise CheckpointError(f"{name}: not a ranks file ({error}); each line has base64 bytes and a rank") from error
