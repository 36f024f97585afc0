"""Every loss as a pure function of outputs and targets; networks and the loop are elsewhere.

Letters: B batch, N samples, C channels, T frames, V codes, Z latent channels, D width.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from dualdub_core.audio import MelConfig, log_mel
from dualdub_core.dualbench.dualscore import contrastive_loss

from .config import SpectralConfig

IGNORE = -100
"""A target that does not count."""

STFT_SIZES = (2048, 1024, 512, 256, 128)
_FLOOR = 1e-5
_FAINT = 0.01  # amplitude, -40 dB


@dataclass(frozen=True, slots=True)
class LanguageLosses:
    """Means over target codes: all, those of each head, and the share that was likeliest.

    A head without targets in the batch is NaN.
    """

    total: Tensor
    background: Tensor
    speech: Tensor
    accuracy: Tensor


@dataclass(frozen=True, slots=True)
class CodecLosses:
    """Weighted sum, distances of the sound, the encoder's to its code and to the log-mel frame, codes in use."""

    total: Tensor
    stft: Tensor
    mel: Tensor
    waveform: Tensor
    commitment: Tensor
    distillation: Tensor
    agreement: Tensor


@dataclass(frozen=True, slots=True)
class VaeLosses:
    """Weighted sum, distances of the sound, and the latents' divergence from a standard normal."""

    total: Tensor
    stft: Tensor
    mel: Tensor
    waveform: Tensor
    kl: Tensor


@dataclass(frozen=True, slots=True)
class FlowLosses:
    """The velocity's mean squared error (equation 7)."""

    total: Tensor


@dataclass(frozen=True, slots=True)
class CaspLosses:
    """The contrastive loss, the share of stems whose partner is the nearest in the batch, the mean cosine of pairs."""

    total: Tensor
    top1: Tensor
    cosine: Tensor


@dataclass(frozen=True, slots=True)
class SoundDistances:
    """Distances between two sounds, unweighted scalars."""

    stft: Tensor
    mel: Tensor
    waveform: Tensor

    def weighted(self, config: SpectralConfig) -> Tensor:
        """Their sum."""
        return config.stft * self.stft + config.mel * self.mel + config.waveform * self.waveform


def language_losses(logits: Tensor, targets: Tensor) -> LanguageLosses:
    """Cross-entropy of both heads, every target code counting the same (section 3.4).

    Args:
        logits: background and speech (B, 2, T, V + 1).
        targets: (B, 2, T) int64, `IGNORE` where a head is masked by the task or the row has ended.
    """
    each = F.cross_entropy(logits.float().flatten(0, 2), targets.flatten(), ignore_index=IGNORE, reduction="none")
    each = each.view(targets.shape)
    counts = targets != IGNORE
    sums, numbers = each.sum((0, 2)), counts.sum((0, 2))  # (2,)
    chosen = logits.detach().gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    is_right = (chosen >= logits.detach().amax(-1)) & counts
    heads = (sums / numbers).detach()
    total = sums.sum() / numbers.sum()
    accuracy = is_right.sum() / numbers.sum()
    return LanguageLosses(total=total, background=heads[0], speech=heads[1], accuracy=accuracy)


def sound_distances(output: Tensor, target: Tensor, sample_rate: int, config: SpectralConfig) -> SoundDistances:
    """Distances between two waveforms (B, C, N) in float32; one whose weight is 0 is not computed."""
    output, target = output.float().flatten(0, 1), target.float().flatten(0, 1)
    zero = output.new_zeros(())
    with exact(output):
        return SoundDistances(
            stft=stft_distance(output, target) if config.stft else zero,
            mel=mel_distance(output, target, sample_rate) if config.mel else zero,
            waveform=F.l1_loss(output, target) if config.waveform else zero,
        )


def exact(like: Tensor) -> torch.autocast:
    """Keep float32 in a run with autocast: spectra and nearest codes do not survive bfloat16."""
    return torch.autocast(like.device.type, enabled=False)


def stft_distance(output: Tensor, target: Tensor, sizes: tuple[int, ...] = STFT_SIZES) -> Tensor:
    """Multi-resolution STFT distance of waveforms (B, N).

    At every window size the spectral convergence plus the L1 of the log magnitudes (Parallel WaveGAN).
    """
    total = output.new_zeros(())
    for size in sizes:
        ours, theirs = _magnitudes(output, size), _magnitudes(target, size)
        # Where a stem is silent the convergence would divide by nothing: faint noise is the least it divides by.
        faint = _FAINT * (theirs[0].numel() * 0.375 * size) ** 0.5
        scale = theirs.flatten(1).norm(dim=1).clamp(min=faint)
        convergence = ((theirs - ours).flatten(1).norm(dim=1) / scale).mean()
        total = total + convergence + F.l1_loss(_log(ours), _log(theirs))
    return total / len(sizes)


def mel_distance(output: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """L1 of the log-mel spectrograms of waveforms (B, N)."""
    total = output.new_zeros(())
    for config in _mel_configs(sample_rate):
        total = total + F.l1_loss(log_mel(output, config), log_mel(target, config))
    return total / len(_mel_configs(sample_rate))


def casp_losses(speech: Tensor, audio: Tensor, scale: Tensor) -> CaspLosses:
    """CLIP's loss of paired embeddings (B, E), row by row the partners; the others of the batch are what is not meant.

    Args:
        speech: of length 1.
        audio: of length 1.
        scale: inverse temperature.
    """
    speech, audio = speech.float(), audio.float()
    similarity = (speech @ audio.T).detach()
    target = torch.arange(len(similarity), device=similarity.device)
    is_found = torch.cat((similarity.argmax(0) == target, similarity.argmax(1) == target))
    return CaspLosses(
        total=contrastive_loss(speech, audio, scale.float()),
        top1=is_found.float().mean(),
        cosine=similarity.diagonal().mean(),
    )


def kl_divergence(mean: Tensor, std: Tensor) -> Tensor:
    """Divergence of N(mean, std) from the standard normal, the mean over all latents (B, Z, T)."""
    variance = std.square()
    return 0.5 * (mean.square() + variance - variance.log() - 1).mean()


@lru_cache
def _mel_configs(sample_rate: int) -> tuple[MelConfig, ...]:
    """Two views: pitch in one, onsets in the other."""
    return tuple(
        MelConfig(sample_rate=sample_rate, n_fft=n_fft, hop_length=n_fft // 4, n_mels=n_mels, floor=1e-3)
        for n_fft, n_mels in ((2048, 80), (512, 40))
    )


def _magnitudes(waveform: Tensor, size: int) -> Tensor:
    window = torch.hann_window(size, device=waveform.device)
    spectrum = torch.stft(waveform, size, size // 4, window=window, pad_mode="constant", return_complex=True)
    # The root's slope at zero is infinite, and exact zeros occur in silence.
    return (spectrum.real.square() + spectrum.imag.square() + _FLOOR**2).sqrt()


def _log(magnitudes: Tensor) -> Tensor:
    return (magnitudes + 1e-2).log()
