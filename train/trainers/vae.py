"""Training of the VAE: reconstruct pieces of sound through sampled latents.

Letters: B rows, C channels, N samples, Z latent channels, T latent frames.
"""

import torch
from torch import Tensor

from dualdub_core.models.oobleck import Oobleck

from ..config import RunConfig, VaeTraining
from ..initialise import scale_to_unit
from ..losses import VaeLosses, kl_divergence, sound_distances
from ..sizes import vae_config
from ..sounds import SoundBatch, SoundCorpus
from .objective import Objective, Setup, initial

_LOG_STD = -3.0  # about 0.05 after the softplus
_LOUDNESS = 0.05


class VaeObjective(Objective):
    """Spectral distances, L1 of the waveform and the KL term."""

    parts = ("vae",)

    def __init__(self, vae: Oobleck, config: VaeTraining) -> None:
        super().__init__()
        self.vae, self.config = vae, config

    def weight(self, batch: SoundBatch) -> float:
        return float(batch.waveform.shape[0])

    def forward(self, batch: SoundBatch) -> VaeLosses:
        waveform = batch.waveform
        mean, std = self.vae.encode_distribution(waveform)
        mean, std = mean.float(), std.float()
        generator = torch.Generator().manual_seed(batch.seed)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        # At evaluation the deterministic path counts: it is the one that decodes.
        latents = mean + std * noise if self.training else mean
        output = self.vae.decode(latents)
        distances = sound_distances(output, waveform, self.vae.config.sample_rate, self.config.loss)
        kl = kl_divergence(mean, std)
        return VaeLosses(
            total=distances.weighted(self.config.loss) + self.config.kl * kl,
            stft=distances.stft.detach(),
            mel=distances.mel.detach(),
            waveform=distances.waveform.detach(),
            kl=kl.detach(),
        )


def make(config: RunConfig, *, is_resumed: bool) -> Setup:
    """The run's objective and data."""
    training = config.vae
    assert training is not None
    vae = initial("vae", vae_config(training.size), training.init, config.seed)
    assert isinstance(vae, Oobleck)
    of = {
        "sample_rate": vae.config.sample_rate,
        "channels": vae.config.audio_channels,
        "hop_length": vae.config.hop_length,
    }
    corpus = SoundCorpus(config.data.train, config.data, **of)
    if training.init is None and not is_resumed:
        initialise(vae, corpus.some(config.seed))
    validation = config.data.validation
    return Setup(
        objective=VaeObjective(vae, training),
        train=corpus,
        validation=None if validation is None else SoundCorpus(validation, config.data, **of),
    )


@torch.no_grad()
def initialise(vae: Oobleck, waveform: Tensor) -> None:
    """Start with latents near 1 that are hardly noisy, and with quiet sound."""
    scale_to_unit(vae.encoder, lambda: vae.encoder(waveform))
    noisy = vae.encoder.conv2
    assert noisy.bias is not None
    noisy.weight[vae.config.latent_channels :] *= 0.1
    noisy.bias[vae.config.latent_channels :] = _LOG_STD
    scale_to_unit(vae.decoder, lambda: vae.decoder(vae.encode(waveform)))
    vae.decoder.conv2.weight.mul_(_LOUDNESS)
