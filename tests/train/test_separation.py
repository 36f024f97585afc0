"""Stems that are known, through separators that are simple, and the package through weights that are known."""

import sys
from dataclasses import dataclass

import pytest
import torch

from dualdub_core.errors import CheckpointError, InputError
from train.separation import MelBandSeparator, separate

RATE = 24_000
BANDS = """
model:
  {dim: 8, depth: 1, stereo: true, num_stems: 1, time_transformer_depth: 1, freq_transformer_depth: 1, num_bands: 8,
   dim_head: 4, heads: 2, flash_attn: false, dim_freqs_in: 129, sample_rate: 44100, stft_n_fft: 256,
   stft_hop_length: 64, stft_win_length: 256, stft_normalized: false, mask_estimator_depth: 1,
   multi_stft_resolutions_window_sizes: !!python/tuple [256, 128]}
training: {instruments: [vocals, other], target_instrument: vocals}
inference: {num_overlap: 2, chunk_size: 12800}
"""


def stems(seconds=0.6):
    """A voice of low partials and a hiss above 4 kHz."""
    times = torch.arange(round(seconds * RATE)) / RATE
    speech = sum(0.1 * torch.sin(2 * torch.pi * 150 * k * times) for k in range(1, 6))
    noise = torch.fft.rfft(torch.randn(len(times), generator=torch.Generator().manual_seed(0)))
    noise[: round(4000 * seconds)] = 0
    return speech, 0.05 * torch.fft.irfft(noise, len(times))


@dataclass(frozen=True)
class LowBand:
    """All below an edge is speech."""

    edge: float

    @property
    def name(self):
        return f"below {self.edge} Hz"

    def __call__(self, waveform, sample_rate):
        spectrum = torch.fft.rfft(waveform)
        spectrum[round(self.edge * len(waveform) / sample_rate) :] = 0
        return torch.fft.irfft(spectrum, len(waveform))


@dataclass(frozen=True)
class Known:
    """Knows the answer."""

    speech: torch.Tensor
    name = "known stems"

    def __call__(self, waveform, sample_rate):
        return self.speech


def test_stems_in_different_bands_come_apart():
    speech, background = stems()
    found_speech, found_background = separate(LowBand(2000.0), speech + background, RATE)
    torch.testing.assert_close(found_speech, speech, atol=2e-3, rtol=0)
    torch.testing.assert_close(found_background, background, atol=2e-3, rtol=0)


def test_background_is_what_is_left():
    speech, background = stems()
    mix = speech + background
    found_speech, found_background = separate(Known(speech), mix, RATE)
    torch.testing.assert_close(found_background, background, atol=1e-7, rtol=0)
    for separator in (LowBand(500.0), LowBand(9000.0), Known(torch.zeros_like(mix))):
        torch.testing.assert_close(sum(separate(separator, mix, RATE)), mix, atol=1e-7, rtol=0)
    assert torch.equal(found_speech, speech)


@pytest.mark.parametrize("wrong", [torch.zeros(10), torch.full((14_400,), torch.nan)])
def test_a_separator_that_breaks_the_sound_is_refused(wrong):
    with pytest.raises(InputError, match="expected as many samples, all finite"):
        separate(Known(wrong), sum(stems()), RATE)


def test_missing_weights_and_a_missing_package_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="that you have the right to use"):
        _ = MelBandSeparator(checkpoint=tmp_path / "none.ckpt").name
    (tmp_path / "model.ckpt").touch()
    monkeypatch.setitem(sys.modules, "mel_band_roformer", None)
    with pytest.raises(InputError, match="pip install melband-roformer-infer"):
        MelBandSeparator(checkpoint=tmp_path / "model.ckpt")(torch.zeros(100), RATE)


@pytest.fixture
def tiny(tmp_path):
    """The package's model, tiny, with a mask of the same complex number for all frequencies."""
    package = pytest.importorskip("mel_band_roformer")
    yaml = pytest.importorskip("yaml")
    from mel_band_roformer.inference import SafeLoaderWithTuple

    (tmp_path / "model.yaml").write_text(BANDS)
    config = yaml.load(BANDS, Loader=SafeLoaderWithTuple)["model"]
    model = package.MelBandRoformer(**{**config, "multi_stft_resolutions_window_sizes": (256, 128)})

    def masked_by(real):
        for band in model.mask_estimators[0].to_freqs:
            last = [layer for layer in band.modules() if isinstance(layer, torch.nn.Linear)][-1]
            last.weight.data.zero_()
            value, gate = last.bias.data.chunk(2)
            value[0::2], value[1::2] = real, 0.0
            gate.fill_(40.0)
        path = tmp_path / f"mask{real}.ckpt"
        torch.save({"state_dict": model.state_dict()}, path)
        return MelBandSeparator(checkpoint=path, config=tmp_path / "model.yaml")

    return masked_by


@pytest.mark.parametrize("seconds", [0.1, 0.6, 1.3])
def test_the_package_masks_the_whole_sound_in_place(tiny, seconds, capsys):
    speech, _ = stems(seconds)
    heard = tiny(0.25)(speech, RATE)
    assert heard.shape == speech.shape
    # Not where the sound breaks off and resampling there and back rings.
    torch.testing.assert_close(heard[200:-200], 0.25 * speech[200:-200], atol=1e-3, rtol=0)
    assert capsys.readouterr().out == ""


def test_other_weights_have_another_name_and_must_fit(tiny, tmp_path):
    quarter, half = tiny(0.25), tiny(0.5)
    assert quarter.name != half.name
    torch.save({"layers.0": torch.zeros(2)}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"does not fit model\.yaml"):
        MelBandSeparator(checkpoint=tmp_path / "other.ckpt", config=tmp_path / "model.yaml")(torch.zeros(999), RATE)
    with pytest.raises(InputError, match="expected the yaml that belongs to"):
        MelBandSeparator(checkpoint=half.checkpoint, config=tmp_path / "none.yaml")(torch.zeros(999), RATE)
