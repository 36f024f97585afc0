import pytest
import torch

from dualdub_core.decoding import decode_codec, decode_flow, rendered
from dualdub_core.errors import InputError
from dualdub_core.models.oobleck import Oobleck, OobleckConfig, decode_in_chunks
from dualdub_core.progress import Progress
from dualdub_core.timing import num_samples
from dualdub_core.types import Codes

SECONDS = 0.73


class Elsewhere:
    """A VAE that another program runs."""

    def __init__(self, vae: Oobleck) -> None:
        self.vae = vae

    @property
    def config(self) -> OobleckConfig:
        return self.vae.config

    def render(self, latents: torch.Tensor, *, progress: Progress) -> torch.Tensor:
        waveform = self.vae.decode(latents).float().cpu()
        progress("render", 1, 1)
        return waveform


@pytest.fixture
def codes(tiny_config) -> Codes:
    frames = tiny_config.clock.num_frames(SECONDS)
    drawn = torch.randint(tiny_config.codebook_size, (2, 1, frames), generator=torch.Generator().manual_seed(0))
    return Codes(*drawn, duration=SECONDS, clock=tiny_config.clock, codebook_size=tiny_config.codebook_size)


def test_decoders_can_be_compared_on_the_same_codes(codes, tiny_codec, tiny_decoder, tiny_vae):
    before = codes.speech.clone(), codes.background.clone()
    draft, final = decode_codec(tiny_codec, codes), decode_flow(tiny_decoder, tiny_vae, codes, num_steps=2)
    assert draft.num_samples == num_samples(SECONDS, tiny_codec.config.sample_rate)
    assert final.num_samples == num_samples(SECONDS, tiny_vae.config.sample_rate)
    assert torch.equal(codes.speech, before[0])
    assert torch.equal(codes.background, before[1])


def test_a_vae_that_another_program_runs_gives_the_same_stems(codes, tiny_decoder, tiny_vae):
    seen = []
    theirs = decode_flow(
        tiny_decoder, Elsewhere(tiny_vae), codes, num_steps=2, progress=lambda stage, *_: seen.append(stage)
    )
    ours = decode_flow(tiny_decoder, tiny_vae, codes, num_steps=2)
    torch.testing.assert_close(theirs.speech.waveform, ours.speech.waveform)
    torch.testing.assert_close(theirs.background.waveform, ours.background.waveform)
    assert seen == ["decode", "decode", "render"]


def test_our_own_vae_renders_in_chunks(tiny_vae):
    latents = torch.randn(1, 3, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rendered(tiny_vae, latents), decode_in_chunks(tiny_vae, latents))


def test_a_vae_of_other_latents_is_refused_before_anything_is_decoded(codes, tiny_decoder):
    other = Elsewhere(Oobleck(OobleckConfig.mini()))
    with pytest.raises(InputError, match="decoder and VAE do not fit: the decoder writes 3 channels"):
        decode_flow(tiny_decoder, other, codes, num_steps=2)
