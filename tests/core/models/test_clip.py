"""CLIP's tower: unit features, built without memory, one naming."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from dualdub_core import checkpoint
from dualdub_core.config import from_dict, to_dict
from dualdub_core.errors import ConfigError
from dualdub_core.models.clip import ClipConfig, ClipVideoEncoder

TINY = replace(
    ClipConfig.mini(), patch_size=8, width=16, num_layers=1, num_heads=2, mlp_width=32, image_size=16, projection_dim=8
)


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ClipVideoEncoder(TINY).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_features_have_unit_length_and_each_picture_its_own(encoder, pixels):
    features = encoder(pixels)
    assert features.shape == (3, 8)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(features[1:2], encoder(pixels[1:2]))
    assert not torch.allclose(features[0], features[1], atol=1e-3)


def test_parameters_are_named_as_published_and_nothing_else_is_stored(encoder):
    names = set(encoder.state_dict())
    assert "vision_model.embeddings.position_embedding.weight" in names
    assert "vision_model.pre_layrnorm.weight" in names
    assert "vision_model.encoder.layers.0.self_attn.q_proj.weight" in names
    assert "visual_projection.weight" in names
    assert all(name.startswith(("vision_model.", "visual_projection.")) for name in names)
    assert not list(encoder.buffers())


def test_a_checkpoint_gives_the_same_features(encoder, pixels, tmp_path):
    path = tmp_path / "clip.safetensors"
    checkpoint.save(path, {"video_encoder": encoder}, info={"name": "tiny", "status": "untrained"})
    loaded = checkpoint.load(path).modules["video_encoder"]
    assert not any(parameter.is_meta for parameter in loaded.parameters())
    assert torch.equal(loaded(pixels), encoder(pixels))


def test_half_precision_weights_still_give_float32_features(pixels):
    features = ClipVideoEncoder(TINY).eval().bfloat16()(pixels)
    assert features.dtype == torch.float32


def test_named_sizes_are_as_documented():
    paper = checkpoint.build("video_encoder", ClipConfig.paper())
    mini = checkpoint.build("video_encoder", ClipConfig.mini())
    assert sum(p.numel() for p in paper.parameters()) == 87_849_216
    assert sum(p.numel() for p in mini.parameters()) == 910_592


@pytest.mark.parametrize(
    "changes",
    [
        {"num_heads": 3},
        {"patch_size": 5},
        {"width": 0},
        {"open_clip_name": "ViT-B-32"},
        {"backend": "open_clip"},
    ],
)
def test_configurations_that_contradict_themselves_are_refused(changes):
    with pytest.raises(ConfigError, match="clip"):
        replace(TINY, **changes)


def test_configuration_survives_json():
    assert from_dict(ClipConfig, to_dict(TINY)) == TINY


@pytest.mark.skipif(find_spec("open_clip") is not None, reason="open_clip is installed")
def test_open_clip_is_asked_for_by_name_where_it_is_missing():
    with pytest.raises(ConfigError, match="pip install open_clip_torch"):
        ClipVideoEncoder(replace(TINY, backend="open_clip", open_clip_name="ViT-H-14"))
