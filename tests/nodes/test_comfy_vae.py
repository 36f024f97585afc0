"""ComfyUI's own audio VAE on our flow decoder: the same sound as ours makes of the same weights, and what is refused.

The weights are random, the sizes Stable Audio's: ComfyUI builds no smaller one. 312 MB, removed in the end.
"""

from collections.abc import Iterator

import pytest
import soundfile
import torch
from safetensors.torch import save_file

from dualdub_core import checkpoint
from dualdub_core.models.dit import FlowDecoder, FlowDecoderConfig
from dualdub_core.timing import FrameClock

pytestmark = [pytest.mark.comfy, pytest.mark.slow]

WIDTHS, STRIDES, LATENTS = (128, 128, 256, 512, 1024, 2048), (2, 4, 4, 8, 8), 64
SECONDS, RATE = 0.12, 44_100


def own(kind: str, **inputs) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def core(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def snake(name: str, width: int) -> dict[str, torch.Tensor]:
    return {f"{name}.{part}": torch.zeros(width, dtype=torch.float16) for part in ("alpha", "beta")}


def conv(name: str, shape: tuple[int, int, int], *, bias: int = 0, gain: float = 1.0) -> dict[str, torch.Tensor]:
    # Only the decoder is heard: what the encoder's weights are does not matter.
    heard = name.startswith("decoder")
    v = torch.randn(shape, dtype=torch.float32).half() if heard else torch.ones(shape, dtype=torch.float16)
    found = {f"{name}.weight_g": torch.full((shape[0], 1, 1), gain, dtype=torch.float16), f"{name}.weight_v": v}
    return found | ({f"{name}.bias": torch.zeros(bias, dtype=torch.float16)} if bias else {})


def unit(name: str, width: int) -> dict[str, torch.Tensor]:
    wide, narrow = (conv(f"{name}.layers.{i}", (width, width, k), bias=width) for i, k in ((1, 7), (3, 1)))
    return snake(f"{name}.layers.0", width) | wide | snake(f"{name}.layers.2", width) | narrow


def stable_audio() -> dict[str, torch.Tensor]:
    """The tensors as stable-audio-tools names them."""
    torch.manual_seed(0)
    last = WIDTHS[-1]
    state = conv("encoder.layers.0", (128, 2, 7), bias=128) | snake("encoder.layers.6", last)
    state |= conv("encoder.layers.7", (2 * LATENTS, last, 3), bias=2 * LATENTS)
    state |= conv("decoder.layers.0", (last, LATENTS, 7), bias=last) | snake("decoder.layers.6", 128)
    state |= conv("decoder.layers.7", (2, 128, 7), gain=0.02)
    for i, stride in enumerate(STRIDES):
        narrow, wide = WIDTHS[i], WIDTHS[i + 1]
        down, up = f"encoder.layers.{i + 1}.layers", f"decoder.layers.{5 - i}.layers"
        for j in range(3):
            state |= unit(f"{down}.{j}", narrow) | unit(f"{up}.{j + 2}", narrow)
        state |= snake(f"{down}.3", narrow) | conv(f"{down}.4", (wide, narrow, 2 * stride), bias=wide)
        state |= snake(f"{up}.0", wide) | conv(f"{up}.1", (wide, narrow, 2 * stride), bias=narrow)
    return state


@pytest.fixture(scope="module")
def _files(comfy) -> Iterator[None]:
    """Stable Audio's VAE, and a small flow decoder from the mini model's codes to its latents."""
    vae = comfy.base / "models" / "vae" / "stable_audio.safetensors"
    vae.parent.mkdir(exist_ok=True)
    save_file(stable_audio(), vae)
    config = FlowDecoderConfig(
        codebook_size=2048,
        code_clock=FrameClock(sample_rate=24_000, hop_length=600),
        latent_clock=FrameClock(sample_rate=RATE, hop_length=2048),
        latent_channels=LATENTS,
        width=32,
        num_layers=1,
        num_heads=2,
        mlp_ratio=2,
    )
    info = {"name": "decoder to Stable Audio", "status": checkpoint.TRAINED}
    decoder = comfy.base / "models" / "dualdub" / "to_stable_audio.safetensors"
    checkpoint.save(decoder, {"decoder": FlowDecoder(config)}, info=info)
    yield
    vae.unlink()
    decoder.unlink()


def graph(vae: dict, **changes) -> dict:
    """A breath of background, decoded by the flow and a VAE."""
    decode = {"decoder": ["decoder", 0], "vae": ["vae", 0], "codes": ["sample", 0], "steps": 2, "solver": "euler"}
    return {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="fp32"),
        "video": own("LoadVideo", file="clip.mp4", start=0.0, duration=SECONDS),
        "watch": own("EncodeVideo", video_encoder=["load", 1], video=["video", 0], fps=25.0),
        "sample": own(
            "Sampler", model=["load", 0], task="background only", speech_seed=1, background_seed=1, takes=1,
            duration=0.0, features=["watch", 0],
        ),
        "decoder": own("LoadFlowDecoder", file="to_stable_audio.safetensors"),
        "vae": vae,
        "decode": own("FlowDecode", **decode, cfg=1.0, seed=0),
        "sound": core("PreviewAudio", audio=["decode", 1]),
        **changes,
    }  # fmt: skip


def heard(comfy, outputs: dict, node: str = "sound") -> tuple[torch.Tensor, int]:
    (path,) = comfy.saved(outputs, node, "audio")
    samples, rate = soundfile.read(path, always_2d=True, dtype="float32")
    return torch.from_numpy(samples), rate


@pytest.mark.usefixtures("_files")
def test_comfyuis_vae_gives_the_sound_of_ours_and_the_take_is_not_sampled_again(comfy):
    outputs = comfy.run(graph(own("LoadAudioVAE", file="stable_audio.safetensors", download=False)))
    ours, rate = heard(comfy, outputs)
    assert rate == RATE
    assert ours.shape == (round(SECONDS * RATE), 2)
    assert float(ours.abs().max()) > 0.01

    theirs = graph(
        core("VAELoader", vae_name="stable_audio.safetensors"),
        draft=own("CodecDecode", codec=["load", 2], codes=["sample", 0]),
        draft_sound=core("PreviewAudio", audio=["draft", 1]),
    )
    result = comfy.wait(comfy.queue(theirs))
    assert result["status"]["status_str"] == "success", result["status"]
    assert {"load", "watch", "sample", "decoder"} <= set(comfy.event(result, "execution_cached")["nodes"])
    sound, rate = heard(comfy, result["outputs"])
    assert rate == RATE
    torch.testing.assert_close(sound, ours, rtol=0, atol=1e-3)
    draft, rate = heard(comfy, result["outputs"], "draft_sound")
    assert (len(draft), rate) == (round(SECONDS * 24_000), 24_000)


@pytest.mark.usefixtures("_files")
def test_a_decoder_of_other_latents_than_the_vae_reads_is_refused(comfy):
    told = comfy.error(
        graph(
            core("VAELoader", vae_name="stable_audio.safetensors"),
            decode=own(
                "FlowDecode", decoder=["load", 3], vae=["vae", 0], codes=["sample", 0], steps=2, solver="euler",
                cfg=1.0, seed=0,
            ),
        )
    )  # fmt: skip
    assert "decoder and VAE do not fit: the decoder writes 32 channels at 80.000 Hz, the VAE reads 64 at 21.533" in told


def test_an_image_vae_is_refused(comfy):
    told = comfy.error(
        graph(
            core("VAELoader", vae_name="pixel_space"),
            decoder=own("LoadFlowDecoder", file="built-in mini"),
        )
    )
    assert "vae: got PixelspaceConversionVAE from ComfyUI, expected Stable Audio's" in told
