"""Is it the voice that was asked for? The nearest of all voices, by statistics of the sound alone.

No network: means and deviations of cepstra, and the pitch, of the frames that are loud. They are scaled so that
recordings of one voice lie close together (linear discriminant analysis), then the nearest voice's mean wins.
Letters: N samples, T frames, K features.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dualdub_core.audio import MelConfig, log_mel, resample
from dualdub_core.dualbench.intervals import Estimate, mean
from dualdub_core.errors import InputError
from dualdub_core.types import Stream

from .clips import EvalClip, FloatArray
from .compose import Made
from .table import Figure, Gate

FloatVector = NDArray[np.float64]

GATE = Gate(bound=0.9)
ORIGINALS, CHANCE, ANOTHER = "originals", "1 / voices", "another clip's voice"
_MEL = MelConfig.mini()
_NUM_CEPSTRA = 20
_LOUD = 3.5  # nepers of mel magnitude below the loudest frame, 30 dB
_SHRINKAGE = 0.1
_PITCHES = (70.0, 350.0)  # Hz
_VOICED = 0.5
_PITCH_WINDOW = 1024


def describe(waveform: FloatArray, sample_rate: int) -> FloatVector:
    """Statistics of a voice (K,) from a sound (N,), independent of its level and of what is said."""
    sound = resample(torch.from_numpy(np.ascontiguousarray(waveform))[None], sample_rate, _MEL.sample_rate)
    sound = sound / sound.abs().max().clamp(min=1e-6)
    mel = log_mel(sound, _MEL)[0].double().numpy()  # (T, bands)
    loudness = mel.max(axis=1)
    mel = mel[loudness > loudness.max() - _LOUD]
    # The cosine of order 0 is the level.
    orders, bands = np.arange(1, _NUM_CEPSTRA + 1), np.arange(mel.shape[1]) + 0.5
    cepstra = mel @ np.cos(np.pi * np.outer(bands, orders) / mel.shape[1]) / mel.shape[1]
    return np.concatenate([cepstra.mean(axis=0), cepstra.std(axis=0), _pitch(sound[0].double().numpy())])


class VoiceJudge:
    """Knows voices by recordings of them."""

    def __init__(self, fitted: Mapping[str, Sequence[FloatVector]], known: Mapping[str, Sequence[FloatVector]]) -> None:
        """Learn the scale from some voices, and the means of these and of further ones.

        Args:
            fitted: descriptions of recordings by voice; they set the scale.
            known: of voices that are only known by their mean.

        Raises:
            InputError: fewer than two voices, or none with two recordings.
        """
        rest = [np.asarray(v) - np.mean(v, axis=0) for v in fitted.values() if len(v) > 1]
        if len(fitted) < 2 or not rest:
            raise InputError(f"voices: got {len(fitted)} to learn from, expected two or more with several recordings")
        inside = np.concatenate(rest)
        spread = inside.std(axis=0) + 1e-9
        covariance = np.cov(inside / spread, rowvar=False)
        covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * np.eye(len(spread))
        values, vectors = np.linalg.eigh(covariance)
        self._scale = vectors / np.sqrt(values) / spread[:, None]  # (K, K)
        self._means = {name: np.mean(v, axis=0) @ self._scale for name, v in (dict(known) | dict(fitted)).items()}

    @property
    def num_voices(self) -> int:
        """How many it tells apart."""
        return len(self._means)

    def nearest(self, description: FloatVector) -> str:
        """The voice whose mean is nearest."""
        point = description @ self._scale
        return min(self._means, key=lambda name: float(((self._means[name] - point) ** 2).sum()))


def describe_speech(clips: Sequence[EvalClip], *, most: int = 60) -> dict[str, list[FloatVector]]:
    """Descriptions of the first recordings of every voice."""
    found: dict[str, list[FloatVector]] = {}
    for clip in clips:
        of_voice = found.setdefault(clip.speaker, [])
        if len(of_voice) < most:
            of_voice.append(describe(clip.stems[Stream.SPEECH], clip.sample_rate))
    return found


def voice_figures(prefix: str, clips: Sequence[EvalClip], made: Sequence[Made], judge: VoiceJudge) -> list[Figure]:
    """The share of takes whose nearest voice is the asked one: voices of training, then voices never heard."""
    heard = [judge.nearest(describe(one.stems[Stream.SPEECH], one.sample_rate)) for one in made]
    originals = [judge.nearest(describe(clip.stems[Stream.SPEECH], clip.sample_rate)) for clip in clips]
    figures = []
    for name, title, is_new in (("voice", "voices of training", False), ("new_voice", "unseen voices", True)):
        chosen = [i for i, clip in enumerate(clips) if ("speaker" in clip.unseen) == is_new]
        asked, found = [clips[i].speaker for i in chosen], [heard[i] for i in chosen]
        chance = 1 / judge.num_voices
        figures.append(
            Figure(
                key=f"{prefix}.{name}.accuracy",
                title=f"{prefix}: nearest voice is the asked one, {title}",
                better="higher",
                estimate=_share_equal(asked, found),
                controls={
                    ORIGINALS: _share_equal(asked, [originals[i] for i in chosen]),
                    CHANCE: Estimate(chance, chance, chance, len(chosen)),
                    ANOTHER: _share_equal(asked[1:] + asked[:1], found),
                },
                chance=(CHANCE, ANOTHER),
                gate=None if is_new or prefix == "joint" else GATE,
            )
        )
    return figures


def _share_equal(asked: Sequence[str], found: Sequence[str]) -> Estimate:
    return mean([float(one == other) for one, other in zip(asked, found, strict=True)])


def _pitch(sound: FloatVector) -> FloatVector:
    """Median and spread of the logarithm of the pitch over voiced frames, by autocorrelation (2,)."""
    padded = np.pad(sound, (0, max(0, _PITCH_WINDOW - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _PITCH_WINDOW)[:: _PITCH_WINDOW // 4]
    frames = frames[np.square(frames).mean(axis=1) > 1e-3 * np.square(frames).mean(axis=1).max()]
    if len(frames) == 0:
        return np.array([np.log(150.0), 0.0])
    window = np.hanning(_PITCH_WINDOW)
    shortest, longest = (round(_MEL.sample_rate / hertz) for hertz in reversed(_PITCHES))
    correlation = _autocorrelation(frames * window) / _autocorrelation(window[None])
    candidates = correlation[:, shortest : longest + 1]
    voiced = candidates.max(axis=1) > _VOICED
    if not voiced.any():
        return np.array([np.log(150.0), 0.0])
    pitch = np.log(_MEL.sample_rate / (candidates[voiced].argmax(axis=1) + shortest))
    return np.array([np.median(pitch), np.subtract(*np.percentile(pitch, (75, 25)))])


def _autocorrelation(frames: FloatVector) -> FloatVector:
    """Of frames (T, N), 1 at lag 0; silent frames are 0."""
    power = np.abs(np.fft.rfft(frames, n=2 * _PITCH_WINDOW, axis=1)) ** 2
    full = np.fft.irfft(power, axis=1)[:, :_PITCH_WINDOW]
    scaled: FloatVector = full / np.maximum(full[:, :1], 1e-12)
    return scaled
