"""UTMOS: how natural a listener would call speech, 1 to 5, as SpeechMOS's `utmos22_strong` predicts it.

Source: Saeki et al. 2022, arXiv:2204.02152, its strong learner without the phonemes, by the names and the arithmetic of
tarepan/SpeechMOS v1.2.0 (code and weights MIT), which the paper names: a wav2vec 2.0, one fixed domain and one fixed
judge beside it, a BLSTM, the mean over frames. Nothing is trimmed or made louder. The first layer normalises over time,
so every recording is heard alone.

Letters: B batch, C channels, N samples, T frames, D width.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..audio import resample, to_mono
from ..checkpoint import fill, read_published
from ..errors import ConfigError
from ..models.layers import attend, split_heads
from ..types import Audio, check_finite
from .beats import PositionConvolution

UTMOS_RATE = 16_000
"""Hz."""

_STAGES = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))  # kernel, stride: 20 ms a frame
_SHORTEST = 400  # samples, of one frame
_UNUSED = "wav2vec2.mask_emb"  # of wav2vec's own training
_RANGE, _MIDDLE = 2.0, 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class UtmosConfig:
    """Sizes.

    Attributes:
        conv_width: channels of the convolutions on the waveform.
        width: D.
        mlp_width: inside a layer.
        num_layers: layers.
        num_heads: of the attention.
        position_kernel: frames that the convolution over positions sees.
        position_groups: of that convolution.
        condition_width: of the domain's and of the judge's embedding.
        rnn_width: of the BLSTM, in either direction.
        hidden: between the BLSTM and the score.
    """

    conv_width: int
    width: int
    mlp_width: int
    num_layers: int
    num_heads: int
    position_kernel: int
    position_groups: int
    condition_width: int
    rnn_width: int
    hidden: int

    def __post_init__(self) -> None:
        if self.width % self.num_heads or self.width % self.position_groups:
            raise ConfigError(
                f"UTMOS: {self.width=} must be a multiple of {self.num_heads=} and {self.position_groups=}"
            )

    @classmethod
    def paper(cls) -> "UtmosConfig":
        """The published network, 102.8 M parameters."""
        return cls(
            conv_width=512,
            width=768,
            mlp_width=3072,
            num_layers=12,
            num_heads=12,
            position_kernel=128,
            position_groups=16,
            condition_width=128,
            rnn_width=512,
            hidden=2048,
        )

    @classmethod
    def mini(cls) -> "UtmosConfig":
        """The same shape, small enough for a test."""
        return cls(
            conv_width=8,
            width=16,
            mlp_width=24,
            num_layers=2,
            num_heads=2,
            position_kernel=8,
            position_groups=4,
            condition_width=4,
            rnn_width=6,
            hidden=12,
        )


class Utmos(nn.Module):
    """A recording to its score."""

    def __init__(self, config: UtmosConfig) -> None:
        super().__init__()
        self.config = config
        self.wav2vec2 = Wav2Vec2(config)
        self.domain_emb = nn.Parameter(torch.zeros(1, config.condition_width))
        self.judge_emb = nn.Parameter(torch.zeros(1, config.condition_width))
        inputs = config.width + 2 * config.condition_width
        self.blstm = nn.LSTM(inputs, config.rnn_width, batch_first=True, bidirectional=True)
        self.projection = nn.Sequential(
            nn.Linear(2 * config.rnn_width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 1)
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Scores (B,) of recordings (B, N) at 16 kHz, all of one length, 25 ms or more."""
        x = self.wav2vec2(waveform)
        conditions = torch.cat((self.domain_emb, self.judge_emb), dim=1).expand(*x.shape[:2], -1)
        frames = self.projection(self.blstm(torch.cat((x, conditions), dim=2))[0])
        score: Tensor = frames.mean(dim=(1, 2)) * _RANGE + _MIDDLE
        return score

    @torch.inference_mode()
    def score(self, audio: Audio) -> Tensor:
        """Listen to each recording alone.

        Args:
            audio: (B, C, N) at any rate; the mean of its channels. Less than 25 ms is extended with silence.

        Returns:
            (B,) float32 on the CPU; about 1 to 5, not clipped.

        Raises:
            InputError: no samples, or samples that are not finite.
        """
        check_finite(audio, "UTMOS")
        mono = to_mono(audio).waveform[:, 0].float().to(self.domain_emb.device)
        waveform = resample(mono, audio.sample_rate, UTMOS_RATE)
        waveform = F.pad(waveform, (0, max(0, _SHORTEST - waveform.shape[1])))
        return torch.cat([self(row[None]) for row in waveform]).float().cpu()


class Wav2Vec2(nn.Module):
    """A waveform to one feature every 20 ms."""

    def __init__(self, config: UtmosConfig) -> None:
        super().__init__()
        self.feature_extractor = WaveConvolutions(config.conv_width)
        self.layer_norm = nn.LayerNorm(config.conv_width)
        self.post_extract_proj = nn.Linear(config.conv_width, config.width)
        self.encoder = Wav2Vec2Encoder(config)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, N) to (B, T, D)."""
        maps = self.feature_extractor(waveform[:, None])
        features: Tensor = self.encoder(self.post_extract_proj(self.layer_norm(maps.mT)))
        return features


class WaveConvolutions(nn.Module):
    """Seven strided convolutions; the first is normalised over time, channel by channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList()
        for index, (kernel, stride) in enumerate(_STAGES):
            convolution = nn.Conv1d(width if index else 1, width, kernel, stride=stride, bias=False)
            # The second place was a dropout: the published names count it.
            after = [nn.GELU()] if index else [nn.GroupNorm(width, width), nn.GELU()]
            self.conv_layers.append(nn.Sequential(convolution, nn.Identity(), *after))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, 1, N) to (B, C, T)."""
        for layer in self.conv_layers:
            maps = layer(maps)
        return maps


class Wav2Vec2Encoder(nn.Module):
    """Positions by a convolution, then the layers."""

    def __init__(self, config: UtmosConfig) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(
            PositionConvolution(config.width, kernel=config.position_kernel, groups=config.position_groups)
        )
        self.layer_norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(Wav2Vec2Layer(config) for _ in range(config.num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x = self.layer_norm(x + self.pos_conv(x))
        for layer in self.layers:
            x = layer(x)
        return x


class Wav2Vec2Layer(nn.Module):
    """Attention and a feed-forward part, each normalised after its residual."""

    def __init__(self, config: UtmosConfig) -> None:
        super().__init__()
        self.self_attn = Wav2Vec2Attention(config.width, config.num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x = self.self_attn_layer_norm(x + self.self_attn(x))
        x = self.final_layer_norm(x + self.fc2(F.gelu(self.fc1(x))))
        return x


class Wav2Vec2Attention(nn.Module):
    """Attention of every frame to every other."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        q, k, v = (split_heads(project(x), self.num_heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        attended: Tensor = self.out_proj(attend(q, k, v))
        return attended


def load_utmos(path: Path | str, config: UtmosConfig | None = None, *, device: torch.device | str = "cpu") -> Utmos:
    """A network from its file, such as SpeechMOS's utmos22_strong_step7459_v1.pt.

    Args:
        path: of the weights.
        config: their sizes; the published ones when None.
        device: where the tensors go.

    Raises:
        CheckpointError: the file is missing, damaged or of another network.
    """
    state = {key: tensor for key, tensor in read_published(path).items() if key != _UNUSED}
    with torch.device("meta"):
        judge = Utmos(config or UtmosConfig.paper())
    fill(judge, {key: tensor.to(device, torch.float32, copy=True) for key, tensor in state.items()}, Path(path).name)
    return judge
