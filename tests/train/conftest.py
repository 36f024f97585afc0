"""A toy corpus for the trainers: noise bursts under flashes, a hum that speaks."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from train.scenes.shards import SCHEMA

RATE = 24_000


def _flac(waveform):
    target = io.BytesIO()
    soundfile.write(target, waveform, RATE, format="FLAC", subtype="PCM_16")
    return target.getvalue()


def _row(index, task, rng):
    duration = (1.2, 1.44)[index % 2]
    times = np.arange(round(duration * RATE)) / RATE
    onset = rng.uniform(0.1, 0.8)
    burst = 0.3 * rng.standard_normal(times.size) * np.exp(-20 * np.maximum(times - onset, 0)) * (times >= onset)
    hum = 0.2 * np.sin(2 * np.pi * 150 * (1 + index % 2) * times) * (np.abs(times - 0.6) < 0.4)
    num_pictures = round(duration * 25 / 3)
    pixels = np.full((num_pictures, 64, 64, 3), 30, np.uint8)
    pixels[int(onset * 25 / 3) :, 20:40, 20:40] = 220
    has_video = task != "speech"
    return {
        "id": f"{task}-{index}",
        "task": task,
        "duration": duration,
        "text": "" if task == "background" else ("one two", "two one three")[index % 2],
        "speaker": "" if task == "background" else ("low", "high")[index % 2],
        "speech_flac": None if task == "background" else _flac(hum),
        "background_flac": None if task == "speech" else _flac(burst),
        "frames": pixels.tobytes() if has_video else None,
        "frames_shape": list(pixels.shape) if has_video else None,
    }


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory):
    """Folder with train and validation shards, 8 rows a task; the last row of each shard is silent."""
    folder = tmp_path_factory.mktemp("corpus")
    for split in ("train", "validation"):
        (folder / split).mkdir()
        for task in ("background", "speech", "joint"):
            rng = np.random.default_rng(len(task) + (split == "train"))
            rows = [_row(index, task, rng) for index in range(8)]
            silent = _row(8, task, rng)
            stem = "background_flac" if task == "background" else "speech_flac"
            rows.append({**silent, stem: _flac(np.zeros(RATE))})
            schema = pa.schema([SCHEMA.field(name) for name in rows[0]])
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / split / f"{task}-00000.parquet")
    return folder
