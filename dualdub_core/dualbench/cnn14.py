"""Cnn14 of PANNs, the judge of FD, IS and KL: six blocks of convolutions over a clip's spectrogram.

Source: Kong et al. 2020, arXiv:1912.10211 (code MIT, weights CC BY 4.0), as audioldm_eval 8dc07ee uses it: the
feature "2048" is what follows the ReLU of the first linear layer, logits are before the sigmoid. The network has its
own weights for 16 and for 32 kHz.

Letters: B batch, N samples, T frames, M bands, D width, V classes.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint import fill, read_published
from ..errors import ConfigError
from .frontends import panns_log_mel

_DROPPED = ("spectrogram_extractor.", "logmel_extractor.")  # `panns_log_mel` computes both


@dataclass(frozen=True, kw_only=True, slots=True)
class Cnn14Config:
    """Sizes.

    Attributes:
        sample_rate: 16000 or 32000 Hz.
        channels: of each block; the last is D.
        num_classes: V.
    """

    sample_rate: int
    channels: tuple[int, ...]
    num_classes: int

    def __post_init__(self) -> None:
        if self.sample_rate not in (16_000, 32_000):
            raise ConfigError(f"Cnn14: {self.sample_rate=} must be 16000 or 32000, the rates it was trained at")
        if len(self.channels) != 6 or min(*self.channels, self.num_classes) < 1:
            raise ConfigError(f"Cnn14: {self.channels=} must be six and, as {self.num_classes=}, positive")

    @classmethod
    def paper(cls, sample_rate: int = 16_000) -> "Cnn14Config":
        """The published network, 80.8 M parameters."""
        return cls(sample_rate=sample_rate, channels=(64, 128, 256, 512, 1024, 2048), num_classes=527)

    @classmethod
    def mini(cls) -> "Cnn14Config":
        """The same shape, small enough for a test."""
        return cls(sample_rate=16_000, channels=(2, 2, 3, 3, 4, 8), num_classes=5)


@dataclass(frozen=True, slots=True)
class Heard:
    """What the network says of a batch of clips.

    Attributes:
        features: (B, D), for FD.
        logits: (B, V), for IS and KL.
    """

    features: Tensor
    logits: Tensor


class Cnn14(nn.Module):
    """A recording of any length to one feature and the logits of AudioSet's classes."""

    def __init__(self, config: Cnn14Config) -> None:
        super().__init__()
        self.config = config
        self.bn0 = nn.BatchNorm2d(64)
        before = 1
        for index, after in enumerate(config.channels, start=1):
            self.add_module(f"conv_block{index}", ConvBlock(before, after))
            before = after
        self.fc1 = nn.Linear(before, before)
        self.fc_audioset = nn.Linear(before, config.num_classes)

    def forward(self, waveform: Tensor) -> Heard:
        """Listen.

        Args:
            waveform: (B, N) at `config.sample_rate`, from `judged_waveform`; at least 32 frames (0.31 s).

        Raises:
            InputError: shorter than half a window.
        """
        bands = panns_log_mel(waveform, self.config.sample_rate)
        maps = self.bn0(bands.mT[..., None]).permute(0, 3, 2, 1)  # (B, 1, T, M)
        for index in range(1, 7):
            maps = self.get_submodule(f"conv_block{index}")(maps)
            if index < 6:
                maps = F.avg_pool2d(maps, 2)
        over_time = maps.mean(dim=3)
        pooled = over_time.amax(dim=2) + over_time.mean(dim=2)
        features = F.relu(self.fc1(pooled))
        return Heard(features, self.fc_audioset(features))


class ConvBlock(nn.Module):
    """Two convolutions, each normalised and rectified."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.bn2 = nn.BatchNorm2d(after)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, T, M) to (B, C', T, M)."""
        maps = F.relu(self.bn1(self.conv1(maps)))
        return F.relu(self.bn2(self.conv2(maps)))


def load_cnn14(path: Path | str, config: Cnn14Config, *, device: torch.device | str = "cpu") -> Cnn14:
    """A network from a file of its tensors, in their published names.

    Args:
        path: of the weights; they do not say for which rate.
        config: `Cnn14Config.paper` of the rate that these weights were trained at.
        device: where the tensors go.

    Raises:
        CheckpointError: the file is missing, damaged or of another network.
    """
    state = {key: tensor for key, tensor in read_published(path).items() if not key.startswith(_DROPPED)}
    with torch.device("meta"):
        judge = Cnn14(config)
    state = {
        key: tensor.to(device, torch.float32 if tensor.is_floating_point() else None, copy=True)
        for key, tensor in state.items()
    }
    fill(judge, state, Path(path).name)
    return judge
