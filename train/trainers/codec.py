"""Training of the codec: from k-means tokens of log-mel frames to an end-to-end quantiser.

An end-to-end start fails at this size, so the codebook starts as k-means centroids of log-mel frames, one frame
a code. Then the decoder learns to sound them. A codec with a learned encoder goes on: the encoder learns to find the
frames in the waveform, and both train together through the quantiser, whose codes follow by moving averages
(VQ-VAE, appendix A.1).
Letters: B rows, N samples, T frames, D width of a code = mel bands, V codes.
"""

import logging
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dualdub_core import checkpoint
from dualdub_core.errors import ConfigError
from dualdub_core.models.mel_encoder import MelEncoder
from dualdub_core.models.wavtokenizer import WavTokenizer, WavTokenizerConfig

from ..config import CodecTraining, RunConfig
from ..initialise import scale_to_unit
from ..losses import CodecLosses, exact, sound_distances
from ..sizes import codec_config
from ..sounds import SoundBatch, SoundCorpus
from .objective import Objective, Setup, initial, require_equal

logger = logging.getLogger(__name__)


class CodecObjective(Objective):
    """A codec in one of its three phases."""

    parts = ("codec",)
    code_counts: Tensor
    code_sums: Tensor
    _new_counts: Tensor
    _new_sums: Tensor

    def __init__(self, codec: WavTokenizer, config: CodecTraining) -> None:
        super().__init__()
        self.codec, self.config = codec, config
        codec.codebook.requires_grad_(False)
        codec.encoder.requires_grad_(config.phase != "decoder")
        codec.backbone.requires_grad_(config.phase != "encoder")
        codec.head.requires_grad_(config.phase != "encoder")
        size, width = codec.codebook.weight.shape
        self.register_buffer("code_counts", torch.ones(size))
        self.register_buffer("code_sums", codec.codebook.weight.detach().clone())
        self.register_buffer("_new_counts", torch.zeros(size), persistent=False)
        self.register_buffer("_new_sums", torch.zeros(size, width), persistent=False)

    def weight(self, batch: SoundBatch) -> float:
        return float(batch.waveform.shape[0])

    def forward(self, batch: SoundBatch) -> CodecLosses:
        waveform = batch.waveform
        config, zero = self.config, waveform.new_zeros(())
        frames = mel_frames(waveform, self.codec.config)
        embeddings = frames if config.phase == "decoder" else self.codec.encoder(waveform).float()
        distillation = F.mse_loss(embeddings, frames)
        with exact(waveform):
            codes = self.codec.quantise(embeddings.detach())
            agreement = (codes == self.codec.quantise(frames)).float().mean()
        if config.phase == "encoder":
            return CodecLosses(distillation, zero, zero, zero, zero, distillation.detach(), agreement)
        quantised = self.codec.codebook(codes).transpose(1, 2)
        commitment = F.mse_loss(embeddings, quantised)
        if self.training and config.phase == "joint":
            self._count(embeddings.detach(), codes)
        passed = embeddings + (quantised - embeddings).detach()
        output = self.codec.decode_features(passed)
        distances = sound_distances(output, waveform, self.codec.config.sample_rate, config.loss)
        total = distances.weighted(config.loss)
        if config.phase == "joint":
            total = total + config.commitment * commitment + config.distillation * distillation
        return CodecLosses(
            total=total,
            stft=distances.stft.detach(),
            mel=distances.mel.detach(),
            waveform=distances.waveform.detach(),
            commitment=commitment.detach(),
            distillation=distillation.detach(),
            agreement=agreement,
        )

    def after_update(self) -> None:
        if self.config.phase != "joint":
            return
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for tensor in (self._new_counts, self._new_sums):
                torch.distributed.all_reduce(tensor)
        decay = self.config.codebook_decay
        self.code_counts.mul_(decay).add_(self._new_counts, alpha=1 - decay)
        self.code_sums.mul_(decay).add_(self._new_sums, alpha=1 - decay)
        # A code that no frame has chosen for long keeps its place instead of drifting to nothing.
        self.codec.codebook.weight.data.copy_(self.code_sums / self.code_counts[:, None].clamp(min=1e-6))
        self._new_counts.zero_()
        self._new_sums.zero_()

    def _count(self, embeddings: Tensor, codes: Tensor) -> None:
        flat = embeddings.transpose(1, 2).flatten(0, 1)
        self._new_counts.index_add_(0, codes.flatten(), torch.ones_like(flat[:, 0]))
        self._new_sums.index_add_(0, codes.flatten(), flat)


def make(config: RunConfig, *, is_resumed: bool) -> Setup:
    """The run's objective and data; k-means is fitted where a codec starts from nothing."""
    training = config.codec
    assert training is not None
    codec = initial("codec", codec_config(training.size), training.init, config.seed)
    assert isinstance(codec, WavTokenizer)
    is_learned = codec.config.encoder == "seanet"
    if not is_learned and (training.phase != "decoder" or training.encoder_from is not None):
        raise ConfigError(
            f"codec: the encoder is '{codec.config.encoder}', which learns nothing; got {training.phase=} and "
            f"{training.encoder_from=}, expected the phase 'decoder' alone"
        )
    of = {
        "sample_rate": codec.config.sample_rate,
        "channels": 1,
        "hop_length": codec.config.hop_length,
    }
    corpus = SoundCorpus(config.data.train, config.data, **of)
    if not is_resumed:
        if training.init is None:
            fit_codebook(codec, corpus, training, config.seed)
            some = corpus.some(config.seed)
            if is_learned:
                scale_to_unit(codec.encoder, lambda: codec.encoder(some))
        if training.encoder_from is not None:
            other = checkpoint.load(training.encoder_from, components=["codec"], dtype=torch.float32).modules["codec"]
            require_equal("codec of encoder_from", other.config, codec.config)
            assert isinstance(other, WavTokenizer)
            codec.encoder = other.encoder
    validation = config.data.validation
    return Setup(
        objective=CodecObjective(codec, training),
        train=corpus,
        validation=None if validation is None else SoundCorpus(validation, config.data, **of),
    )


def mel_frames(waveform: Tensor, config: WavTokenizerConfig) -> Tensor:
    """What codes stand for at first: scaled log-mel frames (B, D, T) of a waveform (B, 1, N)."""
    encoder = MelEncoder(sample_rate=config.sample_rate, hop_length=config.hop_length, num_bands=config.dimension)
    frames: Tensor = encoder(waveform)
    return frames


def fit_codebook(codec: WavTokenizer, corpus: SoundCorpus, config: CodecTraining, seed: int) -> None:
    """Make the codebook the k-means centroids of the corpus' log-mel frames."""
    rng = np.random.default_rng([seed, 2])
    frames = torch.cat(list(islice(_frames(codec, corpus, rng), 10**6)))[: 8 * config.kmeans_frames]
    keep = rng.permutation(frames.shape[0])[: config.kmeans_frames]
    centroids, distance = kmeans(
        frames[torch.from_numpy(keep)], codec.config.codebook_size, rounds=config.kmeans_rounds, rng=rng
    )
    codec.codebook.weight.data.copy_(centroids)
    logger.info("k-means: %d codes of %d frames, mean squared distance %.4f", len(centroids), len(keep), distance)


def _frames(codec: WavTokenizer, corpus: SoundCorpus, rng: np.random.Generator) -> Iterator[Tensor]:
    for rows in corpus.epoch(rng):
        yield mel_frames(corpus.batch(rows, rng).waveform, codec.config).transpose(1, 2).flatten(0, 1)


def kmeans(points: Tensor, num_clusters: int, *, rounds: int, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Lloyd's algorithm on points (N, D): centroids (V, D) and the mean squared distance to them, per number.

    A centroid that loses all its points starts again at one that is far from its own.
    """
    start = rng.permutation(points.shape[0])[:num_clusters]
    if len(start) < num_clusters:  # fewer points than codes: the rest repeats, a little apart
        start = np.concatenate([start, rng.integers(points.shape[0], size=num_clusters - len(start))])
    centroids = points[torch.from_numpy(start)].clone()
    centroids += 1e-3 * torch.from_numpy(rng.standard_normal(centroids.shape)).to(points)
    mean_distance = 0.0
    for _ in range(rounds):
        nearest, distance = _assign(points, centroids)
        mean_distance = float(distance.mean()) / points.shape[1]
        counts = torch.zeros(num_clusters).index_add_(0, nearest, torch.ones(points.shape[0]))
        sums = torch.zeros_like(centroids).index_add_(0, nearest, points)
        centroids = sums / counts.clamp(min=1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):
            far = distance.topk(min(points.shape[0], 8 * len(empty))).indices
            chosen = rng.permutation(len(far))[: len(empty)]
            centroids[empty[: len(chosen)]] = points[far[torch.from_numpy(chosen)]]
    return centroids, mean_distance


def _assign(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest centroid and squared distance of each point, some at a time."""
    energy = centroids.square().sum(1)
    found = [
        (part.square().sum(1, keepdim=True) - 2 * part @ centroids.T + energy).min(1)
        for part in torch.split(points, 8192)
    ]
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found]).clamp(min=0)
