"""CLIP's picture tower (Radford et al. 2021), the frozen video encoder of section 3.2: one feature a picture.

The layers are those of transformers, or of open_clip for its other towers; both are imported when a tower is
built, since that takes seconds.

Letters: F pictures, H W picture, D width of a feature.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import ConfigError

# Of every published CLIP, on pictures in [0, 1].
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """Sizes of a picture tower.

    Attributes:
        width: of the transformer.
        num_layers: of the transformer.
        num_heads: of each layer.
        mlp_width: of each layer.
        patch_size: edge in pixels.
        image_size: edge of the square pictures in pixels.
        projection_dim: D.
        activation: OpenAI's weights need quick_gelu, most others gelu.
        backend: whose layers.
        open_clip_name: open_clip's name of the tower, which then fixes its inner sizes; None for transformers.
    """

    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    patch_size: int
    image_size: int
    projection_dim: int
    activation: Literal["quick_gelu", "gelu"]
    backend: Literal["transformers", "open_clip"]
    open_clip_name: str | None

    def __post_init__(self) -> None:
        if (self.backend == "open_clip") != (self.open_clip_name is not None):
            raise ConfigError(f"clip: {self.open_clip_name=} does not fit {self.backend=}; only open_clip has names")
        sizes = (self.width, self.num_layers, self.num_heads, self.mlp_width, self.patch_size, self.projection_dim)
        if min(*sizes, self.image_size) < 1:
            raise ConfigError(f"clip: sizes must be positive, got {self}")
        if self.width % self.num_heads:
            raise ConfigError(f"clip: {self.width=} is not a multiple of {self.num_heads=}")
        if self.image_size % self.patch_size:
            raise ConfigError(f"clip: {self.image_size=} is not a multiple of {self.patch_size=}")

    @classmethod
    def paper(cls) -> "ClipConfig":
        """OpenAI's ViT-B/32."""
        return cls(
            width=768,
            num_layers=12,
            num_heads=12,
            mlp_width=3072,
            patch_size=32,
            image_size=224,
            projection_dim=512,
            activation="quick_gelu",
            backend="transformers",
            open_clip_name=None,
        )

    @classmethod
    def mini(cls) -> "ClipConfig":
        """0.9 M parameters, 16 patches of a picture of 64 pixels."""
        return cls(
            width=128,
            num_layers=4,
            num_heads=4,
            mlp_width=512,
            patch_size=16,
            image_size=64,
            projection_dim=128,
            activation="quick_gelu",
            backend="transformers",
            open_clip_name=None,
        )


class ClipVideoEncoder(nn.Module):
    """Pictures to features of unit length.

    With transformers the parameters have the names of published Hugging Face files, `vision_model.*` and
    `visual_projection.weight`, whatever its version calls them inside; with open_clip they are `visual.*`.

    Raises:
        ConfigError: open_clip is asked for and not installed, or does not know the tower.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        if config.open_clip_name is not None:
            self.visual = _open_clip_tower(config.open_clip_name)
        else:
            self.vision_model, self.visual_projection = _transformers_tower(config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Look at pictures.

        Args:
            pixels: uint8 RGB (F, 3, H, W), H and W the configured image size.

        Returns:
            L2-normalised float32 (F, D).
        """
        weight = next(self.parameters())
        mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (MEAN, STD))
        normalised = (pixels.float() / 255 - mean) / std
        return F.normalize(self.project(normalised.to(weight.dtype)).float(), dim=-1)

    def project(self, normalised: Tensor) -> Tensor:
        """Features (F, D), of any length, of pictures (F, 3, H, W) with CLIP's mean and deviation taken out."""
        if self.config.backend == "open_clip":
            features: Tensor = self.visual(normalised)
            return features
        projected: Tensor = self.visual_projection(self.vision_model(pixel_values=normalised).pooler_output)
        return projected


def _transformers_tower(config: ClipConfig) -> tuple[nn.Module, nn.Module]:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tower = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            projection_dim=config.projection_dim,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            hidden_act=config.activation,
        )
    )
    # Transformers 5 has also wrapped the tower in a model that holds nothing else.
    inner = tower.vision_model
    inner = getattr(inner, "vision_model", inner)
    inner.embeddings = _Embeddings(inner.embeddings)
    return inner, tower.visual_projection


class _Embeddings(nn.Module):
    """Patches and class token with their positions, under transformers' parameter names.

    Its own module numbers the positions in a buffer outside the state dict, which would stay on the meta device.
    """

    def __init__(self, original: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.class_embedding: nn.Parameter = original.class_embedding
        self.patch_embedding: nn.Conv2d = original.patch_embedding
        self.position_embedding: nn.Embedding = original.position_embedding

    def forward(self, pixel_values: Tensor, **_: object) -> Tensor:
        """(F, 3, H, W) to (F, 1 + patches, width)."""
        patches = rearrange(self.patch_embedding(pixel_values), "f d h w -> f (h w) d")
        token = self.class_embedding.expand(len(patches), 1, -1)
        return torch.cat((token, patches), dim=1) + self.position_embedding.weight.to(patches.device)


def open_clip_values(name: str) -> dict[str, Any]:
    """What open_clip builds a model from.

    Raises:
        ConfigError: open_clip is not installed or knows no such model.
    """
    if find_spec("open_clip") is None:
        raise ConfigError(f"clip: tower {name} needs open_clip, which is not installed; pip install open_clip_torch")
    import open_clip

    values: dict[str, Any] | None = open_clip.get_model_config(name)
    if values is None:
        raise ConfigError(f"clip: open_clip knows no model {name}; open_clip.list_models() names them")
    return values


def _open_clip_tower(name: str) -> nn.Module:
    values = open_clip_values(name)
    import open_clip

    kind = open_clip.CustomTextCLIP if values.pop("custom_text", False) else open_clip.CLIP
    tower: nn.Module = kind(**values).visual
    return tower
