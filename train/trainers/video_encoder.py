"""Training of the video encoder: from the pictures alone, which codes sound when?

Inside the language model the past codes explain most of the next one, and little is left for the picture to learn
from. Here the codes of both streams are guessed at once from nothing but the pictures around them, by a small network
in time that is thrown away. What it can tell from the features, the aligner can find in them too.

Letters: B rows, T slots at the codec's rate, P pictures, D width, V codes.
"""

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from dualdub_core.models.clip import ClipVideoEncoder
from dualdub_core.models.dualdub import STREAMS

from ..config import RunConfig
from ..losses import IGNORE, LanguageLosses, language_losses
from ..sizes import language_config, video_encoder_config
from ..soundtracks import SoundtrackBatch
from .language import soundtracks
from .objective import Objective, Setup, initial

_WIDTH, _NUM_LAYERS, _KERNEL = 192, 3, 15
"""Every layer sees seven slots to either side, so that a code is guessed from about a second of pictures."""


class SoundGuesser(nn.Module):
    """Logits of both streams' codes from features of pictures, each slot from those around it."""

    def __init__(self, feature_width: int, num_codes: int) -> None:
        super().__init__()
        self.begin = nn.Linear(feature_width + 1, _WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(_NUM_LAYERS))
        self.layers = nn.ModuleList(nn.Conv1d(_WIDTH, _WIDTH, _KERNEL, padding="same") for _ in range(_NUM_LAYERS))
        self.heads = nn.Linear(_WIDTH, len(STREAMS) * num_codes)

    def forward(self, features: Tensor, picture: Tensor) -> Tensor:
        """Guess.

        Args:
            features: (P, D).
            picture: which of them each slot sees (B, T).

        Returns:
            (B, 2, T, V).
        """
        # Several slots see one picture: the first of them is marked, or none could tell which it is.
        is_first = F.pad(picture[:, 1:] != picture[:, :-1], (1, 0), value=True)
        x = self.begin(torch.cat((features[picture], is_first[..., None].to(features)), dim=-1))
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + F.gelu(layer(norm(x).transpose(1, 2)).transpose(1, 2))
        logits: Tensor = rearrange(self.heads(x), "b t (s v) -> b s t v", s=len(STREAMS))
        return logits


class VideoEncoderObjective(Objective):
    """Cross-entropy of both streams' codes, guessed without words, voice or past."""

    parts = ("video_encoder",)

    def __init__(self, video_encoder: ClipVideoEncoder, num_codes: int) -> None:
        super().__init__()
        self.video_encoder = video_encoder.requires_grad_(True)
        self.guesser = SoundGuesser(video_encoder.config.projection_dim, num_codes)

    def weight(self, batch: SoundtrackBatch) -> float:
        return float((batch.targets != IGNORE).sum())

    def forward(self, batch: SoundtrackBatch) -> LanguageLosses:
        features = self.video_encoder(batch.pixels)
        # Features have length 1; the network in time wants numbers of size 1.
        scaled = features * math.sqrt(features.shape[-1])
        return language_losses(self.guesser(scaled, batch.picture), batch.targets)


def make(config: RunConfig, *, is_resumed: bool) -> Setup:  # noqa: ARG001, all makers are called alike
    """The video encoder's objective and data."""
    training = config.video_encoder
    assert training is not None
    encoder = initial("video_encoder", video_encoder_config(training.size), training.init, config.seed)
    assert isinstance(encoder, ClipVideoEncoder)
    model = language_config(training.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        objective = VideoEncoderObjective(encoder, model.codebook_size + 1)
    train, validation = soundtracks(config, training.rows, model, with_pictures=True)
    return Setup(objective=objective, train=train, validation=validation)
