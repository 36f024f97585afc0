"""Training of the language model in a stage of the curriculum, and of the video encoder inside such a stage.

Letters: B rows, T slots at the codec's rate, P pictures, D width.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dualdub_core.models.clip import ClipVideoEncoder
from dualdub_core.models.dualdub import Conditions, DualDub
from dualdub_core.system import load_tokenizer

from ..config import LanguageTraining, RunConfig
from ..losses import IGNORE, LanguageLosses, language_losses
from ..sizes import language_config, video_encoder_config
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
            video=self.video(batch),
            present=batch.present,
            is_padded=batch.is_padded,
        )
        return language_losses(self.model(conditions, batch.codes), batch.targets)

    def video(self, batch: SoundtrackBatch) -> Tensor:
        """Features at the codec's rate (B, T, D)."""
        return batch.video


class VideoEncoderObjective(LanguageObjective):
    """The same with pictures, and the encoder learns too."""

    parts = ("video_encoder",)

    def __init__(self, model: DualDub, video_encoder: ClipVideoEncoder, config: LanguageTraining) -> None:
        super().__init__(model, config)
        self.video_encoder = video_encoder.requires_grad_(True)

    def video(self, batch: SoundtrackBatch) -> Tensor:
        features: Tensor = self.video_encoder(batch.pixels)
        return features[batch.picture] * batch.has_video


def make(config: RunConfig, *, is_resumed: bool) -> Setup:  # noqa: ARG001, all makers are called alike
    """A stage's objective and data."""
    training = config.language
    assert training is not None
    model = initial("model", language_config(training.size), training.init, config.seed)
    assert isinstance(model, DualDub)
    return _setup(config, training, model, LanguageObjective(model, training))


def make_video_encoder(config: RunConfig, *, is_resumed: bool) -> Setup:  # noqa: ARG001
    """The video encoder's objective and data."""
    of_run = config.video_encoder
    assert of_run is not None
    encoder = initial("video_encoder", video_encoder_config(of_run.size), None, config.seed)
    assert isinstance(encoder, ClipVideoEncoder)
    shape = replace(language_config(of_run.language.size), video_width=encoder.config.projection_dim)
    model = initial("model", shape, of_run.language.init, config.seed)
    assert isinstance(model, DualDub)
    objective = VideoEncoderObjective(model, encoder, of_run.language)
    return _setup(config, of_run.language, model, objective, with_pictures=True)


def _setup(
    config: RunConfig,
    training: LanguageTraining,
    model: DualDub,
    objective: Objective,
    *,
    with_pictures: bool = False,
) -> Setup:
    tokenizer = load_tokenizer(model.config.text, Path(config.data.train))
    train, validation = (
        None
        if folder is None
        else SoundtrackCorpus(folder, config.data, training, model.config, tokenizer, with_pictures=with_pictures)
        for folder in (config.data.train, config.data.validation)
    )
    assert train is not None
    return Setup(objective=objective, train=train, validation=validation)
