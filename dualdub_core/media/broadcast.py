"""WAV files that say when on a timeline they begin: the `bext` chunk of the Broadcast Wave Format.

Source: EBU Tech 3285, version 1 (https://tech.ebu.ch/docs/tech/tech3285.pdf).
"""

import struct
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

import soundfile

from ..errors import InputError
from ..files import replacing
from ..provenance.provenance import Provenance
from ..provenance.stamps import stamp_wav
from ..timing import num_samples
from ..types import Audio
from .sound import check_single

# Description, originator, its reference, date, time, samples since midnight (two words), version, identifier and
# loudness and reserve, which version 1 leaves empty.
_FIELDS = struct.Struct("<256s32s32s10s8sIIH64s190s")
_RIFF = struct.Struct("<4sI4s")
_CHUNK = struct.Struct("<4sI")
_DAY = 24 * 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class BroadcastInfo:
    """What such a file says of itself.

    Attributes:
        description: of the sound; at most 256 characters, as the others ASCII.
        originator: who or what made it; at most 32 characters.
        made: when.
        start: seconds since midnight at which it begins on the timeline.
    """

    description: str
    made: datetime
    originator: str = "DualDub"
    start: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < _DAY:
            raise InputError(f"timecode: got {self.start} s, expected 0 up to less than the {_DAY} s of a day")


def write_broadcast_wav(
    path: Path | str, audio: Audio, info: BroadcastInfo, *, made_by: Provenance | None = None
) -> None:
    """Write a sound file of 24 bits with a time stamp, whole or not at all.

    Args:
        path: target; its folder is made.
        audio: one sound (1, C, N).
        info: its stamp.
        made_by: written into the file too.

    Raises:
        InputError: NaN, no samples, or a batch.
    """
    path = Path(path)
    check_single(audio, path.name)
    buffer = BytesIO()
    soundfile.write(buffer, audio.waveform[0].T.float().cpu().numpy(), audio.sample_rate, "PCM_24", format="WAV")
    sound = buffer.getbuffer()
    chunk = _bext(info, audio.sample_rate)
    _, size, _ = _RIFF.unpack_from(sound)
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            file.write(_RIFF.pack(b"RIFF", size + len(chunk), b"WAVE"))
            file.write(chunk)
            file.write(sound[_RIFF.size :])
        if made_by is not None:
            stamp_wav(temporary, made_by)


def read_broadcast_start(path: Path | str) -> float | None:
    """Seconds since midnight at which a WAV file begins; None where it does not say.

    Raises:
        InputError: not a WAV file.
    """
    path = Path(path)
    rate, samples = 0, None
    with path.open("rb") as file:
        head = file.read(_RIFF.size)
        if len(head) < _RIFF.size or (head[:4], head[8:]) != (b"RIFF", b"WAVE"):
            raise InputError(f"{path.name}: not a WAV file")
        while len(entry := file.read(_CHUNK.size)) == _CHUNK.size:
            name, size = _CHUNK.unpack(entry)
            if name in (b"fmt ", b"bext"):
                content = file.read(size)
                if name == b"fmt ":
                    rate = struct.unpack_from("<I", content, 4)[0]
                else:
                    low, high = _FIELDS.unpack_from(content)[5:7]
                    samples = low + (high << 32)
                file.seek(size % 2, 1)
            else:
                file.seek(size + size % 2, 1)
    return None if samples is None or not rate else samples / rate


def _bext(info: BroadcastInfo, sample_rate: int) -> bytes:
    samples = num_samples(info.start, sample_rate) if info.start else 0
    history = f"A=PCM,F={sample_rate},W=24,T=DualDub\r\n".encode("ascii")
    content = _FIELDS.pack(
        info.description.encode("ascii", errors="replace"),
        info.originator.encode("ascii", errors="replace"),
        b"",
        info.made.strftime("%Y-%m-%d").encode(),
        info.made.strftime("%H:%M:%S").encode(),
        samples & 0xFFFFFFFF,
        samples >> 32,
        1,
        b"",
        b"",
    )
    content += history + b"\0" * (len(history) % 2)
    return _CHUNK.pack(b"bext", len(content)) + content
