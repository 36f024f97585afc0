"""Rows of Parquet shards, read through `datasets` as memory-mapped Arrow, and what their bytes mean.

Two kinds of folders exist: a corpus (sounds, pictures, text; made by `train.scenes` or another maker with the same
columns) and what `train.precompute` makes of it (codes, latents, video features; the columns of PREPARED).
Letters: N samples, F video frames, T frames of a stream, Z latent channels, D width, H W picture.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from torch import Tensor

from dualdub_core.errors import InputError
from dualdub_core.files import is_hidden

Row = Mapping[str, Any]

PREPARED = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),  # a value of dualdub_core.types.Task: what this row was made for
        ("duration", pa.float64()),  # seconds
        ("text", pa.string()),
        ("speaker", pa.string()),  # "" where unknown: then a row's voice is its own
        ("num_frames", pa.int32()),  # T at the codec's rate
        ("codes_speech", pa.list_(pa.int16())),
        ("codes_background", pa.list_(pa.int16())),
        ("voice_flac", pa.binary()),  # the speech without the silence around it
        ("latents_speech", pa.binary()),  # float16 (Z, T')
        ("latents_background", pa.binary()),
        ("latent_channels", pa.int32()),
        ("features", pa.binary()),  # float16 (F, D)
        ("feature_times", pa.list_(pa.float64())),  # seconds (F,)
        ("frames", pa.binary()),  # uint8 (F, H, W, 3), only for training the video encoder
        ("frames_shape", pa.list_(pa.int32())),
    ]
)


def shards(folder: Path | str) -> list[Path]:
    """The Parquet files below a folder, sorted.

    Raises:
        InputError: there are none.
    """
    # Hidden are those that are being written, or were when a run was killed.
    paths = sorted(path for path in Path(folder).rglob("*.parquet") if not is_hidden(path, Path(folder)))
    if not paths:
        raise InputError(f"{folder}: no .parquet files; make a corpus with train.scenes, then run train.precompute")
    return paths


def open_rows(
    folder: Path | str, columns: Sequence[str], cache: Path | str, names: Sequence[str] = ()
) -> datasets.Dataset:
    """The rows below a folder, by index, only these columns.

    Args:
        folder: of shards.
        columns: to read.
        cache: folder for the Arrow copies.
        names: patterns of the shards' names, e.g. `words-*`; all shards when empty.

    Raises:
        InputError: no shards, or a column is not in them.
    """
    paths = [path for path in shards(folder) if not names or any(map(path.match, names))]
    if not paths:
        raise InputError(f"{folder}: no shard is called {' or '.join(names)}")
    missing = sorted(set(columns) - set(pq.read_schema(paths[0]).names))
    if missing:
        raise InputError(f"{folder}: the rows lack {', '.join(missing)}; run train.precompute for them")
    return datasets.Dataset.from_parquet(
        [str(path) for path in paths], columns=list(columns), cache_dir=str(cache), keep_in_memory=False
    )


def sound(flac: bytes) -> tuple[Tensor, int]:
    """A mono sound (N,) float32 and its rate in Hz."""
    waveform, rate = soundfile.read(io.BytesIO(flac), dtype="float32", always_2d=True)
    return torch.from_numpy(waveform).mean(1), int(rate)


def flac(waveform: Tensor, sample_rate: int) -> bytes:
    """A mono sound (N,) in 16 bit."""
    target = io.BytesIO()
    soundfile.write(target, waveform.cpu().numpy(), sample_rate, format="FLAC", subtype="PCM_16")
    return target.getvalue()


def halves(values: Tensor) -> bytes:
    """A tensor as bytes of float16."""
    return values.detach().half().cpu().contiguous().numpy().tobytes()


def from_halves(content: bytes, num_rows: int) -> Tensor:
    """Bytes of float16 as a float32 tensor of `num_rows` rows."""
    return torch.from_numpy(np.frombuffer(content, np.float16).reshape(num_rows, -1).astype(np.float32))


def pictures(row: Row) -> Tensor | None:
    """What the video encoder looks at, uint8 (F, 3, H, W), or None."""
    if row.get("frames") is None:
        return None
    pixels = np.frombuffer(row["frames"], np.uint8).reshape(row["frames_shape"])
    return torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).contiguous()
