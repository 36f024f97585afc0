"""Where the words of a line are heard, estimated without a network from how long each should take and how quiet it is.

Words share the time in which the line sounds in proportion to their syllables and letters, and the last before a breath
is drawn out, as it is in most languages (final lengthening). Then each border moves towards a moment in which the voice
is low, as far as no word becomes much longer or shorter than its share: dynamic programming over all borders at once.
Pauses belong to no word. In running speech most borders are not low at all, so these are estimates, and are written
down as such; `python -m train.scenes.check` measures their error where the truth is known.

Letters: N samples, T frames of 10 ms (longer ones in a line of more than 30 s), n words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from .speaking import syllables

Array = NDArray[np.float64]

_HOP, _MOST_FRAMES = 0.010, 3000  # seconds; more frames would take memory with the square of a line's length
_BAND = 250.0, 3500.0  # Hz, of the voice; hiss and hum are outside
_DEEPEST = 40.0  # dB below the loudest; what is quieter is all the same
_QUIET, _PAUSE = 25.0, 15  # dB below the loudest for so many frames is a pause; a closed mouth within a word is shorter
_NEAR = 12  # frames on either side in which a valley must be lower than a hill
# Of a word in syllables: each letter beside them, and what a word is longer before a breath or the end of the line.
_PER_LETTER, _LAST = 0.3, 1.0
# What a border in a valley gains, per 10 dB, and a word costs that is e times as long as its share of 30 frames.
_PER_DEPTH, _PER_STRETCH = 0.5, 10.0
_AFTER_PAUSE = 4.0  # what a border gains that stands at a pause
_LONGEST = 4  # times its share, and 30 frames, that a word may last

# Chinese and Japanese put no spaces between words: there each sign counts as one.
_SIGN = "\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PIECE = re.compile(rf"[{_SIGN}][^\w\s]*\s*|[^\s{_SIGN}]+\s*")
_BREATH = re.compile(r"[,;:.!?…،、。；：！？؟]\s*$")  # noqa: RUF001
_LETTER = re.compile(r"[^\W_]")


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word, with the signs that belong to it, and the seconds from which to which it is said."""

    text: str
    start: float
    end: float


def split_words(text: str) -> list[str]:
    """The words of a line with what stands after them; joined they are the line again."""
    pieces: list[str] = []
    for piece in _PIECE.findall(text):
        if pieces and not (_LETTER.search(piece) and _LETTER.search(pieces[-1])):
            pieces[-1] += piece  # a dash of its own is no word
        else:
            pieces.append(piece)
    return pieces


def place_words(text: str, waveform: Tensor, sample_rate: int, *, begin: float = 0.0) -> tuple[WordTime, ...]:
    """The words of a line on the clock of its sound; none where it sounds for less than 10 ms a word.

    Args:
        text: what is said.
        waveform: mono (N,), from the first sound of the line to its last.
        sample_rate: Hz.
        begin: seconds at which that is.
    """
    pieces = split_words(text)
    hop = max(1, round(_HOP * sample_rate), -(-waveform.numel() // _MOST_FRAMES))
    if waveform.numel() < hop * len(pieces):
        return ()
    level = _level(waveform, sample_rate, hop)
    sounds = np.flatnonzero(~_pauses(level))  # frames, which are all that words may have
    if len(sounds) < len(pieces):
        return ()
    gain = _PER_DEPTH * _depths(level)[sounds]
    gain[1:][np.diff(sounds) > 1] += _AFTER_PAUSE
    borders = _borders(_shares(pieces) * len(sounds), gain)
    step = hop / sample_rate
    return tuple(
        WordTime(piece.strip(), begin + float(sounds[first]) * step, begin + float(sounds[last - 1] + 1) * step)
        for piece, first, last in zip(pieces, borders[:-1], borders[1:], strict=True)
    )


def _shares(pieces: Sequence[str]) -> Array:
    """Of the time in which a line sounds, (n,)."""
    weights = np.array([syllables(piece) + _PER_LETTER * len(_LETTER.findall(piece)) for piece in pieces])
    weights += [_LAST * bool(_BREATH.search(piece)) for piece in (*pieces[:-1], ".")]
    return np.asarray(weights / weights.sum())


def _level(waveform: Tensor, sample_rate: int, hop: int) -> Array:
    """How far each frame lies below the loudest, dB, (T,), from -40 to 0."""
    spectrum = torch.fft.rfft(waveform.double().cpu())
    frequencies = torch.fft.rfftfreq(waveform.numel(), 1 / sample_rate)
    voice = torch.fft.irfft(spectrum * ((frequencies > _BAND[0]) & (frequencies < _BAND[1])), waveform.numel())
    power = F.avg_pool1d(voice.square()[None], hop)
    for _ in range(2):  # neighbours taken in, so that no glottal pulse is a hill
        power = F.avg_pool1d(power, 3, stride=1, padding=1, count_include_pad=False)
    level = 10 * torch.log10(power[0] / power.max().clamp(min=1e-20) + 1e-20)
    return np.asarray(level.clamp(min=-_DEEPEST).numpy())


def _pauses(level: Array) -> NDArray[np.bool_]:
    """Which frames (T,) belong to a stretch that is quiet for long."""
    quiet = np.concatenate([[False], level < -_QUIET, [False]])
    edges = np.flatnonzero(quiet[1:] != quiet[:-1]).reshape(-1, 2)
    pauses = np.zeros(len(level), dtype=bool)
    for first, last in edges[edges[:, 1] - edges[:, 0] >= _PAUSE]:
        pauses[first:last] = True
    return pauses


def _depths(level: Array) -> Array:
    """How far each frame (T,) lies below the lower of the hills before and after it, in 10 dB."""
    windows = sliding_window_view(np.pad(level, _NEAR, mode="edge"), _NEAR + 1)
    before, after = windows[: len(level)].max(axis=1), windows[_NEAR:].max(axis=1)
    return np.asarray(np.minimum(before, after) - level) / 10


def _borders(expected: Array, gain: Array) -> list[int]:
    """Frames at which words begin, and the end of the last, n + 1: the best of all ways to divide the frames.

    Args:
        expected: frames of each word, (n,).
        gain: of a border before each frame, (T,).
    """
    num_frames, gain = len(gain), np.append(gain, 0.0)
    cost = np.full(num_frames + 1, np.inf)  # of the best way to have divided the frames before each
    cost[0] = 0.0
    lengths = []
    for share in expected:
        longest = min(num_frames, int(_LONGEST * share) + 30)
        stretch = _PER_STRETCH * share / 30 * np.log(np.arange(1, longest + 1) / share) ** 2
        # Row t: the costs of frames t - 1, t - 2 ... as where the word begins that ends before frame t.
        starts = sliding_window_view(np.concatenate([np.full(longest, np.inf), cost[:-1]]), longest)[:, ::-1]
        best = (starts + stretch).argmin(axis=1)
        cost = np.take_along_axis(starts, best[:, None], axis=1)[:, 0] + stretch[best] - gain
        lengths.append(best + 1)
    borders = [num_frames]
    for length in reversed(lengths):
        borders.append(borders[-1] - int(length[borders[-1]]))
    return borders[::-1]
