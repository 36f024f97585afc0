"""Training of the language model in a stage of the curriculum."""

from pathlib import Path

import torch

from dualdub_core.models.dualdub import Conditions, DualDub, DualDubConfig
from dualdub_core.system import load_tokenizer

from ..config import LanguageTraining, RunConfig
from ..losses import IGNORE, LanguageLosses, language_losses
from ..sizes import language_config
from ..soundtracks import SoundtrackBatch, SoundtrackCorpus
from ..stages import stage_of
from .objective import Objective, Setup, initial, train_only


class LanguageObjective(Objective):
    """Cross-entropy of both heads; features of the video are given."""

    parts: tuple[str, ...] = ("model",)
    blocks = ("LlamaBlock",)

    def __init__(self, model: DualDub, config: LanguageTraining) -> None:
        super().__init__()
        self.model, self.config = model, config
        train_only(model, stage_of(config.stage).trained)
        if not config.use_aligner:
            torch.nn.init.zeros_(model.aligner.out.weight)
            model.aligner.requires_grad_(False)

    def weight(self, batch: SoundtrackBatch) -> float:
        return float((batch.targets != IGNORE).sum())

    def forward(self, batch: SoundtrackBatch) -> LanguageLosses:
        # Without a voice the encoder still runs, so that every process uses the same parameters in every update.
        speaker = self.model.speaker_encoder(batch.voice_mel, batch.voice_frames) * batch.has_voice
        conditions = Conditions(
            speaker=speaker,
            text_ids=batch.text_ids,
            text_lengths=batch.text_lengths,
            video=batch.video,
            present=batch.present,
            is_padded=batch.is_padded,
        )
        return language_losses(self.model(conditions, batch.codes), batch.targets)


def make(config: RunConfig, *, is_resumed: bool) -> Setup:  # noqa: ARG001, all makers are called alike
    """A stage's objective and data."""
    training = config.language
    assert training is not None
    model = initial("model", language_config(training.size), training.init, config.seed)
    assert isinstance(model, DualDub)
    corpora = soundtracks(config, training, model.config)
    return Setup(objective=LanguageObjective(model, training), train=corpora[0], validation=corpora[1])


def soundtracks(
    config: RunConfig, training: LanguageTraining, model: DualDubConfig, *, with_pictures: bool = False
) -> tuple[SoundtrackCorpus, SoundtrackCorpus | None]:
    """The rows of a stage to train on, and those to validate with."""
    tokenizer = load_tokenizer(model.text, Path(config.data.train))
    data = config.data

    def corpus(folder: str, shards: tuple[str, ...] = ()) -> SoundtrackCorpus:
        return SoundtrackCorpus(folder, data, training, model, tokenizer, with_pictures=with_pictures, shards=shards)

    return corpus(data.train, data.shards), None if data.validation is None else corpus(data.validation)
