import dataclasses
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dualdub_core.errors import CheckpointError
from dualdub_core.models.wavtokenizer import WavTokenizer, WavTokenizerConfig
from dualdub_core.published.wavtokenizer import load_wavtokenizer, self_test

FIXTURE = Path(__file__).parents[1] / "fixtures" / "formats" / "wavtokenizer_small"
CKPT = FIXTURE.with_suffix(".ckpt")
ENCODER = "feature_extractor.encodec.encoder.model"
CODEBOOK = "feature_extractor.encodec.quantizer.vq.layers"
TINY = WavTokenizerConfig(
    sample_rate=24_000,
    n_filters=2,
    dimension=8,
    ratios=(6, 5, 5, 4),
    lstm_layers=2,
    codebook_size=16,
    backbone_width=32,
    backbone_mlp_width=48,
    num_backbone_layers=1,
    num_bandwidths=4,
    n_fft=2400,
)


@pytest.fixture(scope="module")
def lightning():
    return torch.load(CKPT, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def upstream():
    return load_file(FIXTURE.with_suffix(".io.safetensors"))


def published_state(codec):
    """A codec's weights under the original names, weight norm taken apart, with a length of its own."""
    stages = len(codec.config.ratios)
    places = {
        "encoder.conv_in": f"{ENCODER}.0.conv.conv",
        "encoder.conv_out": f"{ENCODER}.{3 * stages + 3}.conv.conv",
    }
    units = {"squeeze": "block.1", "expand": "block.3", "shortcut": "shortcut"}
    for i in range(stages):
        places[f"encoder.stages.{i}.down"] = f"{ENCODER}.{3 * i + 3}.conv.conv"
        for ours, theirs in units.items():
            places[f"encoder.stages.{i}.{ours}"] = f"{ENCODER}.{3 * i + 1}.{theirs}.conv.conv"
    state = {f"{CODEBOOK}.0._codebook.embed": codec.codebook.weight.detach()}
    for name, value in codec.state_dict().items():
        module, _, kind = name.rpartition(".")
        if module in places and kind == "weight":
            state[f"{places[module]}.weight_g"] = value.norm(dim=(1, 2), keepdim=True)
            state[f"{places[module]}.weight_v"] = 3 * value
        elif module in places:
            state[f"{places[module]}.{kind}"] = value
        elif module == "encoder.lstm":
            state[f"{ENCODER}.{3 * stages + 1}.lstm.{kind}"] = value
        elif module != "codebook":
            state[name.replace("head.linear", "head.out")] = value
    return state


def transformers_state(lightning, *, prefix):
    key_map = json.loads(FIXTURE.with_suffix(".json").read_text())["key_map_lightning_to_transformers"]
    return {
        key_map[name].removeprefix("" if prefix else "encoder_model."): tensor.clone()
        for name, tensor in lightning.items()
        if key_map.get(name)
    }


def saved(path, state):
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def assert_same(codec, other):
    assert codec.config == other.config
    for (name, a), b in zip(codec.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_the_lightning_checkpoint_gives_its_codec_ready_to_use():
    codec = load_wavtokenizer(CKPT)
    assert codec.config == WavTokenizerConfig(
        sample_rate=24_000,
        n_filters=4,
        dimension=32,
        ratios=(6, 5, 5, 4),
        lstm_layers=2,
        codebook_size=128,
        backbone_width=64,
        backbone_mlp_width=192,
        num_backbone_layers=3,
        num_bandwidths=4,
        n_fft=2400,
    )
    assert not codec.training
    assert not any(p.requires_grad for p in codec.parameters())


@pytest.mark.parametrize("naming", ["original", "transformers", "older transformers"])
def test_every_naming_gives_the_same_codec(tmp_path, lightning, naming):
    if naming == "original":
        state = {name: tensor.clone() for name, tensor in lightning.items()}
    else:
        state = transformers_state(lightning, prefix=naming == "transformers")
        assert any(name.startswith("encoder.layers.") for name in state) == (naming == "older transformers")
    codec = load_wavtokenizer(saved(tmp_path / "model.safetensors", state))
    assert_same(codec, load_wavtokenizer(CKPT))


@pytest.mark.parametrize(
    "change",
    [
        {"ratios": (8, 5, 4, 2), "n_fft": 1280},  # the 75-token sibling
        {"ratios": (5, 3, 7), "n_fft": 420, "lstm_layers": 1, "num_bandwidths": 2},
        {"ratios": (3, 3, 3), "n_fft": 108, "num_bandwidths": 1},
        {"ratios": (2, 2, 3, 2, 5), "n_fft": 480, "num_backbone_layers": 3, "dimension": 4},
    ],
)
def test_the_sizes_are_read_off_the_shapes(tmp_path, change):
    config = dataclasses.replace(TINY, **change)
    codec = WavTokenizer(config)
    path = saved(tmp_path / "other.safetensors", published_state(codec))
    assert_same(load_wavtokenizer(path), codec)


def test_dead_weights_and_codebook_statistics_change_nothing(tmp_path, lightning):
    state = {
        name: torch.zeros_like(tensor)
        if ".decoder." in name or name.endswith((".embed_avg", ".cluster_size", ".inited", ".window"))
        else tensor.clone()
        for name, tensor in lightning.items()
    }
    assert_same(load_wavtokenizer(saved(tmp_path / "zeroed.safetensors", state)), load_wavtokenizer(CKPT))


def test_a_half_precision_decoder_leaves_the_codes_alone(upstream):
    codec = load_wavtokenizer(CKPT, dtype=torch.bfloat16)
    assert torch.equal(codec.encode(upstream["enc1.wav"][:, None]), upstream["enc1.codes"][0])
    assert codec.backbone.embed.weight.dtype == torch.bfloat16
    assert codec.decode(upstream["enc1.codes"][0]).isfinite().all()


def test_nothing_of_the_codec_hangs_on_the_file(tmp_path, lightning):
    path = saved(tmp_path / "model.safetensors", {name: tensor.clone() for name, tensor in lightning.items()})
    codec = load_wavtokenizer(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert_same(codec, load_wavtokenizer(CKPT))


def lacking(name):
    def damage(state):
        del state[name]

    return damage


def with_extra(name):
    def damage(state):
        state[name] = torch.zeros(3)

    return damage


def reshaped(name, *shape):
    def damage(state):
        state[name] = torch.zeros(shape)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lacking("backbone.convnext.1.gamma"), "missing backbone.convnext.1.gamma"),
        (lacking("head.out.weight"), "missing head.linear.weight"),
        (lacking(f"{CODEBOOK}.0._codebook.embed"), "missing codebook.weight"),
        (lacking(f"{ENCODER}.6.conv.conv.weight_g"), "missing encoder.stages.1.down.weight"),
        (lacking(f"{ENCODER}.6.conv.conv.bias"), "missing encoder.stages.1.down.bias"),
        (lacking(f"{ENCODER}.4.shortcut.conv.conv.weight_v"), "missing encoder.stages.1.shortcut.weight"),
        (lacking(f"{ENCODER}.13.lstm.weight_hh_l1"), "missing encoder.lstm.weight_hh_l1"),
        (with_extra("generator.weight"), "unexpected generator.weight"),
        (with_extra(f"{ENCODER}.2.conv.conv.bias"), f"unexpected {ENCODER}.2.conv.conv.bias"),
        (with_extra(f"{ENCODER}.1.conv.conv.bias"), f"unexpected {ENCODER}.1.conv.conv.bias"),
        (with_extra(f"{ENCODER}.3.shortcut.conv.conv.bias"), f"unexpected {ENCODER}.3.shortcut"),
        (with_extra(f"{ENCODER}.18.conv.conv.bias"), f"unexpected {ENCODER}.18.conv.conv.bias"),
        (with_extra(f"{ENCODER}.13.lstm.weight_ih_l2"), "missing encoder.lstm"),
        (with_extra(f"{CODEBOOK}.1._codebook.embed"), f"unexpected {CODEBOOK}.1"),
        (with_extra("encoder_model.quantizer.codebook.embed"), "holds codebook.weight twice"),
        (reshaped("head.out.bias", 7), "wrong shapes: head.linear.bias is \\(7,\\), expected \\(2402,\\)"),
        (reshaped("head.out.weight", 7, 64), "n_fft=5 must be even"),
        (reshaped(f"{ENCODER}.6.conv.conv.weight_g", 1, 1, 1), "wrong shapes: .* encoder.stages.1.down"),
        (reshaped(f"{ENCODER}.6.conv.conv.weight_v", 16), "wrong shapes: .* encoder.stages.1.down"),
        (reshaped("backbone.embed.weight", 65, 32, 7), "multiple of 32"),
        (reshaped(f"{ENCODER}.6.conv.conv.weight_v", 16, 8, 10), "NaN or infinite weights in encoder.st"),
    ],
)
def test_weights_that_are_not_exactly_one_wavtokenizer_are_refused(tmp_path, lightning, damage, message):
    state = {name: tensor.clone() for name, tensor in lightning.items()}
    damage(state)
    with pytest.raises(CheckpointError, match=message):
        load_wavtokenizer(saved(tmp_path / "damaged.safetensors", state))


def test_weights_of_something_else_are_refused(tmp_path):
    path = saved(tmp_path / "other.safetensors", {"model.layers.0.weight": torch.zeros(4)})
    with pytest.raises(CheckpointError, match=r"other.safetensors: not a WavTokenizer"):
        load_wavtokenizer(path)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path, lightning, suffix, kept):
    path = tmp_path / f"short{suffix}"
    if suffix == ".ckpt":
        path.write_bytes(CKPT.read_bytes())
    else:
        saved(path, {name: tensor.clone() for name, tensor in lightning.items()})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match=f"short{suffix}"):
        load_wavtokenizer(path)


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (Path(self.target),)


@pytest.mark.parametrize("container", ["zip", "legacy", "bare pickle"])
def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path, lightning, container):
    ran, path = tmp_path / "ran", tmp_path / "hostile.ckpt"
    content = {"state_dict": {"head.out.bias": lightning["head.out.bias"].clone()}, "callbacks": Payload(ran)}
    if container == "bare pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(CheckpointError, match=r"hostile.ckpt: refused"):
        load_wavtokenizer(path)
    assert not ran.exists()
    pickle.loads(pickle.dumps(Payload(ran)))  # noqa: S301, the proof that the payload works
    assert ran.exists()


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("content", [b"<html>404</html>\n" * 50, b"RIFF....WAVEfmt " * 50, bytes(4096)])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"page{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"page{suffix}"):
        load_wavtokenizer(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_wavtokenizer(tmp_path / "wavtokenizer.ckpt")


def test_the_self_test_refuses_another_model():
    with pytest.raises(CheckpointError, match="other sizes than wavtokenizer_large_unify_600_24k"):
        self_test(load_wavtokenizer(CKPT))


def test_the_self_test_refuses_other_weights_of_the_same_sizes():
    with pytest.raises(CheckpointError, match="expected \\[1323, 1442"):
        self_test(WavTokenizer(WavTokenizerConfig.paper()).eval())


@pytest.mark.skipif(
    "DUALDUB_WAVTOKENIZER" not in os.environ,
    reason="needs the published codec: set DUALDUB_WAVTOKENIZER to wavtokenizer_large_unify_600_24k.ckpt",
)
def test_the_published_codec_gives_its_known_codes():
    self_test(load_wavtokenizer(os.environ["DUALDUB_WAVTOKENIZER"]))
