"""VGGish, FAD's judge: four stages of convolutions over a 0.96 s patch and three linear layers.

Source: harritaylor/torchvggish (Apache-2.0), without its PCA and, as audioldm_eval 8dc07ee has it, without the last
ReLU; so an embedding is the last layer's output.

Letters: N samples, P patches, D width.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint import fill, read_published
from ..errors import ConfigError
from .frontends import vggish_patches

_DROPPED = "pproc."  # the PCA


@dataclass(frozen=True, kw_only=True, slots=True)
class VGGishConfig:
    """Sizes.

    Attributes:
        channels: of each stage; the last two have two convolutions.
        hidden: width of the first two linear layers.
        width: D.
    """

    channels: tuple[int, int, int, int]
    hidden: int
    width: int

    def __post_init__(self) -> None:
        if min(*self.channels, self.hidden, self.width) < 1:
            raise ConfigError(f"VGGish: {self.channels=}, {self.hidden=} and {self.width=} must be positive")

    @classmethod
    def paper(cls) -> "VGGishConfig":
        """The published network, 72.1 M parameters."""
        return cls(channels=(64, 128, 256, 512), hidden=4096, width=128)

    @classmethod
    def mini(cls) -> "VGGishConfig":
        """The same shape, small enough for a test."""
        return cls(channels=(2, 3, 4, 5), hidden=8, width=6)


class VGGish(nn.Module):
    """A recording at 16 kHz to one embedding per 0.96 s."""

    def __init__(self, config: VGGishConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third, fourth = config.channels
        self.features = nn.Sequential(
            *_stage(1, first),
            *_stage(first, second),
            *_stage(second, third, third),
            *_stage(third, fourth, fourth),
        )
        self.embeddings = nn.Sequential(
            nn.Linear(6 * 4 * fourth, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.width),
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Embed one recording.

        Args:
            waveform: (N,) at 16 kHz, an item of `judged_waveform`.

        Returns:
            (P, D); no row for less than 0.975 s.
        """
        patches = vggish_patches(waveform)
        maps = self.features(patches[:, None])
        # The published linear layer counts time first, then bands, then channels.
        embeddings: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return embeddings


def load_vggish(path: Path | str, config: VGGishConfig | None = None, *, device: torch.device | str = "cpu") -> VGGish:
    """A network from its file, such as torchvggish's vggish-10086976.pth.

    Args:
        path: of the weights.
        config: their sizes; the published ones when None.
        device: where the tensors go.

    Raises:
        CheckpointError: the file is missing, damaged or of another network.
    """
    state = {key: tensor for key, tensor in read_published(path).items() if not key.startswith(_DROPPED)}
    with torch.device("meta"):
        judge = VGGish(config or VGGishConfig.paper())
    fill(judge, {key: tensor.to(device, torch.float32, copy=True) for key, tensor in state.items()}, Path(path).name)
    return judge


def _stage(*channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU()]
    return [*layers, nn.MaxPool2d(2)]
