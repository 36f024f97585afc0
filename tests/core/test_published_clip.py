"""Published CLIP files: parity with recorded outputs in both namings, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dualdub_core.errors import CheckpointError, ConfigError
from dualdub_core.media.video import fit_picture
from dualdub_core.models.clip import ClipVideoEncoder
from dualdub_core.published.clip import load_clip, load_open_clip

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"
HF, OPENAI = FORMATS / "clip_small.hf.safetensors", FORMATS / "clip_small.openai.safetensors"


@pytest.fixture(scope="module")
def recorded():
    return load_file(FORMATS / "clip_small.io.safetensors")


def saved(folder, tensors, name="clip.safetensors"):
    path = folder / name
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("path", [HF, OPENAI], ids=["hf", "openai"])
def test_features_are_those_recorded_from_open_clip(path, recorded):
    encoder = load_clip(path, num_heads=3)
    assert isinstance(encoder, ClipVideoEncoder)
    embeds = encoder.project(recorded["model.pixel_values"])
    torch.testing.assert_close(embeds, recorded["model.image_embeds"], rtol=0, atol=1e-5)
    unit = torch.nn.functional.normalize(embeds, dim=-1)
    torch.testing.assert_close(unit, recorded["model.image_embeds_l2"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["pre0", "pre1", "pre2"])
def test_pictures_are_prepared_and_normalised_as_published(case, recorded):
    encoder = load_clip(HF, num_heads=3)
    pixels = fit_picture(recorded[f"{case}.image_u8"].numpy(), 96)
    expected = encoder.project(recorded[f"{case}.pixel_values_torchvision"][None])
    torch.testing.assert_close(
        encoder(pixels[None]), torch.nn.functional.normalize(expected, dim=-1), rtol=0, atol=1e-5
    )


def test_both_namings_give_the_same_weights():
    first, second = load_clip(HF, num_heads=3).state_dict(), load_clip(OPENAI, num_heads=3).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_sizes_are_read_from_the_shapes():
    config = load_clip(OPENAI, num_heads=3).config
    assert (config.width, config.num_layers, config.mlp_width) == (48, 3, 192)
    assert (config.patch_size, config.image_size, config.projection_dim) == (16, 96, 32)


def test_activation_is_openais_unless_said_otherwise(recorded):
    assert load_clip(HF, num_heads=3).config.activation == "quick_gelu"
    other = load_clip(HF, num_heads=3, activation="gelu").project(recorded["model.pixel_values"])
    assert (other - recorded["model.image_embeds"]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("path", "text_tower"),
    [
        (HF, ("text_model.embeddings.token_embedding.weight", "text_projection.weight", "logit_scale")),
        (HF, ("vision_model.embeddings.position_ids",)),
        (OPENAI, ("transformer.resblocks.0.ln_1.weight", "token_embedding.weight", "positional_embedding")),
        (OPENAI, ("ln_final.weight", "text_projection", "logit_scale", "context_length")),
    ],
)
def test_the_text_tower_beside_is_dropped(path, text_tower, tmp_path):
    whole = load_file(path) | {name: torch.zeros(2) for name in text_tower}
    expected = load_clip(path, num_heads=3).state_dict()
    for name in ("whole.safetensors", "whole.pt"):
        state = load_clip(saved(tmp_path, whole, name), num_heads=3).state_dict()
        assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_half_precision_files_become_float32(tmp_path):
    path = saved(tmp_path, {name: tensor.half() for name, tensor in load_file(OPENAI).items()})
    assert {p.dtype for p in load_clip(path, num_heads=3).parameters()} == {torch.float32}


def test_heads_that_cannot_be_known_are_asked_for():
    with pytest.raises(CheckpointError, match="give num_heads"):
        load_clip(HF)


@pytest.mark.parametrize("path", [HF, OPENAI], ids=["hf", "openai"])
def test_missing_tensors_are_noticed(path, tmp_path):
    whole = load_file(path)
    for name in list(whole)[::5]:
        rest = {key: tensor for key, tensor in whole.items() if key != name}
        with pytest.raises(CheckpointError):
            load_clip(saved(tmp_path, rest), num_heads=3)


def test_a_strange_tensor_a_wrong_shape_or_nan_is_refused(tmp_path):
    whole = load_file(OPENAI)
    with pytest.raises(CheckpointError, match=r"unexpected visual\.extra"):
        load_clip(saved(tmp_path, whole | {"visual.extra": torch.zeros(1)}), num_heads=3)
    with pytest.raises(CheckpointError, match="wrong shapes"):
        load_clip(saved(tmp_path, whole | {"visual.ln_post.weight": torch.zeros(5)}), num_heads=3)
    with pytest.raises(CheckpointError, match="NaN"):
        load_clip(saved(tmp_path, whole | {"visual.ln_post.weight": torch.full((48,), torch.nan)}), num_heads=3)
    with pytest.raises(CheckpointError, match="not a CLIP picture tower"):
        load_clip(saved(tmp_path, {"encoder.weight": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="no such file"):
        load_clip(tmp_path / "absent.safetensors")


def test_towers_that_open_clip_cannot_build_are_refused(tmp_path):
    path = saved(tmp_path, {"visual.proj": torch.zeros(1)})
    with pytest.raises(ConfigError, match="open_clip"):
        load_open_clip("no-such-tower", path)
