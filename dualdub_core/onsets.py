"""When things begin to sound, heard without a network and without optional packages: peaks of a spectrogram's rise.

For pictures and previews; the benchmark's sync figures keep their reference's own onsets (`dualbench.av_align`).
Letters: N samples, T frames, M bands.
"""

import torch.nn.functional as F
from torch import Tensor

from .audio import MelConfig, log_mel, to_mono, with_rate
from .errors import InputError
from .types import Audio, check_finite

_MEL = MelConfig(sample_rate=24_000, n_fft=512, hop_length=120, n_mels=40, floor=1e-5)
_RANGE = 5.8  # nepers below the loudest that count, 50 dB
_SILENT = -8.0  # nepers; if nothing is louder, nothing begins
_APART, _AROUND = 12, 60  # frames of 5 ms: between onsets, and on either side for the mean
_RISE = 0.1  # of the range, above the mean around
_BLOCK = 24  # samples, 1 ms
_SEARCH = 15  # blocks on either side of a peak
_BEGUN = 0.25  # of the loudest block there


def detect_onsets(audio: Audio) -> list[float]:
    """Seconds at which something begins, ascending; at most one in 60 ms.

    Args:
        audio: one item (1, C, N).

    Raises:
        InputError: more than one item, or samples that are not finite.
    """
    check_finite(audio, "onsets")
    if audio.waveform.shape[0] != 1:
        raise InputError(f"onsets: got a batch of {audio.waveform.shape[0]} recordings, expected one at a time")
    mono = with_rate(to_mono(audio), _MEL.sample_rate).waveform[:, 0].float().cpu()
    # What sounds from the first sample on began there, and padding by reflection would hide it.
    mono = F.pad(mono, (_MEL.n_fft, _MEL.n_fft))
    bands = log_mel(mono, _MEL)[0]  # (T, M)
    loudest = float(bands.max())
    if loudest < _SILENT:
        return []
    level = (1 + (bands - loudest) / _RANGE).clamp(min=0)
    rise = F.pad((level[2:] - level[:-2]).clamp(min=0).mean(dim=1), (1, 1))
    near = F.max_pool1d(rise[None, None], 2 * _APART + 1, stride=1, padding=_APART)[0, 0]
    mean = F.avg_pool1d(rise[None, None], 2 * _AROUND + 1, stride=1, padding=_AROUND)[0, 0]
    peaks = ((rise == near) & (rise > mean + _RISE)).nonzero()[:, 0].tolist()
    # A sound that is cut off is a click too, but nothing begins with it.
    latest = (mono.shape[1] - 3 * _MEL.n_fft // 2) // _MEL.hop_length - 1
    times = [_begun(mono[0], peak * _MEL.hop_length) for peak in peaks if peak <= latest]
    return [max(time, 0.0) for time in times]


def _begun(samples: Tensor, near: int) -> float:
    """Seconds of the first loud block (padding taken off) around a sample of the padded recording."""
    first = max(0, near - _SEARCH * _BLOCK)
    part = samples[first : near + _SEARCH * _BLOCK]
    power = part[: len(part) // _BLOCK * _BLOCK].view(-1, _BLOCK).square().mean(dim=1)
    begun = int((power >= _BEGUN * power.max()).nonzero()[0, 0])
    return (first + begun * _BLOCK - _MEL.n_fft) / _MEL.sample_rate
