"""A host's layers: the same results, weights left where the host keeps them, nothing read behind its back.

Fake tensors tell of every device that meets another, also on a machine that has but one; the second is torch's "meta".
"""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dualdub_core.models.clip import ClipConfig, ClipVideoEncoder
from dualdub_core.models.dit import FlowDecoder, FlowDecoderConfig, decode_codes
from dualdub_core.models.oobleck import Oobleck, OobleckConfig, decode_in_chunks
from dualdub_core.models.ops import host, place_of, settle
from dualdub_core.models.wavtokenizer import WavTokenizer, WavTokenizerConfig

GPU = torch.device("meta")
FLOW = replace(FlowDecoderConfig.mini(), codebook_size=24, width=16, num_layers=2, num_heads=2, token_condition=True)
VAE = replace(OobleckConfig.mini(), channels=2, latent_channels=3, audio_channels=2)
CLIP = replace(
    ClipConfig.mini(), patch_size=8, width=16, num_layers=1, num_heads=2, mlp_width=32, image_size=16, projection_dim=8
)
CODEC = replace(
    WavTokenizerConfig.mini(),
    n_filters=2,
    dimension=8,
    codebook_size=24,
    backbone_width=32,
    backbone_mlp_width=32,
    num_backbone_layers=1,
    encoder="seanet",
)


def streaming(layer):
    """Torch's layer, which fetches its weights to where its input is, as ComfyUI's do."""

    class Streaming(layer):
        def forward(self, x):
            kept = self._parameters
            self._parameters = {name: None if p is None else p.to(x.device) for name, p in kept.items()}
            try:
                return super().forward(x)
            finally:
                self._parameters = kept

    return Streaming


class Ops:
    Linear, Conv1d, Conv2d = streaming(nn.Linear), streaming(nn.Conv1d), streaming(nn.Conv2d)
    ConvTranspose1d, Embedding = streaming(nn.ConvTranspose1d), streaming(nn.Embedding)
    LayerNorm, GroupNorm = streaming(nn.LayerNorm), streaming(nn.GroupNorm)


class Everything(Ops):
    RMSNorm = streaming(nn.RMSNorm)


def flow_step(decoder, device):
    codes = torch.zeros(2, 4, dtype=torch.int64, device=device)
    times = torch.zeros(3, device=device)
    z = decoder.embedding(codes)
    return decoder(z, decoder.modulations(times).row(1), decoder.uncondition(torch.empty(2, 4, 16, device=device)))


CASES = [
    pytest.param(lambda: FlowDecoder(FLOW), flow_step, id="flow"),
    pytest.param(lambda: Oobleck(VAE), lambda vae, device: vae.decode(torch.empty(1, 3, 4, device=device)), id="vae"),
    pytest.param(
        lambda: WavTokenizer(CODEC),
        lambda codec, device: codec.decode_features(codec.codebook(torch.zeros(1, 4, dtype=int, device=device)).mT),
        id="codec",
    ),
    pytest.param(
        lambda: ClipVideoEncoder(CLIP),
        lambda clip, device: clip.project(torch.empty(2, 3, 16, 16, device=device)),
        id="clip",
    ),
]


@pytest.mark.parametrize(("build", "run"), CASES)
def test_a_model_works_on_a_device_that_its_weights_never_move_to(build, run):
    with FakeTensorMode(), torch.no_grad():
        model = settle(host(build(), Ops), GPU)
        assert run(model, GPU).device == GPU
        assert place_of(model) == GPU
        large = [p for p in model.parameters() if p.ndim > 1 and p.numel() > 64]
        assert sum(p.device.type == "cpu" for p in large) > 0.6 * len(large)


@pytest.mark.parametrize(("build", "run"), CASES[:2])
def test_without_a_host_the_same_would_fail(build, run):
    with FakeTensorMode(), torch.no_grad():
        model = build()
        with pytest.raises(RuntimeError, match="device"):
            run(model, GPU)
        assert run(settle(model, GPU), GPU).device == GPU


def test_hosted_models_compute_what_they_did_and_keep_their_names():
    torch.manual_seed(0)
    decoder, vae = FlowDecoder(FLOW).eval().requires_grad_(False), Oobleck(VAE).eval().requires_grad_(False)
    nn.init.normal_(decoder.out_proj.weight)
    codes, latents = torch.randint(24, (2, 8)), torch.randn(2, 3, 5)
    names = [*decoder.state_dict(), *vae.state_dict()]
    before = decode_codes(decoder, codes, num_latent_frames=16, num_steps=2), decode_in_chunks(vae, latents)
    host(decoder, Ops), host(host(vae, Ops), Ops)
    after = decode_codes(decoder, codes, num_latent_frames=16, num_steps=2), decode_in_chunks(vae, latents)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [*decoder.state_dict(), *vae.state_dict()] == names


def test_every_hosted_layer_has_a_weight_and_a_bias_to_ask_for():
    model = host(nn.ModuleList([nn.Embedding(3, 3), nn.RMSNorm(3), nn.Linear(3, 3, bias=False)]), Everything)
    assert all(layer.is_hosted and layer.weight is not None and layer.bias is None for layer in model)
    assert all(name.endswith("weight") for name in model.state_dict())


def test_layers_that_the_host_has_no_like_of_stay_and_are_moved():
    class Only:
        Linear = streaming(nn.Linear)

    model = host(nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 3), nn.Conv1d(3, 3, 1)), Only)
    settle(model, "meta")
    assert not model[0].weight.is_meta
    assert all(p.is_meta for part in model[1:] for p in part.parameters())
    assert place_of(model) == torch.device("meta")
