"""Training of the flow decoder: codes to latents by flow matching (paper, section 3.5, equation 7).

Letters: B rows, T code frames, T' latent frames, Z latent channels.
"""

from dataclasses import replace

import torch
from torch import Tensor

from dualdub_core.flow import flow_matching_loss
from dualdub_core.models.dit import FlowDecoder

from ..config import FlowTraining, RunConfig
from ..losses import FlowLosses
from ..sizes import flow_config
from ..sounds import LatentBatch, LatentCorpus
from .objective import Objective, Setup, initial


class FlowObjective(Objective):
    """One random time a row, spread evenly over the batch."""

    parts = ("decoder",)
    blocks = ("DiTBlock",)

    def __init__(self, decoder: FlowDecoder, config: FlowTraining) -> None:
        super().__init__()
        self.decoder, self.config = decoder, config

    def weight(self, batch: LatentBatch) -> float:
        return float(batch.mask.sum())

    def forward(self, batch: LatentBatch) -> FlowLosses:
        generator = torch.Generator().manual_seed(batch.seed)
        z_1 = self.decoder.normalise(batch.latents)
        num_rows, num_frames = z_1.shape[:2]
        noise = None
        if self.decoder.config.source_noise:
            noise = torch.randn(z_1.shape, generator=generator).to(z_1)
        z_0 = self.decoder.source(batch.codes, num_frames, noise)
        offset = torch.rand((), generator=generator)
        t = ((torch.arange(num_rows) / num_rows + offset) % 1).to(z_1)
        condition = self.decoder.condition(batch.codes, num_frames)
        if condition is not None and self.training:
            dropped = torch.rand(num_rows, generator=generator) < self.config.condition_dropout
            dropped = dropped.to(z_1.device)[:, None, None]
            condition = torch.where(dropped, self.decoder.uncondition(condition), condition)

        def velocity(z_t: Tensor, time: Tensor) -> Tensor:
            predicted: Tensor = self.decoder(z_t, time, condition, batch.mask)
            return predicted

        return FlowLosses(total=flow_matching_loss(velocity, z_0, z_1, t, batch.mask))


def make(config: RunConfig, *, is_resumed: bool) -> Setup:
    """The run's objective and data; the scale of the latents is measured where a decoder starts from nothing."""
    training = config.flow
    assert training is not None
    wanted = replace(
        flow_config(training.size), source_noise=training.source_noise, token_condition=training.token_condition
    )
    decoder = initial("decoder", wanted, training.init, config.seed)
    assert isinstance(decoder, FlowDecoder)
    clocks = {"codes": decoder.config.code_clock, "latents": decoder.config.latent_clock}
    corpus = LatentCorpus(config.data.train, config.data, **clocks)
    if training.init is None and not is_resumed:
        mean, std = corpus.statistics()
        decoder.latent_mean.copy_(mean)
        decoder.latent_std.copy_(std)
    validation = config.data.validation
    return Setup(
        objective=FlowObjective(decoder, training),
        train=corpus,
        validation=None if validation is None else LatentCorpus(validation, config.data, **clocks),
    )
