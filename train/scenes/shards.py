"""Clips as rows of Parquet files: written whole or not at all, read by row or through `datasets`.

Sounds are FLAC (16 bit, exact), films are mp4, and the pictures that the video encoder looks at lie beside
them as plain bytes, so that training never decodes a film. They are taken from the film, not from the
painter: training sees what a user's file would show.

Letters: N samples, F video frames, H W picture.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from numpy.typing import NDArray

from dualdub_core.files import is_hidden, replacing

from .clip import Clip
from .config import CorpusConfig
from .video import decode_film, encode_film

FloatArray = NDArray[np.float32]
Row = Mapping[str, Any]

_ROWS_TOGETHER = 50
_MARK = b"dualdub_scenes"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),  # a value of dualdub_core.types.Task
        ("kind", pa.string()),
        ("split", pa.string()),
        ("duration", pa.float64()),  # seconds
        ("sample_rate", pa.int32()),
        ("fps", pa.int32()),
        ("text", pa.string()),
        ("speaker", pa.string()),
        ("lang", pa.string()),
        ("words", pa.list_(pa.string())),
        ("word_starts", pa.list_(pa.float64())),
        ("word_ends", pa.list_(pa.float64())),
        ("mouth_onsets", pa.list_(pa.float64())),
        ("mouth_box", pa.list_(pa.float64())),
        ("event_times", pa.list_(pa.float64())),
        ("event_strengths", pa.list_(pa.float64())),
        ("event_materials", pa.list_(pa.string())),
        ("source", pa.string()),
        ("layout", pa.string()),
        ("room", pa.string()),
        ("level_db", pa.float64()),
        ("unseen", pa.list_(pa.string())),
        ("speech_flac", pa.binary()),
        ("background_flac", pa.binary()),
        ("film_mp4", pa.binary()),
        ("frames", pa.binary()),  # uint8 (F, H, W, 3), one picture per video feature
        ("frames_shape", pa.list_(pa.int32())),
    ]
)


def to_row(clip: Clip, config: CorpusConfig) -> dict[str, Any]:
    """A clip as one row of SCHEMA; what it lacks is null or empty."""
    film = None if clip.pictures is None else encode_film(clip.pictures, fps=config.fps)
    frames = None if film is None else decode_film(film)[:: config.frames_per_feature]
    return {
        "id": clip.id,
        "task": clip.kind.task.value,
        "kind": clip.kind.value,
        "split": clip.split.value,
        "duration": clip.duration,
        "sample_rate": config.sample_rate,
        "fps": config.fps,
        "text": clip.text,
        "speaker": clip.speaker,
        "lang": "en",
        "words": [word.word for word in clip.words],
        "word_starts": [word.start for word in clip.words],
        "word_ends": [word.end for word in clip.words],
        "mouth_onsets": list(clip.mouth_onsets),
        "mouth_box": list(clip.mouth_box),
        "event_times": [event.time for event in clip.events],
        "event_strengths": [event.strength for event in clip.events],
        "event_materials": [event.material for event in clip.events],
        "source": clip.source,
        "layout": clip.layout,
        "room": clip.room,
        "level_db": clip.level_db,
        "unseen": list(clip.unseen),
        "speech_flac": _to_flac(clip.speech, config.sample_rate),
        "background_flac": _to_flac(clip.background, config.sample_rate),
        "film_mp4": film,
        "frames": None if frames is None else frames.tobytes(),
        "frames_shape": None if frames is None else list(frames.shape),
    }


def write_shard(path: Path, clips: Iterable[Clip], config: CorpusConfig, mark: Mapping[str, Any]) -> None:
    """Write clips; `mark` says what the file holds, so that a later run knows whether to keep it."""
    schema = SCHEMA.with_metadata({_MARK: json.dumps(mark, sort_keys=True).encode()})
    table = pa.Table.from_pylist([to_row(clip, config) for clip in clips], schema=schema)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=_ROWS_TOGETHER)


def read_mark(path: Path) -> dict[str, Any]:
    """The mark a shard was written with."""
    mark: dict[str, Any] = json.loads(pq.read_schema(path).metadata[_MARK])
    return mark


def read_rows(folder: Path, *, kind: str = "*", columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """All rows below a folder, or those of one kind, shard by shard, few at a time."""
    for path in sorted(folder.rglob(f"{kind}-?????.parquet")):
        if is_hidden(path, folder):
            continue
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS_TOGETHER, columns=columns):
                yield from batch.to_pylist()


def stem_of(row: Row, stream: str) -> FloatArray | None:
    """The "speech" or "background" of a row, float32 (N,), or None."""
    flac = row[f"{stream}_flac"]
    if flac is None:
        return None
    waveform: FloatArray = soundfile.read(io.BytesIO(flac), dtype="float32")[0]
    return waveform


def frames_of(row: Row) -> NDArray[np.uint8] | None:
    """The pictures the video encoder looks at, uint8 (F, H, W, 3), or None."""
    if row["frames"] is None:
        return None
    return np.frombuffer(row["frames"], dtype=np.uint8).reshape(row["frames_shape"])


def _to_flac(waveform: FloatArray | None, sample_rate: int) -> bytes | None:
    if waveform is None:
        return None
    target = io.BytesIO()
    soundfile.write(target, waveform, sample_rate, format="FLAC", subtype="PCM_16")
    return target.getvalue()
