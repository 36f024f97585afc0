"""Prepared rows as batches of the language model: codes, targets and conditions of one task and length.

Letters: B rows, L text ids, T slots at the codec's rate, F video frames, M mel bands, P pictures, D width, H W picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dualdub_core.audio import log_mel, resample
from dualdub_core.errors import InputError
from dualdub_core.models.dualdub import STREAMS, DualDubConfig
from dualdub_core.text import BACKGROUND_PROMPT, TextTokenizer
from dualdub_core.timing import nearest_times, num_samples
from dualdub_core.types import Task

from .config import DataConfig, LanguageTraining
from .data import Rows, bucketed, draw_seed
from .losses import IGNORE
from .rows import Row, from_halves, open_rows, pictures, sound
from .stages import stage_of

_COLUMNS = (
    "task",
    "text",
    "speaker",
    "num_frames",
    "codes_speech",
    "codes_background",
    "voice_flac",
    "feature_times",
)
_NO_VOICE_FRAMES = 4


@dataclass(frozen=True, slots=True)
class SoundtrackBatch:
    """Rows of one task.

    Attributes:
        name: the task.
        seed: of the objective's randomness.
        codes: background and speech (B, 2, T); zeros where a stream is absent or has ended.
        targets: (B, 2, T), `IGNORE` where nothing is asked; speech without video ends with EOS.
        present: 1 for a stream of the task (B, 2).
        text_ids: (B, L), padded on the right.
        text_lengths: (B,).
        is_padded: whether rows differ in text length.
        voice_mel: reference, or nothing where `has_voice` is 0 (B, V, M).
        voice_frames: valid mel frames (B,).
        has_voice: (B, 1).
        video: features at the codec's rate, zeros for none (B, T, D); unused where there are pictures.
        pixels: pictures of all rows (P, 3, H, W) uint8, where the video encoder is trained.
        picture: which of them each slot sees (B, T).
        has_video: (B, 1, 1).
    """

    name: str
    seed: int
    codes: Tensor
    targets: Tensor
    present: Tensor
    text_ids: Tensor
    text_lengths: Tensor
    is_padded: bool
    voice_mel: Tensor
    voice_frames: Tensor
    has_voice: Tensor
    video: Tensor
    pixels: Tensor
    picture: Tensor
    has_video: Tensor


class SoundtrackCorpus:
    """The rows of a stage's tasks, in buckets of equal length.

    Rows with video are never padded: the aligner attends to all of a video, so a longer one is another input.
    """

    def __init__(
        self,
        folder: str,
        config: DataConfig,
        training: LanguageTraining,
        model: DualDubConfig,
        tokenizer: TextTokenizer,
        *,
        with_pictures: bool = False,
        shards: Sequence[str] = (),
    ) -> None:
        self._config, self._training, self._model, self._tokenizer = config, training, model, tokenizer
        self._with_pictures = with_pictures
        video = ("frames", "frames_shape") if with_pictures else ("features",)
        self._rows = open_rows(Path(folder), [*_COLUMNS, *video], config.cache, shards)
        self._tasks = [Task(task) for task in self._rows["task"]]
        self._lengths = [int(length) for length in self._rows["num_frames"]]
        self._passes = _passes(training)
        self._by_speaker: dict[str, list[int]] = {}
        for row, (speaker, task) in enumerate(zip(self._rows["speaker"], self._tasks, strict=True)):
            if speaker and task is not Task.BACKGROUND:
                self._by_speaker.setdefault(speaker, []).append(row)
        found = {task: self._tasks.count(task) for task in self._passes}
        if not all(found.values()):
            raise InputError(f"{folder}: got {_counts(found)}, expected rows of each task of stage {training.stage}")

    def epoch(self, rng: np.random.Generator) -> list[Rows]:
        of_task: dict[Task, list[int]] = {task: [] for task in self._passes}
        for row, task in enumerate(self._tasks):
            if task in of_task:
                of_task[task].append(row)
        batches: list[Rows] = []
        for task, passes in self._passes.items():
            rows = of_task[task]
            whole, share = int(passes), passes % 1
            some = rng.permutation(rows)[: round(share * len(rows))].tolist() if share else []
            for subset in [rows] * whole + ([some] if some else []):
                lengths = {row: self._num_slots(row) for row in subset}
                batches += bucketed(
                    lengths,
                    rng,
                    micro_batch=self._config.micro_batch,
                    lengths=lengths,
                    cap=self._config.max_frames,
                )
        return [batches[i] for i in rng.permutation(len(batches))]

    def batch(self, rows: Rows, rng: np.random.Generator) -> SoundtrackBatch:
        task, num_slots = self._tasks[rows[0]], max(map(self._num_slots, rows))
        loaded: list[dict[str, Any]] = [self._rows[row] for row in rows]
        dropped = rng.random(len(rows)) < self._training.condition_dropout
        kept = torch.from_numpy(~dropped).float()
        codes, targets = self._codes(loaded, task, num_slots)
        texts = [self._text(row, task, bool(drop)) for row, drop in zip(loaded, dropped, strict=True)]
        text_ids, text_lengths = self._padded(texts), torch.tensor([len(text) for text in texts])
        mels, speaks = self._voices(rows, task, rng)
        video, pixels, picture = self._video(loaded, task, num_slots)
        present = torch.tensor([float(stream in task.streams) for stream in STREAMS])
        return SoundtrackBatch(
            name=task.value,
            seed=draw_seed(rng),
            codes=codes,
            targets=targets,
            present=present.repeat(len(rows), 1),
            text_ids=text_ids,
            text_lengths=text_lengths,
            is_padded=bool((text_lengths != text_ids.shape[1]).any()),
            voice_mel=self._padded(mels),
            voice_frames=torch.tensor([mel.shape[0] for mel in mels]),
            has_voice=(kept * float(speaks))[:, None],
            video=video * kept[:, None, None],
            pixels=pixels,
            picture=picture,
            has_video=(kept * float(task is not Task.SPEECH))[:, None, None],
        )

    def _num_slots(self, row: int) -> int:
        """Frames, and for speech without video one for its end, padded."""
        if self._tasks[row] is not Task.SPEECH:
            return self._lengths[row]
        return self._rounded(self._lengths[row] + 1)

    def _rounded(self, length: int) -> int:
        return -(-length // self._config.pad_to) * self._config.pad_to

    def _padded(self, rows: list[Tensor]) -> Tensor:
        """Rows (L, ...) of any lengths as (B, L, ...), the longest rounded up: few lengths, few kernels to prepare."""
        padded = pad_sequence(rows, batch_first=True)
        more = self._rounded(padded.shape[1]) - padded.shape[1]
        return torch.cat([padded, padded.new_zeros(padded.shape[0], more, *padded.shape[2:])], dim=1)

    def _codes(self, loaded: list[dict[str, Any]], task: Task, num_slots: int) -> tuple[Tensor, Tensor]:
        codes = torch.zeros(len(loaded), len(STREAMS), num_slots, dtype=torch.int64)
        targets = torch.full_like(codes, IGNORE)
        for index, row in enumerate(loaded):
            for axis, stream in enumerate(STREAMS):
                if stream not in task.streams:
                    continue
                values = row[f"codes_{stream.value}"]
                if values is None:
                    raise InputError(f"a row of task '{task.value}' has no {stream.value} codes; run train.precompute")
                length = len(values)
                codes[index, axis, :length] = torch.tensor(values, dtype=torch.int64)
                targets[index, axis, :length] = codes[index, axis, :length]
                if task is Task.SPEECH:
                    targets[index, axis, length] = self._model.eos
        return codes, targets

    def _text(self, row: Row, task: Task, is_dropped: bool) -> Tensor:
        if is_dropped:
            return torch.tensor([self._tokenizer.end_of_text])
        text = BACKGROUND_PROMPT if task is Task.BACKGROUND else row["text"]
        return torch.tensor(self._tokenizer.encode(text))

    def _voices(self, rows: Rows, task: Task, rng: np.random.Generator) -> tuple[list[Tensor], bool]:
        """Log-mel of a reference for each row (V, M), and whether there is one at all.

        Another recording of the speaker where there is one: 3 s of the target itself, as in section 3.2, tell the
        model more than who speaks.
        """
        config = self._model.speaker.mel
        if task is Task.BACKGROUND:
            return [torch.zeros(_NO_VOICE_FRAMES, config.n_mels) for _ in rows], False
        mels = []
        for row in rows:
            source = self._rows[self._reference(row, rng)]
            if source["voice_flac"] is None:
                raise InputError(f"a row of task '{task.value}' has no voice_flac; run train.precompute")
            waveform, rate = sound(source["voice_flac"])
            waveform = resample(waveform, rate, config.sample_rate)
            keep = num_samples(self._training.voice_seconds, config.sample_rate)
            start = int(rng.integers(max(0, waveform.shape[0] - keep) + 1))
            mels.append(log_mel(waveform[None, start : start + keep], config)[0])
        return mels, True

    def _reference(self, row: int, rng: np.random.Generator) -> int:
        others = [other for other in self._by_speaker.get(self._rows[row]["speaker"], []) if other != row]
        return others[int(rng.integers(len(others)))] if others else row

    def _video(self, loaded: list[dict[str, Any]], task: Task, num_slots: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, T, D), pictures (P, 3, H, W) and which picture each slot sees (B, T)."""
        none = torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
        picture = torch.zeros(len(loaded), num_slots, dtype=torch.int64)
        video = torch.zeros(len(loaded), num_slots, self._model.video_width)
        if task is Task.SPEECH:
            return video, none, picture
        centres, pixels, first = self._model.clock.centres(num_slots), [], 0
        for index, row in enumerate(loaded):
            times = torch.tensor(row["feature_times"], dtype=torch.float64)
            nearest = nearest_times(times, centres)
            if self._with_pictures:
                of_row = pictures(row)
                if of_row is None:
                    raise InputError("a row with video has no pictures; run train.precompute with --keep-pictures")
                pixels.append(of_row)
                picture[index], first = nearest + first, first + of_row.shape[0]
            else:
                video[index] = from_halves(row["features"], times.shape[0])[nearest]
        return video, torch.cat(pixels) if pixels else none, picture


def _passes(training: LanguageTraining) -> dict[Task, float]:
    tasks = stage_of(training.stage).tasks
    passes = training.passes or (1.0,) * len(tasks)
    if len(passes) != len(tasks) or min(passes) < 0 or not any(passes):
        raise InputError(f"passes: got {list(passes)}, expected one number for each of {[t.value for t in tasks]}")
    return {task: times for task, times in zip(tasks, passes, strict=True) if times}


def _counts(found: dict[Task, int]) -> str:
    return ", ".join(f"{count} {task.value}" for task, count in found.items())
