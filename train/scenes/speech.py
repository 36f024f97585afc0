"""Phrases spoken by flite, with the time of every word."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from numpy.typing import NDArray

from dualdub_core.errors import InputError

from .voices import SpeakerSpec

FloatArray = NDArray[np.float32]

_SILENCE = "pau"


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word and when it is said, seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """Somebody saying something.

    Attributes:
        waveform: (N,), peak 1, silence cut away at both ends.
        words: in order; the first starts at 0.
    """

    waveform: FloatArray
    words: tuple[WordTime, ...]


def require_flite() -> None:
    """Refuse to start where the synthesizer is not installed.

    Raises:
        InputError: there is no flite.
    """
    if shutil.which("flite") is None:
        raise InputError(
            "flite: not found, expected it for the corpus' speech; install it with `apt-get install flite` "
            "(only making the corpus needs it), or make clips without speech: --kind v2a"
        )


def say(words: Sequence[str], speaker: SpeakerSpec, *, stretch_by: float, sample_rate: int) -> Utterance:
    """Speak a phrase; `stretch_by` above 1 is slower.

    Raises:
        InputError: there is no flite, or it failed.
    """
    require_flite()
    # The warp below also shortens the sound, so flite is asked for one that is longer by as much.
    settings = ["--setf", f"duration_stretch={stretch_by * speaker.warp:.4f}"]
    if speaker.f0 is not None:
        settings += ["--setf", f"int_f0_target_mean={speaker.f0}"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        phones = _flite(words, speaker.base, settings, output=str(path))
        waveform, rate = soundfile.read(path, dtype="float32")
    times = _word_times(words, phones)
    start, end = times[0].start, times[-1].end + 0.06
    waveform = waveform[int(start * rate) : int(end * rate)]
    waveform = stretch(waveform, round(len(waveform) * sample_rate / (rate * speaker.warp)))
    return Utterance(
        waveform=(waveform / np.abs(waveform).max()).astype(np.float32),
        words=tuple(WordTime(w.word, (w.start - start) / speaker.warp, (w.end - start) / speaker.warp) for w in times),
    )


def stretch(waveform: FloatArray, num_samples: int) -> FloatArray:
    """Play (N,) faster or slower, by its spectrum; its ends must be silent, or one is heard at the other."""
    spectrum = np.fft.rfft(waveform)
    resampled = np.fft.irfft(spectrum[: num_samples // 2 + 1], num_samples)
    return (resampled * (num_samples / len(waveform))).astype(np.float32)


def _word_times(words: Sequence[str], phones: list[tuple[str, float, float]]) -> list[WordTime]:
    """Deal the phones out to the words; flite keeps each word's number of phones in running speech."""
    spoken = [(start, end) for name, start, end in phones if name != _SILENCE]
    counts = [_num_phones(word) for word in words]
    if sum(counts) != len(spoken):
        raise InputError(f"flite: said {len(spoken)} phones for {' '.join(words)!r}, expected {sum(counts)}")
    ends = np.cumsum(counts)
    return [
        WordTime(word, spoken[end - count][0], spoken[end - 1][1])
        for word, count, end in zip(words, counts, ends.tolist(), strict=True)
    ]


@cache
def _num_phones(word: str) -> int:
    return sum(name != _SILENCE for name, _, _ in _flite([word], "kal16", [], output="none"))


def _flite(words: Sequence[str], base: str, settings: list[str], *, output: str) -> list[tuple[str, float, float]]:
    """Run flite; its phones with their start and end in seconds."""
    command = ["flite", "-voice", base, *settings, "-t", " ".join(words), "-o", output, "-psdur"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise InputError(f"flite: failed with status {result.returncode}: {result.stderr.strip()[-200:]}")
    pairs = [item.rsplit(":", 1) for item in result.stdout.split()]
    ends = [float(end) for _, end in pairs]
    return [(name, start, end) for (name, _), start, end in zip(pairs, [0.0, *ends], ends, strict=False)]
