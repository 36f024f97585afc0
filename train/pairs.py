"""Pairs of stems for CASP: the same piece of a clip's speech and background, of one random length in a batch.

No length may give a pair away. All pieces of a batch are cut to one length, and a clip that is shorter still is heard
whole, its end masked; where the data's longest piece is no longer than its shortest clip, nothing is ever masked.

Letters: B pairs, N samples.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from dualdub_core.audio import resample
from dualdub_core.errors import ConfigError, InputError
from dualdub_core.timing import num_samples
from dualdub_core.types import Stream, Task

from .config import DataConfig
from .data import Rows, bucketed, draw_seed
from .rows import open_rows, sound

_STREAMS = (Stream.SPEECH.value, Stream.BACKGROUND.value)


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pieces of pairs: speech and audio (B, N), lengths (B,) of each pair's own sound."""

    name: str
    seed: int
    speech: Tensor
    audio: Tensor
    lengths: Tensor


class PairCorpus:
    """The joint clips of a corpus, each once in an epoch; batches are whole, as their size decides how hard they are.

    Args:
        folder: of Parquet shards.
        config: micro-batches, and the longest piece.
        shortest: seconds of the shortest piece.
        sample_rate: Hz that pieces have.
    """

    def __init__(self, folder: str, config: DataConfig, *, shortest: float, sample_rate: int) -> None:
        """Find the joint clips.

        Raises:
            ConfigError: the shortest piece is longer than the longest.
            InputError: they are fewer than a micro-batch.
        """
        if not 0 < shortest <= config.seconds:
            raise ConfigError(f"casp: {shortest=} must be positive and no more than the data's {config.seconds=}")
        self._config, self._shortest, self._sample_rate = config, shortest, sample_rate
        # The columns of `SoundCorpus`, so that both share one Arrow copy.
        self._rows = open_rows(Path(folder), ["task", *(f"{stream}_flac" for stream in _STREAMS)], config.cache)
        self._items = [row for row, task in enumerate(self._rows["task"]) if task == Task.JOINT.value]
        if len(self._items) < config.micro_batch:
            raise InputError(
                f"{folder}: has {len(self._items)} joint clips, expected at least a micro-batch of "
                f"{config.micro_batch}; add clips or lower micro_batch"
            )

    def __len__(self) -> int:
        """Pairs."""
        return len(self._items)

    def epoch(self, rng: np.random.Generator) -> list[Rows]:
        keys = dict.fromkeys(self._items, 0)
        batches = bucketed(keys, rng, micro_batch=self._config.micro_batch, lengths=keys, cap=0)
        return [rows for rows in batches if len(rows) == self._config.micro_batch]

    def batch(self, rows: Rows, rng: np.random.Generator) -> PairBatch:
        seconds = float(rng.uniform(self._shortest, self._config.seconds))
        pieces = [self._piece(row, seconds, rng) for row in rows]
        lengths = [piece.shape[1] for piece in pieces]
        stems = torch.stack([F.pad(piece, (0, max(lengths) - piece.shape[1])) for piece in pieces])  # (B, 2, N)
        return PairBatch("pairs", draw_seed(rng), stems[:, 0], stems[:, 1], torch.tensor(lengths))

    def pair(self, index: int) -> tuple[Tensor, Tensor, int]:
        """Both stems whole, speech and background (N,), and their rate in Hz."""
        row = self._rows[self._items[index]]
        (speech, rate), (background, other) = (sound(row[f"{stream}_flac"]) for stream in _STREAMS)
        _require_one_rate(rate, other)
        return speech, background, rate

    def _piece(self, row: int, seconds: float, rng: np.random.Generator) -> Tensor:
        """The same part of both stems (2, N); only this part is decoded."""
        contents = [io.BytesIO(self._rows[row][f"{stream}_flac"]) for stream in _STREAMS]
        with soundfile.SoundFile(contents[0]) as speech, soundfile.SoundFile(contents[1]) as background:
            rate, length = speech.samplerate, min(speech.frames, background.frames)
            _require_one_rate(rate, background.samplerate)
            size = min(num_samples(seconds, rate), length)
            start = int(rng.integers(length - size + 1))
            stems = torch.stack([_part(file, start, size) for file in (speech, background)])
        return resample(stems, rate, self._sample_rate)


def _part(file: soundfile.SoundFile, start: int, size: int) -> Tensor:
    file.seek(start)
    return torch.from_numpy(file.read(size, dtype="float32", always_2d=True)).mean(1)


def _require_one_rate(speech: int, background: int) -> None:
    if speech != background:
        raise InputError(f"a joint clip's stems have {speech} and {background} Hz, expected one rate; make it again")
