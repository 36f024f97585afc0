"""Published Oobleck files: parity with upstream's recorded outputs, every naming, and what is refused."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dualdub_core import checkpoint
from dualdub_core.errors import CheckpointError
from dualdub_core.models.oobleck import OobleckConfig, decode_in_chunks
from dualdub_core.published.oobleck import load_oobleck

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"
PUBLISHED = FORMATS / "oobleck_small.sat.safetensors"
TOLERANCE = {"rtol": 0, "atol": 2e-5}


@pytest.fixture(scope="module")
def recorded():
    return load_file(FORMATS / "oobleck_small.io.safetensors")


@pytest.fixture
def published():
    """The tensors as stable-audio-tools names them."""
    return load_file(PUBLISHED)


@pytest.fixture
def diffusers_named(published):
    """The same tensors as diffusers names and shapes them."""
    names = json.loads((FORMATS / "oobleck_small.json").read_text())["key_map_sat_to_diffusers"]
    return {
        names[name]: tensor[None, :, None] if name.endswith(("alpha", "beta")) else tensor
        for name, tensor in published.items()
    }


def saved(folder, tensors, name="vae.safetensors"):
    path = folder / name
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


def assert_same_weights(vae, other):
    for (name, tensor), (_, expected) in zip(vae.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(tensor, expected), name


@torch.inference_mode()
def assert_parity(vae, recorded):
    for case in ("enc0", "enc1", "enc2"):
        mean, std = vae.encode_distribution(recorded[f"{case}.wav"])
        _, scale = vae.encoder(recorded[f"{case}.wav"]).chunk(2, dim=1)
        torch.testing.assert_close(mean, recorded[f"{case}.mean"], **TOLERANCE)
        torch.testing.assert_close(scale, recorded[f"{case}.scale"], **TOLERANCE)
        torch.testing.assert_close(std, recorded[f"{case}.std"], **TOLERANCE)
        sampled = mean + std * recorded[f"{case}.eps"]
        torch.testing.assert_close(sampled, recorded[f"{case}.latent"], **TOLERANCE)
    for case in ("dec0", "dec1", "dec2"):
        torch.testing.assert_close(vae.decode(recorded[f"{case}.latent"]), recorded[f"{case}.wav"], **TOLERANCE)


def test_stable_audio_tools_weights_give_upstream_latents_and_sound(recorded):
    assert_parity(load_oobleck(PUBLISHED), recorded)


def test_diffusers_weights_give_upstream_latents_and_sound(diffusers_named, recorded, tmp_path):
    assert_parity(load_oobleck(saved(tmp_path, diffusers_named)), recorded)


@torch.inference_mode()
def test_whole_hops_encode_to_the_recorded_means(recorded):
    vae = load_oobleck(PUBLISHED)
    for case in ("enc0", "enc1"):
        torch.testing.assert_close(vae.encode(recorded[f"{case}.wav"]), recorded[f"{case}.mean"], **TOLERANCE)


def test_decoding_in_chunks_gives_upstream_sound_too(recorded):
    waveform = decode_in_chunks(load_oobleck(PUBLISHED), recorded["dec0.latent"], chunk_frames=2)
    torch.testing.assert_close(waveform, recorded["dec0.wav"], **TOLERANCE)


def test_sizes_are_read_from_the_shapes():
    assert load_oobleck(PUBLISHED).config == OobleckConfig(
        sample_rate=44_100,
        audio_channels=2,
        channels=6,
        latent_channels=3,
        channel_multiples=(1, 2, 4, 8, 16),
        strides=(2, 4, 4, 8, 8),
        decodes_full_length=False,
    )


@pytest.mark.parametrize(
    ("prefix", "beside"),
    [
        ("model.", []),
        (
            "pretransform.model.",
            ["model.model.transformer.layers.0.weight", "conditioner.conditioners.prompt.x"],
        ),
        ("vae.", ["model.diffusion_model.x", "text_encoders.t5.x"]),
        (
            "autoencoder.",
            ["autoencoder_ema.ema_model.encoder.layers.0.bias", "discriminator.x", "losses_gen.x"],
        ),
    ],
)
@pytest.mark.parametrize("naming", ["published", "diffusers_named"])
def test_an_autoencoder_inside_a_larger_file_is_found(prefix, beside, naming, request, tmp_path):
    tensors = request.getfixturevalue(naming)
    whole = {f"{prefix}{name}": tensor for name, tensor in tensors.items()} | {name: torch.ones(2) for name in beside}
    assert_same_weights(load_oobleck(saved(tmp_path, whole)), load_oobleck(PUBLISHED))


def test_the_newer_names_of_weight_norm_are_read_too(published, tmp_path):
    newer = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): tensor
        for name, tensor in published.items()
    }
    assert_same_weights(load_oobleck(saved(tmp_path, newer)), load_oobleck(PUBLISHED))


@pytest.mark.parametrize("container", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
def test_a_pickled_file_of_tensors_is_read(container, published, tmp_path):
    path = saved(tmp_path, container(published), "vae.ckpt")
    assert_same_weights(load_oobleck(path), load_oobleck(PUBLISHED))


def test_our_folded_weights_read_back_as_they_are(tmp_path):
    vae = load_oobleck(PUBLISHED)
    assert_same_weights(load_oobleck(saved(tmp_path, vae.state_dict())), vae)


def test_published_weights_travel_through_our_own_checkpoint(tmp_path):
    vae, path = load_oobleck(PUBLISHED), tmp_path / "own.safetensors"
    checkpoint.save(path, {"vae": vae}, info={"name": "oobleck", "status": checkpoint.TRAINED})
    own = checkpoint.load(path).modules["vae"]
    assert own.config == vae.config
    assert_same_weights(own, vae)


def test_weights_arrive_in_the_type_asked_for_without_gradients():
    vae = load_oobleck(PUBLISHED, dtype=torch.float16)
    assert {p.dtype for p in vae.parameters()} == {torch.float16}
    assert not any(p.requires_grad for p in vae.parameters())
    assert not vae.training


def test_a_transposed_convolution_is_normed_over_all_but_its_in_channels(published):
    theirs, ours = "decoder.layers.1.layers.1", "decoder.block.0.conv_t1.weight"
    weight = load_oobleck(PUBLISHED).state_dict()[ours]
    g = published[f"{theirs}.weight_g"].flatten()
    assert weight.shape[0] > weight.shape[1]
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), g.abs())


def test_an_unknown_hop_needs_a_sample_rate(published, tmp_path):
    path = saved(tmp_path, two_blocks(published))
    with pytest.raises(CheckpointError, match=r"got a hop of 8 samples.*give sample_rate in Hz"):
        load_oobleck(path)
    vae = load_oobleck(path, sample_rate=16_000)
    assert vae.config.strides == (2, 4)
    assert vae.config.clock.frame_rate == 2000


def two_blocks(published):
    """The fixture with only the two outermost blocks of each side, 12 channels wide between them."""
    renumbered = {"encoder": {0: 0, 1: 1, 2: 2, 6: 3, 7: 4}, "decoder": {0: 0, 4: 1, 5: 2, 6: 3, 7: 4}}
    tensors = {}
    for name, tensor in published.items():
        side, layers, index, *rest = name.split(".")
        if int(index) in renumbered[side]:
            tensors[".".join([side, layers, str(renumbered[side][int(index)]), *rest])] = tensor
    for name in ("encoder.layers.3.alpha", "encoder.layers.3.beta", "decoder.layers.0.bias"):
        tensors[name] = tensors[name][:12]
    tensors["decoder.layers.0.weight_g"] = tensors["decoder.layers.0.weight_g"][:12]
    tensors["decoder.layers.0.weight_v"] = tensors["decoder.layers.0.weight_v"][:12]
    tensors["encoder.layers.4.weight_v"] = tensors["encoder.layers.4.weight_v"][:, :12]
    return tensors


@pytest.mark.parametrize(
    "drop", ["decoder.layers.7.weight_v", "encoder.layers.2.layers.4.bias", "encoder.layers.0.weight_g"]
)
def test_a_missing_tensor_is_refused(drop, published, tmp_path):
    del published[drop]
    with pytest.raises(CheckpointError, match="missing"):
        load_oobleck(saved(tmp_path, published))


@pytest.mark.parametrize(
    "extra",
    ["decoder.layers.8.weight", "encoder.extra", "decoder.layers.0.weight", "bottleneck.x", "model.model.x"],
)
def test_an_unexpected_tensor_is_refused(extra, published, tmp_path):
    with pytest.raises(CheckpointError, match="unexpected"):
        load_oobleck(saved(tmp_path, published | {extra: torch.ones(2)}))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("encoder.layers.3.layers.0.layers.0.alpha", (7,), "wrong shapes"),
        ("encoder.layers.3.layers.0.layers.0.alpha", (1, 6, 2), "wrong shapes"),
        ("decoder.layers.0.weight_g", (1, 1, 1), "weight_g is"),
        ("decoder.layers.0.weight_v", (96, 3), "weight_v"),
        ("decoder.layers.2.layers.1.weight_v", (48, 24, 9), "wrong shapes"),
        ("encoder.layers.2.layers.4.weight_v", (12, 6, 7), "expected multiples of 6 channels and even"),
        ("encoder.layers.0.bias", (0,), "wrong shapes"),
    ],
)
def test_a_wrong_shape_is_refused(name, shape, message, published, tmp_path):
    changed = published | {name: torch.ones(shape)}
    if name.endswith("weight_v") and len(shape) == 3:
        changed[name.replace("weight_v", "weight_g")] = torch.ones(shape[0], 1, 1)
    with pytest.raises(CheckpointError, match=message):
        load_oobleck(saved(tmp_path, changed))


def test_an_empty_first_layer_is_refused(published, tmp_path):
    changed = published | {
        "encoder.layers.0.weight_v": torch.ones(0, 2, 7),
        "encoder.layers.0.weight_g": torch.ones(0, 1, 1),
    }
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load_oobleck(saved(tmp_path, changed))


@pytest.mark.parametrize(
    "names",
    [
        ["visual.conv1.weight", "visual.class_embedding"],
        ["encoder.layers.0.self_attn.q_proj.weight", "encoder.layers.0.layer_norm1.weight"],
        ["encoder.block.0.weight_g", "decoder.model.0.weight_v"],
        ["encoder.conv1.weight"],
        [],
    ],
)
def test_another_architecture_is_refused(names, tmp_path):
    with pytest.raises(CheckpointError):
        load_oobleck(saved(tmp_path, {name: torch.ones(4, 2, 8) for name in names}))


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(suffix, kept, published, tmp_path):
    path = saved(tmp_path, published, f"vae{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError):
        load_oobleck(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_oobleck(tmp_path / "vae.safetensors")


class _Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("writer", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_hostile_pickle_is_refused_and_not_run(writer, published, tmp_path):
    path, target = tmp_path / "vae.ckpt", tmp_path / "was here"
    writer({"state_dict": published, "callback": _Hostile(target)}, path)
    with pytest.raises(CheckpointError, match=r"refused|damaged"):
        load_oobleck(path)
    assert not target.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strides", "multiples", "audio_channels"),
    [((2, 4, 4, 8, 8), (1, 2, 4, 8, 16), 2), ((2, 4, 6, 10), (1, 2, 3, 4), 2), ((3, 4, 5), (1, 2, 4), 1)],
)
@torch.inference_mode()
def test_diffusers_agrees_on_every_geometry(strides, multiples, audio_channels, tmp_path):
    diffusers = pytest.importorskip("diffusers.models.autoencoders.autoencoder_oobleck")
    torch.manual_seed(0)
    oracle = diffusers.AutoencoderOobleck(
        encoder_hidden_size=6,
        downsampling_ratios=list(strides),
        channel_multiples=list(multiples),
        decoder_channels=6,
        decoder_input_channels=3,
        audio_channels=audio_channels,
        sampling_rate=22_050,
    ).eval()
    for name, parameter in oracle.named_parameters():
        if name.endswith(("alpha", "beta", "weight_g")):
            parameter.data += torch.randn(parameter.shape) / 3
    vae = load_oobleck(saved(tmp_path, oracle.state_dict()), sample_rate=22_050)
    assert vae.config.channel_multiples == multiples
    for num_samples in (vae.config.hop_length * 7, vae.config.hop_length * 5 + 11):
        waveform = torch.randn(2, audio_channels, num_samples)
        expected = oracle.encode(waveform).latent_dist
        mean, std = vae.encode_distribution(waveform)
        torch.testing.assert_close(mean, expected.mean, **TOLERANCE)
        torch.testing.assert_close(std, expected.std, **TOLERANCE)
    latents = torch.randn(2, 3, 9)
    torch.testing.assert_close(vae.decode(latents), oracle.decode(latents).sample, **TOLERANCE)
