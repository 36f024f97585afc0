"""Letters for pictures in any language: the font that comes with Pillow, or one of the system that has them."""

import unicodedata
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Names that Pillow finds in the folders of Linux, Windows and macOS; wide ones first, then Chinese, Japanese, Korean.
_SYSTEM = (
    "DejaVuSans.ttf",
    "segoeui.ttf",
    "Arial.ttf",
    "Arial Unicode.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "wqy-microhei.ttc",
)
_NO_LETTER = "\uffff"
# Signs that are not worth another font.
_SIGNS = str.maketrans({"\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> Font | None:
    if not name:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _has(name: str, letter: str) -> bool:
    font = _font(name, 16)
    return font is not None and (letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask(_NO_LETTER)))


def lettered(text: str, size: int) -> tuple[str, Font]:
    """A text as it can be drawn, and the font to draw it in.

    A letter that the best font lacks becomes the plain one under its accents, or a question mark.
    """
    text = text.translate(_SIGNS)
    letters = set(text)
    best = max(("", *_SYSTEM), key=lambda name: sum(_has(name, letter) for letter in letters))
    drawn = "".join(letter if _has(best, letter) else _plain(best, letter) for letter in text)
    font = _font(best, size)
    assert font is not None, best
    return drawn, font


def _plain(name: str, letter: str) -> str:
    base = unicodedata.normalize("NFKD", letter)[0]
    return base if _has(name, base) else "?"
