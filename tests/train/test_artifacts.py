"""Checkpoints that train writes: untrained and assembled."""

import pytest
import torch

from dualdub_core import checkpoint
from dualdub_core.errors import CheckpointError
from dualdub_core.models.dit import decode_codes
from dualdub_core.sampling import SamplingConfig
from dualdub_core.scripts.vocabulary import unknown_words
from dualdub_core.system import load_system
from train import assemble
from train.sizes import codec_config, flow_config, vae_config
from train.untrained import untrained_mini


@pytest.fixture(scope="module")
def parts():
    return untrained_mini(0)


def test_the_untrained_parts_depend_on_the_seed_alone(parts):
    state = torch.random.get_rng_state()
    again, other = untrained_mini(0), untrained_mini(1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(parts["model"].heads.weight, again["model"].heads.weight)
    assert not torch.equal(parts["model"].heads.weight, other["model"].heads.weight)


def test_untrained_sound_is_finite_and_does_not_clip(parts):
    codes = torch.randint(0, parts["codec"].config.codebook_size, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = decode_codes(parts["decoder"], codes, num_latent_frames=40, num_steps=2)
        for sound in (parts["vae"].decode(latents), parts["codec"].decode(codes)):
            assert sound.isfinite().all()
            assert sound.abs().max() < 0.9


def test_untrained_parts_are_not_assembled(parts, tmp_path):
    path = tmp_path / "vae.safetensors"
    checkpoint.save(path, {"vae": parts["vae"]}, info={"name": "x", "status": checkpoint.UNTRAINED})
    with pytest.raises(CheckpointError, match="not trained"):
        assemble.assemble({"vae": path}, name="x", provenance={})


@pytest.mark.parametrize(("options", "expected"), [([], "flow"), (["--prefer", "codec"], "codec")])
def test_an_assembled_file_says_which_decoder_it_prefers(parts, tmp_path, options, expected):
    checkpoint.save(tmp_path / "vae.safetensors", {"vae": parts["vae"]}, info={"name": "x", "status": "trained"})
    out = tmp_path / "out.safetensors"
    files = ["--vae", str(tmp_path / "vae.safetensors"), "--out", str(out)]
    assemble.main([*files, "--name", "y", "--dtype", "float32", *options])
    assert load_system(out).preferred_decoder == expected


def test_what_was_measured_best_stands_in_the_checkpoint(parts, tmp_path):
    checkpoint.save(tmp_path / "vae.safetensors", {"vae": parts["vae"]}, info={"name": "x", "status": "trained"})
    files = ["--vae", str(tmp_path / "vae.safetensors"), "--out", str(tmp_path / "y.safetensors"), "--name", "y"]
    assemble.main([*files, "--speech-sampling", "0.4", "20", "--vocabulary"])
    system = load_system(tmp_path / "y.safetensors")
    assert system.preferred_sampling == SamplingConfig().but(speech_temperature=0.4, speech_top_k=20)
    assert unknown_words(["seven butterfly elevens"], system.header.info) == ("elevens",)


def test_parts_of_different_trainings_are_refused():
    built = {
        "codec": checkpoint.build("codec", codec_config("mini")),
        "decoder": checkpoint.build("decoder", flow_config("tiny")),
    }
    with pytest.raises(CheckpointError, match="codebook differ"):
        assemble.check_fit(built)
    vae = checkpoint.build("vae", vae_config("mini"))
    with pytest.raises(CheckpointError, match="latents differ"):
        assemble.check_fit({"decoder": built["decoder"], "vae": vae})


def test_weights_that_half_precision_cannot_hold_are_refused(parts, tmp_path):
    vae = untrained_mini(0)["vae"]
    vae.decoder.conv2.weight.data[0, 0, 0] = 1e6
    with pytest.raises(CheckpointError, match="not finite"):
        assemble.write(tmp_path / "x.safetensors", {"vae": vae}, {"name": "x", "status": "trained"}, dtype=torch.half)
