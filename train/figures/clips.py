"""Clips of a corpus as figures need them: sounds and pictures decoded, truth beside them.

Letters: N samples, F video frames, H W picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dualdub_core.errors import InputError
from dualdub_core.timing import video_feature_times
from dualdub_core.types import Audio, Stream, VideoFrames
from train.scenes.config import Kind
from train.scenes.shards import Row, frames_of, read_rows, stem_of

FloatArray = NDArray[np.float32]

_MARGIN = 0.05
_COLUMNS = [
    *("id", "kind", "duration", "sample_rate", "text", "speaker", "words", "word_starts", "word_ends"),
    *("mouth_onsets", "event_times", "unseen", "speech_flac", "background_flac", "frames", "frames_shape"),
]


@dataclass(frozen=True, slots=True)
class EvalClip:
    """A clip of the held-out split.

    Attributes:
        id: of the row.
        duration: seconds.
        sample_rate: of the stems, Hz.
        stems: mono sounds (N,).
        text: what is said.
        words: the same, word by word, without commas.
        spoken: seconds from the first word's start to the last one's end.
        speaker: who says it.
        unseen: what of it training never saw.
        events: seconds at which something sounds.
        mouth: seconds at which the mouth opens first, or None.
        pixels: what the video encoder looks at, uint8 (F, 3, H, W), or None.
    """

    id: str
    duration: float
    sample_rate: int
    stems: dict[Stream, FloatArray]
    text: str
    words: tuple[str, ...]
    spoken: tuple[float, float] | None
    speaker: str
    unseen: frozenset[str]
    events: tuple[float, ...]
    mouth: float | None
    pixels: torch.Tensor | None

    @property
    def frames(self) -> VideoFrames:
        """The pictures with their times."""
        assert self.pixels is not None
        times = video_feature_times(self.duration)[: len(self.pixels)]
        return VideoFrames(self.pixels, times, self.duration)

    @property
    def voice(self) -> Audio:
        """The speech without the silence around it, as a reference for other clips of the speaker."""
        speech = self.stems[Stream.SPEECH]
        assert self.spoken is not None
        start, end = (round(seconds * self.sample_rate) for seconds in self.spoken)
        margin = round(_MARGIN * self.sample_rate)
        return Audio(torch.from_numpy(speech[max(0, start - margin) : end + margin])[None, None], self.sample_rate)


def read_clips(folder: Path, kind: Kind, limit: int | None = None, *, with_pictures: bool = True) -> list[EvalClip]:
    """The first clips of a kind.

    Raises:
        InputError: there are none.
    """
    columns = _COLUMNS if with_pictures else [name for name in _COLUMNS if not name.startswith("frames")]
    clips = [_clip(row) for row in islice(read_rows(folder, kind=kind.value, columns=columns), limit)]
    if not clips:
        raise InputError(f"{folder}: no clips of kind '{kind.value}'; make some with python -m train.scenes")
    return clips


def references(clips: Sequence[EvalClip], pool: Sequence[EvalClip]) -> list[EvalClip]:
    """For each clip another recording of its speaker, the next one in the pool; its own where there is no other.

    No reference says the text that is asked for, so a voice cannot carry words.
    """
    by_speaker: dict[str, list[EvalClip]] = {}
    for clip in pool:
        by_speaker.setdefault(clip.speaker, []).append(clip)
    found = []
    for turn, clip in enumerate(clips):
        others = [other for other in by_speaker.get(clip.speaker, []) if other.words != clip.words]
        found.append(others[turn % len(others)] if others else clip)
    return found


def _clip(row: Row) -> EvalClip:
    pictures = frames_of(row) if "frames" in row else None
    stems = {stream: stem for stream in Stream if (stem := stem_of(row, stream.value)) is not None}
    return EvalClip(
        id=row["id"],
        duration=row["duration"],
        sample_rate=row["sample_rate"],
        stems=stems,
        text=row["text"],
        words=tuple(row["words"]),
        spoken=(row["word_starts"][0], row["word_ends"][-1]) if row["words"] else None,
        speaker=row["speaker"],
        unseen=frozenset(row["unseen"]),
        events=tuple(row["event_times"]),
        mouth=row["mouth_onsets"][0] if row["mouth_onsets"] else None,
        pixels=None if pictures is None else torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).contiguous(),
    )
