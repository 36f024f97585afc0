"""Training of the VAE: reconstruct pieces of sound through sampled latents.

Letters: B rows, C channels, N samples, Z latent channels, T latent frames.
"""

import torch

from dualdub_core.models.oobleck import Oobleck

from ..config import RunConfig, VaeTraining
from ..losses import VaeLosses, kl_divergence, sound_distances
from ..sizes import vae_config
from ..sounds import SoundBatch, SoundCorpus
from .objective import Objective, Setup, initial


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


def make(config: RunConfig, *, is_resumed: bool) -> Setup:  # noqa: ARG001, all makers are called alike
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
    validation = config.data.validation
    return Setup(
        objective=VaeObjective(vae, training),
        train=SoundCorpus(config.data.train, config.data, **of),
        validation=None if validation is None else SoundCorpus(validation, config.data, **of),
    )
