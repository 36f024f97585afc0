"""RIFF files such as WAV: their chunks, one after the other, and one more at the end.

Source: Microsoft and IBM, Multimedia Programming Interface and Data Specifications 1.0 (1991).
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

_RIFF = struct.Struct("<4sI4s")
_CHUNK = struct.Struct("<4sI")
# Texts are small; a length beyond this is a damaged or hostile file.
_MOST = 2**26


def chunks_of(path: Path, *, wanted: Collection[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the chunks with these names; nothing where the file is no WAV file."""
    with path.open("rb") as file:
        head = file.read(_RIFF.size)
        if len(head) < _RIFF.size or (head[:4], head[8:]) != (b"RIFF", b"WAVE"):
            return
        while len(entry := file.read(_CHUNK.size)) == _CHUNK.size:
            name, size = _CHUNK.unpack(entry)
            if name in wanted and size <= _MOST:
                yield name, file.read(size)
                file.seek(size % 2, 1)
            else:
                file.seek(size + size % 2, 1)


def append_chunk(path: Path, name: bytes, content: bytes) -> None:
    """Add a chunk to the end of a whole WAV file."""
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        file.write(b"\0" * (end % 2) + _CHUNK.pack(name, len(content)) + content + b"\0" * (len(content) % 2))
        size = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", size - 8))


def info_list(texts: Mapping[str, str]) -> bytes:
    """The content of a LIST chunk that says this of the file; keys such as ISFT have four letters."""
    content = b"INFO"
    for key, text in texts.items():
        value = text.encode("ascii", errors="replace") + b"\0"
        content += _CHUNK.pack(key.encode("ascii"), len(value)) + value + b"\0" * (len(value) % 2)
    return content


def info_texts(path: Path) -> Iterator[tuple[str, str]]:
    """What a WAV file says of itself: keys such as ICMT, and texts."""
    for _, content in chunks_of(path, wanted={b"LIST"}):
        place = 4 if content[:4] == b"INFO" else len(content)
        while place + _CHUNK.size <= len(content):
            key, size = _CHUNK.unpack_from(content, place)
            text = content[place + _CHUNK.size : place + _CHUNK.size + size].rstrip(b"\0")
            yield key.decode("ascii", errors="replace"), text.decode("ascii", errors="replace")
            place += _CHUNK.size + size + size % 2
