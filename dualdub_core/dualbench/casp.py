"""CASP, contrastive audio-speech pretraining, whose cosine of a clip's two stems is DualScore (paper, section 4.3).

Two BEATs, one for the background ("audio", from pretrained weights) and one for the speech (from scratch), one
attention pooling on which both converge, and a projection of each. The paper gives neither the width of the embedding
nor the pooling's heads; both are ours.

Stems of one clip are equally long, and a network that sees padding finds partners by that alone. Here no padding is
seen, and a clip is heard through windows: both stems at the same places, each window `config.window` seconds, as few as
cover the clip, evenly spread. A shorter clip is one window, masked. A stem's embedding is the mean of its windows' unit
embeddings, scaled to length 1.

Letters: B batch, C channels, N samples, T patches, D width, E width of an embedding.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..audio import resample, to_mono
from ..checkpoint import load
from ..errors import ConfigError, InputError
from ..models.layers import attend, split_heads
from ..timing import num_samples
from ..types import Audio, check_finite
from .beats import Beats, BeatsConfig, Patches, init_beats
from .frontends import BEATS_RATE

BUILTIN_CASP = Path(__file__).parents[1] / "weights" / "casp-mini.safetensors"
"""The mini CASP that ships with the package: trained on the procedural corpus, at home nowhere else."""

_LARGEST_SCALE = 100.0
_FIRST_SCALE = 1 / 0.07


@dataclass(frozen=True, kw_only=True, slots=True)
class CaspConfig:
    """Sizes.

    Attributes:
        beats: of both branches.
        pool_heads: of the attention pooling.
        embedding_width: E.
        window: seconds that are heard at once; the longest piece in training.
    """

    beats: BeatsConfig
    pool_heads: int
    embedding_width: int
    window: float

    def __post_init__(self) -> None:
        if min(self.pool_heads, self.embedding_width) < 1 or self.window <= 0:
            raise ConfigError(f"CASP: {self.pool_heads=}, {self.embedding_width=} and {self.window=} must be positive")
        if self.beats.width % self.pool_heads:
            raise ConfigError(f"CASP: the branches' width {self.beats.width} must be a multiple of {self.pool_heads=}")

    @classmethod
    def paper(cls) -> "CaspConfig":
        """BEATs as published, pieces of 5 s; 183 M parameters."""
        return cls(beats=BeatsConfig.paper(), pool_heads=12, embedding_width=512, window=5.0)

    @classmethod
    def mini(cls) -> "CaspConfig":
        """The same shape, 0.6 M parameters; its window is the procedural corpus' shortest clip."""
        return cls(beats=BeatsConfig.mini(), pool_heads=4, embedding_width=64, window=2.4)


@dataclass(frozen=True, slots=True)
class StemEmbeddings:
    """Where one clip's stems lie; their cosine, by `paired_cosines`, is DualScore.

    Attributes:
        speech: (E,) of length 1, float32 on the CPU.
        audio: (E,) likewise, of the background.
    """

    speech: Tensor
    audio: Tensor


class Casp(nn.Module):
    """Embeds speech and background apart from each other, into one space."""

    def __init__(self, config: CaspConfig) -> None:
        super().__init__()
        self.config = config
        width = config.beats.width
        self.audio = Beats(config.beats)
        self.speech = Beats(config.beats)
        self.pool = AttentionPool(width, config.pool_heads)
        self.audio_projection = nn.Linear(width, config.embedding_width, bias=False)
        self.speech_projection = nn.Linear(width, config.embedding_width, bias=False)
        self.log_scale = nn.Parameter(torch.full((1,), math.log(_FIRST_SCALE)))

    @property
    def scale(self) -> Tensor:
        """Inverse temperature of the contrastive loss (1,)."""
        return self.log_scale.exp()

    def embed_speech(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """One embedding of each piece.

        Args:
            waveform: (B, N) at 16 kHz.
            lengths: samples of each row's own sound (B,); N when None.

        Returns:
            (B, E) of length 1.

        Raises:
            InputError: a length is not between 1 and N.
        """
        return F.normalize(self.speech_projection(self.pool(self.speech(waveform, lengths))).float(), dim=1)

    def embed_audio(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As `embed_speech`, of the background."""
        return F.normalize(self.audio_projection(self.pool(self.audio(waveform, lengths))).float(), dim=1)

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Keep the temperature above 0.01, as CLIP does; after each step of training."""
        self.log_scale.clamp_(max=math.log(_LARGEST_SCALE))


class AttentionPool(nn.Module):
    """One learned query that attends to the patches of a piece."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, patches: Patches) -> Tensor:
        """(B, T, D) to (B, D)."""
        x = self.norm(patches.features)
        k, v = (split_heads(part, self.num_heads) for part in self.key_value(x).chunk(2, dim=-1))
        q = split_heads(self.query.to(k.dtype).expand(len(x), 1, -1), self.num_heads)
        pooled: Tensor = self.out(attend(q, k, v, patches.mask[:, None, None, :])).squeeze(1)
        return pooled


def init_casp(casp: Casp) -> None:
    """Initial weights for training from scratch, from torch's global generator; the temperature is 0.07."""
    init_beats(casp.audio)
    init_beats(casp.speech)
    nn.init.normal_(casp.pool.query, std=0.02)
    for linear in (casp.pool.key_value, casp.pool.out, casp.audio_projection, casp.speech_projection):
        nn.init.xavier_uniform_(linear.weight)
    for linear in (casp.pool.key_value, casp.pool.out):
        nn.init.zeros_(linear.bias)
    nn.init.constant_(casp.log_scale, math.log(_FIRST_SCALE))


@torch.inference_mode()
def embed_stems(casp: Casp, speech: Audio, background: Audio) -> StemEmbeddings:
    """One clip's embeddings, by the windows of this file's rule.

    Args:
        casp: in evaluation mode.
        speech: one stem (1, C, N) at any rate; the mean of its channels.
        background: the other, at any rate; what one is longer than the other is not heard.

    Raises:
        InputError: more than one recording, no samples, or samples that are not finite.
    """
    heard = [_mono(audio, what) for audio, what in ((speech, "CASP's speech"), (background, "CASP's background"))]
    length = min(waveform.shape[0] for waveform in heard)
    device = casp.log_scale.device
    spoken, other = (windows(waveform[:length], casp.config.window).to(device) for waveform in heard)
    return StemEmbeddings(speech=_mean(casp.embed_speech(spoken)), audio=_mean(casp.embed_audio(other)))


def windows(waveform: Tensor, seconds: float) -> Tensor:
    """As few pieces of equal length as cover a recording, evenly spread.

    Args:
        waveform: (N,) at 16 kHz.
        seconds: of a piece.

    Returns:
        (B, n); the recording itself where it is no longer than one piece.
    """
    size = num_samples(seconds, BEATS_RATE)
    spare = waveform.shape[0] - size
    if spare <= 0:
        return waveform[None]
    count = -(-waveform.shape[0] // size)
    starts = [index * spare // (count - 1) for index in range(count)]
    return torch.stack([waveform[start : start + size] for start in starts])


def load_casp(path: Path | str = BUILTIN_CASP, *, device: torch.device | str = "cpu") -> Casp:
    """A CASP from a checkpoint of ours; the built-in mini one by default.

    Raises:
        CheckpointError: the file is missing, damaged, or holds no CASP.
    """
    return cast(Casp, load(path, components=["casp"], device=device, dtype=torch.float32).modules["casp"])


def _mono(audio: Audio, what: str) -> Tensor:
    """(N,) at 16 kHz."""
    check_finite(audio, what)
    if audio.waveform.shape[0] != 1:
        raise InputError(f"{what}: got a batch of {audio.waveform.shape[0]} recordings, expected one at a time")
    return resample(to_mono(audio).waveform[0, 0].float(), audio.sample_rate, BEATS_RATE)


def _mean(embeddings: Tensor) -> Tensor:
    return F.normalize(embeddings.mean(0), dim=0).float().cpu()
