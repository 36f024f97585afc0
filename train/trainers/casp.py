"""Training of CASP: a clip's speech must find its background among those of the batch, and the other way round.

What is not meant are the other clips of a micro-batch on one process. Gathering them from all processes, as CLIP does,
would make an update depend on how many there are; a batch of the paper's size fits on one.
"""

from dataclasses import replace

import torch

from dualdub_core.dualbench.beats import load_beats
from dualdub_core.dualbench.casp import Casp, init_casp
from dualdub_core.dualbench.frontends import BEATS_RATE
from dualdub_core.errors import CheckpointError, ConfigError

from ..config import DataConfig, RunConfig
from ..losses import CaspLosses, casp_losses
from ..pairs import PairBatch, PairCorpus
from ..sizes import casp_config
from .objective import Objective, Setup, initial


class CaspObjective(Objective):
    """The contrastive loss in both directions."""

    parts = ("casp",)

    def __init__(self, casp: Casp) -> None:
        super().__init__()
        self.casp = casp

    def weight(self, batch: PairBatch) -> float:
        return float(batch.lengths.shape[0])

    def forward(self, batch: PairBatch) -> CaspLosses:
        speech = self.casp.embed_speech(batch.speech, batch.lengths)
        audio = self.casp.embed_audio(batch.audio, batch.lengths)
        return casp_losses(speech, audio, self.casp.scale)

    def after_update(self) -> None:
        self.casp.limit_scale()


def make(config: RunConfig, *, is_resumed: bool) -> Setup:
    """The run's objective and data."""
    training = config.casp
    assert training is not None
    if training.init is not None and training.beats is not None:
        raise ConfigError(f"casp: got init {training.init} and beats {training.beats}, expected one of them at most")
    casp = initial("casp", casp_config(training.size), training.init, config.seed)
    assert isinstance(casp, Casp)
    if training.init is None and not is_resumed:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            init_casp(casp)
        if training.beats is not None:
            start_from(casp, training.beats)

    def corpus(folder: str, data: DataConfig) -> PairCorpus:
        return PairCorpus(folder, data, shortest=training.shortest, sample_rate=BEATS_RATE)

    validation = config.data.validation
    return Setup(
        objective=CaspObjective(casp),
        train=corpus(config.data.train, config.data),
        validation=None if validation is None else corpus(validation, config.data),
    )


def start_from(casp: Casp, path: str) -> None:
    """Give the audio branch a published BEATs' weights; the speech branch stays as it is.

    Raises:
        CheckpointError: the file is not a BEATs, or of another size.
    """
    beats, expected = load_beats(path), casp.config.beats
    if replace(beats.config, dropout=expected.dropout) != expected:
        raise CheckpointError(
            f"{path}: a BEATs of {beats.config}, expected {expected}; name the size that fits it, or another file"
        )
    casp.audio.load_state_dict(beats.state_dict())
