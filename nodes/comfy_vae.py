"""ComfyUI's own audio VAE in place of ours: Stable Audio's, or its kin, as ComfyUI's loaders give it.

ComfyUI decides where and in what precision it runs. It takes the latents as they are: Stable Audio's scale is 1.
Letters: B stems, C channels, N samples, Z latent channels, T latent frames.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from comfy.ldm.audio.autoencoder import AudioOobleckVAE
from comfy.sd import VAE
from torch import Tensor, nn

from ..dualdub_core.errors import CheckpointError, InputError
from ..dualdub_core.models.oobleck import OobleckConfig, join_chunks
from ..dualdub_core.progress import Progress
from .adapters import cancelled

_STRIDES = {2048: (2, 4, 4, 8, 8), 1920: (2, 4, 4, 6, 10)}
"""Hop in samples -> strides of the networks that ComfyUI builds."""


class ComfyVae:
    """A `decoding.Renderer` around a VAE socket's value."""

    name = "ComfyUI's VAE"

    def __init__(self, vae: VAE) -> None:
        """Look at what it is.

        Raises:
            CheckpointError: it is not an Oobleck, the kind of audio VAE that flow decoders are trained for.
        """
        network = getattr(vae, "first_stage_model", None)
        if not isinstance(network, AudioOobleckVAE):
            got = "none" if network is None else type(network).__name__
            raise CheckpointError(
                f"vae: got {got} from ComfyUI, expected Stable Audio's (AudioOobleckVAE), whose latents flow decoders "
                "are trained for; load it with ComfyUI's Load VAE or with Load Audio VAE (DualDub)"
            )
        self._vae, self._network = vae, network
        self.config = OobleckConfig(
            sample_rate=int(vae.audio_sample_rate),
            audio_channels=int(vae.output_channels),
            channels=128,
            latent_channels=int(vae.latent_channels),
            channel_multiples=(1, 2, 4, 8, 16),
            strides=_STRIDES[int(vae.upscale_ratio)],
            decodes_full_length=False,
        )

    def render(self, latents: Tensor, *, progress: Progress) -> Tensor:
        """Sound (B, C, N) of latents (B, Z, T), in chunks without seams.

        Raises:
            InputError: ComfyUI's VAE gave another length than its sizes say.
        """
        with _cancellable(self._network):
            return join_chunks(self.config, latents, self._decode, progress=progress)

    def _decode(self, latents: Tensor) -> Tensor:
        waveform: Tensor = self._vae.decode(latents).movedim(-1, 1)
        expected = self.config.num_samples(latents.shape[-1])
        if waveform.shape[-1] != expected:
            raise InputError(
                f"vae: got {waveform.shape[-1]} samples of {latents.shape[-1]} latent frames, expected {expected}; use "
                "Load Audio VAE (DualDub) for this file"
            )
        return waveform


@contextmanager
def _cancellable(network: nn.Module) -> Iterator[None]:
    """Every layer looks whether the artist cancels, as those of our own networks do."""
    layers = [layer for layer in network.modules() if next(layer.children(), None) is None]
    hooks = [layer.register_forward_pre_hook(cancelled) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
