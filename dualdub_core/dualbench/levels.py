"""Whether a soundtrack is as long and as loud as it should be, and whether a stem says anything at all.

Loudness and true peak are `dualdub_core.mixing.loudness`'s (BS.1770-4). The energy of a stem decides in the paper's
section 4.2 whether a clip is kept: both stems at -40 dB or above.

Letters: B batch, C channels, N samples.
"""

from dataclasses import dataclass

from torch import Tensor

from ..audio import to_mono
from ..errors import InputError
from ..mixing.loudness import integrated_lufs, true_peak_db
from ..types import Audio, check_finite

KEPT_FROM_DBFS = -40.0
"""dBFS by `rms_dbfs`; the paper's filter."""

_FLOOR = 1e-12  # of the mean square: -120 dBFS is the least there is
_CLIPPED = 1 - 2**-15  # the largest sample of 16 bits


@dataclass(frozen=True, slots=True)
class Levels:
    """One recording against the picture it belongs to.

    Attributes:
        lufs: integrated loudness, -inf for silence and for less than 0.4 s.
        true_peak_db: dBTP; above 0 converters clip.
        rms_dbfs: energy of the whole, at least -120.
        clipped_share: samples at full scale, 0 to 1.
        is_silent: whether every sample is 0.
        excess_seconds: how much longer than the picture; negative where it is shorter.
    """

    lufs: float
    true_peak_db: float
    rms_dbfs: float
    clipped_share: float
    is_silent: bool
    excess_seconds: float


def levels(audio: Audio, duration: float) -> Levels:
    """Measure one recording (1, C, N).

    Args:
        audio: the recording.
        duration: seconds of the picture.

    Raises:
        InputError: more than one item, samples that are not finite, or no duration.
    """
    check_finite(audio, "levels")
    if audio.waveform.shape[0] != 1:
        raise InputError(f"levels: got a batch of {audio.waveform.shape[0]} recordings, expected one at a time")
    if not 0 < duration < float("inf"):
        raise InputError(f"levels: got a picture of {duration} s, expected a positive number")
    return Levels(
        lufs=float(integrated_lufs(audio)),
        true_peak_db=float(true_peak_db(audio)),
        rms_dbfs=float(rms_dbfs(audio)),
        clipped_share=float((audio.waveform.abs() >= _CLIPPED).double().mean()),
        is_silent=not bool(audio.waveform.any()),
        excess_seconds=audio.duration - duration,
    )


def rms_dbfs(audio: Audio) -> Tensor:
    """Energy of each item's channel mean, 10 log10(mean square), float64 (B,); a full-scale sine is -3.01.

    Raises:
        InputError: samples that are not finite, or none.
    """
    return _decibels(_mono(audio).square().mean(dim=-1))


def loudest_frame_dbfs(audio: Audio) -> Tensor:
    """Energy of each item's loudest 25 ms, every 10 ms, float64 (B,).

    A faint clip with one click passes -40 dB by this and not by `rms_dbfs`. Less than 25 ms is one frame.

    Raises:
        InputError: samples that are not finite, or none.
    """
    mono = _mono(audio)
    window = min(mono.shape[-1], round(0.025 * audio.sample_rate))
    frames = mono.unfold(-1, window, max(1, round(0.010 * audio.sample_rate)))
    return _decibels(frames.square().mean(dim=-1).amax(dim=-1))


def _mono(audio: Audio) -> Tensor:
    check_finite(audio, "energy")
    return to_mono(Audio(audio.waveform.detach().double(), audio.sample_rate)).waveform[:, 0]


def _decibels(mean_square: Tensor) -> Tensor:
    return 10 * (mean_square + _FLOOR).log10()
