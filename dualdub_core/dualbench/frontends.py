"""What the judges' networks hear: each one's spectrogram, and the one way a file becomes its waveform.

References: torchlibrosa 0.1.0 as PANNs uses it, torchvggish's mel_features, torchaudio's kaldi.fbank as BEATs
uses it, and audioldm_eval 8dc07ee's loading. Another resampler moves FD by 30, so all of them use `audio.resample`.
Spectra are float64 inside: in float32, as in the references, bins 90 dB below the loudest are mostly rounding.

Letters: B batch, N samples, T frames, M bands, P patches.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio import resample, to_mono
from ..errors import InputError
from ..types import Audio, check_finite
from .filterbanks import htk_bank, kaldi_bank, slaney_bank

VGGISH_RATE = 16_000
BEATS_RATE = 16_000
"""Hz."""

_PANNS = {16_000: (512, 160, 8_000), 32_000: (1024, 320, 14_000)}  # n_fft, hop, upper edge in Hz
_WINDOW, _HOP = 400, 160  # samples at 16 kHz: VGGish and BEATs look at 25 ms every 10 ms
_PATCH = 96  # frames, 0.96 s
_SHORTEST = 32_000  # samples, whatever the rate
_BEATS_MEAN, _BEATS_STD = 15.41663, 6.55582
_INT16 = 2**15


def judged_waveform(audio: Audio, sample_rate: int, *, channels: Literal["first", "mean"] = "first") -> Tensor:
    """A recording as audioldm_eval hears it: one channel, its mean taken off, resampled, padded.

    Args:
        audio: of any rate and number of channels.
        sample_rate: Hz, of the network.
        channels: "first" as audioldm_eval for FD and FAD, "mean" as av-benchmark; in stereo they differ.

    Returns:
        (B, N) float32, at least 32,000 samples long: zeros on the right.

    Raises:
        InputError: samples that are not finite, or none.
    """
    check_finite(audio, "metric")
    mono = audio.waveform[:, 0] if channels == "first" else to_mono(audio).waveform[:, 0]
    mono = mono.float()
    waveform = resample(mono - mono.mean(dim=-1, keepdim=True), audio.sample_rate, sample_rate)
    return F.pad(waveform, (0, max(0, _SHORTEST - waveform.shape[-1])))


def panns_log_mel(waveform: Tensor, sample_rate: int) -> Tensor:
    """Power in 64 Slaney bands, in decibels.

    Args:
        waveform: (B, N) at `sample_rate`.
        sample_rate: 16000 or 32000 Hz; they are two networks.

    Returns:
        (B, T, 64) with T = N // hop + 1, hop 10 ms; at least -100 dB.

    Raises:
        InputError: another rate, or too short for the mirrored ends (half a window, 16 ms).
    """
    if sample_rate not in _PANNS:
        raise InputError(f"PANNs: got {sample_rate} Hz, expected one of {sorted(_PANNS)}; resample first")
    n_fft, hop, high = _PANNS[sample_rate]
    if waveform.shape[-1] <= n_fft // 2:
        raise InputError(f"PANNs: got {waveform.shape[-1]} samples, expected more than {n_fft // 2}; pad the clip")
    samples = waveform.cpu().double()  # not every accelerator knows float64
    window = torch.hann_window(n_fft, dtype=samples.dtype)
    spectrum = torch.stft(samples, n_fft, hop, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    bank = slaney_bank(sample_rate=sample_rate, n_fft=n_fft, n_mels=64, low=50, high=high)
    decibels: Tensor = 10 * (power.mT @ bank).clamp(min=1e-10).log10()
    return decibels.to(waveform)


def vggish_patches(waveform: Tensor) -> Tensor:
    """Log magnitudes in 64 HTK bands, cut into patches of 0.96 s; what is left over is dropped.

    Args:
        waveform: one recording (N,) at 16 kHz; for FAD an item of `judged_waveform`, at least two patches long.

    Returns:
        (P, 96, 64); no patch at all for less than 0.975 s.
    """
    if waveform.shape[-1] < _WINDOW:
        return waveform.new_zeros(0, _PATCH, 64)
    frames = waveform.cpu().double().unfold(-1, _WINDOW, _HOP) * torch.hann_window(_WINDOW, dtype=torch.float64)
    bank = htk_bank(sample_rate=VGGISH_RATE, n_fft=512, n_mels=64, low=125, high=7_500)
    log_mel = (torch.fft.rfft(frames, 512).abs() @ bank + 0.01).log().to(waveform)
    num_patches = log_mel.shape[0] // _PATCH
    patches: Tensor = log_mel[: num_patches * _PATCH].reshape(num_patches, _PATCH, 64)
    return patches


def beats_fbank(waveform: Tensor) -> Tensor:
    """Kaldi's filter bank of 128 bands, centred and scaled as BEATs was trained.

    Args:
        waveform: (B, N) at 16 kHz, in [-1, 1].

    Returns:
        (B, T, 128) with T = (N - 400) // 160 + 1.

    Raises:
        InputError: shorter than one window, 25 ms.
    """
    if waveform.shape[-1] < _WINDOW:
        raise InputError(f"BEATs: got {waveform.shape[-1]} samples, expected at least {_WINDOW}; pad the clip")
    frames = (waveform.cpu().double() * _INT16).unfold(-1, _WINDOW, _HOP)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    povey = torch.hann_window(_WINDOW, periodic=False, dtype=frames.dtype).pow(0.85)
    spectrum = torch.fft.rfft((frames - 0.97 * before) * povey, 512)
    power = spectrum.real.square() + spectrum.imag.square()
    bank = kaldi_bank(sample_rate=BEATS_RATE, n_fft=512, n_mels=128, low=20, high=8_000)
    log_mel: Tensor = (power @ bank).clamp(min=torch.finfo(torch.float32).eps).log()
    return ((log_mel - _BEATS_MEAN) / (2 * _BEATS_STD)).to(waveform)
