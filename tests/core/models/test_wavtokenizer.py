import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from dualdub_core.errors import ConfigError, InputError
from dualdub_core.models.wavtokenizer import InverseSTFTHead, ReflectConv1d, WavTokenizer, WavTokenizerConfig
from dualdub_core.published.wavtokenizer import load_wavtokenizer

FIXTURE = Path(__file__).parents[2] / "fixtures" / "formats" / "wavtokenizer_small"
ENCODED = range(4)
DECODED = ((0, 0), (1, 0), (2, 3), (3, 0), (4, 1))  # case, bandwidth id
TINY = WavTokenizerConfig(
    sample_rate=24_000,
    n_filters=4,
    dimension=16,
    ratios=(6, 5, 5, 4),
    lstm_layers=1,
    codebook_size=32,
    backbone_width=64,
    backbone_mlp_width=48,
    num_backbone_layers=2,
    num_bandwidths=2,
    n_fft=2400,
)


@pytest.fixture(scope="module")
def published():
    return load_wavtokenizer(FIXTURE.with_suffix(".ckpt"))


@pytest.fixture(scope="module")
def upstream():
    return load_file(FIXTURE.with_suffix(".io.safetensors"))


@pytest.fixture(scope="module")
def tiny():
    return build(TINY)


def build(config):
    torch.manual_seed(0)
    return WavTokenizer(config).eval().requires_grad_(False)


def noise(*shape):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("case", ENCODED)
def test_codes_are_exactly_those_of_upstream(published, upstream, case):
    waveform, codes = upstream[f"enc{case}.wav"][:, None], upstream[f"enc{case}.codes"][0]
    assert torch.equal(published.encode(waveform), codes)
    assert_close(published.encoder(waveform), upstream[f"enc{case}.emb"], atol=2e-5, rtol=0)
    assert torch.equal(published.embed(codes), upstream[f"enc{case}.features"])


@pytest.mark.parametrize(("case", "bandwidth_id"), DECODED)
def test_waves_are_those_of_upstream(published, upstream, case, bandwidth_id):
    codes = upstream[f"dec{case}.codes"][0]
    hidden = published.backbone(published.embed(codes), bandwidth_id)
    assert_close(hidden, upstream[f"dec{case}.backbone"], atol=2e-5, rtol=0)
    assert_close(published.decode(codes, bandwidth_id)[:, 0], upstream[f"dec{case}.wav"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 100, 599, 600, 601, 1199, 1200, 1201, 4803])
def test_every_started_hop_gives_one_code_and_every_code_one_hop(tiny, length):
    codes = tiny.encode(noise(1, 1, length))
    assert codes.shape == (1, TINY.clock.num_frames_of_samples(length))
    assert codes.dtype == torch.int64
    assert tiny.decode(codes).shape == (1, 1, 600 * codes.shape[1])


def test_an_odd_hop_keeps_both_lengths():
    config = dataclasses.replace(TINY, ratios=(5, 3, 3), n_fft=180)
    codec = build(config)
    codes = codec.encode(noise(1, 1, 10 * 45 + 1))
    assert codes.shape == (1, 11)
    waveform = codec.decode(codes)
    assert waveform.shape == (1, 1, 11 * 45)
    assert waveform.isfinite().all()


def test_a_batch_has_the_codes_of_its_clips(tiny):
    waveforms = noise(3, 1, 3000)
    singles = [tiny.encode(clip[None]) for clip in waveforms]
    assert torch.equal(tiny.encode(waveforms), torch.cat(singles))


@pytest.mark.parametrize(("ratios", "n_fft"), [((6, 5, 5, 4), 2400), ((5, 3, 3), 180), ((2, 2), 16), ((2,), 8)])
@pytest.mark.parametrize("chunk_frames", [1, 7])
def test_an_encoder_that_works_in_chunks_leaves_no_seams(chunk_frames, ratios, n_fft):
    codec = build(dataclasses.replace(TINY, ratios=ratios, n_fft=n_fft))
    waveform = noise(1, 1, 20 * codec.config.hop_length - 1)
    whole = codec.encoder(waveform, chunk_frames=100)
    assert_close(codec.encoder(waveform, chunk_frames=chunk_frames), whole, atol=1e-6, rtol=0)


def test_a_codebook_entry_quantises_to_itself(tiny):
    codes = torch.randint(32, (2, 1500), generator=torch.Generator().manual_seed(0))
    assert torch.equal(tiny.quantise(tiny.embed(codes)), codes)


def test_the_first_of_equal_entries_wins():
    codec = build(TINY)
    codec.codebook.weight[9] = codec.codebook.weight[4]
    assert codec.quantise(codec.embed(torch.tensor([[9]]))).item() == 4


def test_the_encoder_hears_nothing_of_the_future_beyond_its_kernels(tiny):
    # Three frames of conv_out and three of the strided convolutions; the LSTM runs forwards.
    waveform = noise(1, 1, 12_000)
    changed = waveform.clone()
    changed[..., 9000:] += 1
    before, after = tiny.encoder(waveform), tiny.encoder(changed)
    assert_close(before[..., :9], after[..., :9])
    assert (before - after)[..., 15:].abs().max() > 1e-4


def test_a_short_sound_is_mirrored_as_if_silence_followed():
    conv = ReflectConv1d(1, 1, 7)
    torch.nn.init.ones_(conv.weight)
    torch.nn.init.zeros_(conv.bias)
    # [2 3] and two zeros, mirrored by three at both ends: 0 0 3 2 3 0 0 0 3 2; the last two are cut off.
    assert_close(conv(torch.tensor([[[2.0, 3.0]]])).detach(), torch.tensor([[[8.0, 8.0]]]))


def test_a_lone_zero_frequency_of_the_head_is_a_constant_wave():
    head = InverseSTFTHead(TINY).requires_grad_(False)
    head.linear.weight.zero_()
    head.linear.bias.fill_(-torch.inf)
    head.linear.bias[1201:] = 0  # phases
    head.linear.bias[0] = 20  # clipped to a magnitude of 100
    waveform = head(torch.zeros(1, 12, 64))
    # Hann windows a quarter apart sum to 2, their squares to 1.5.
    expected = torch.full((1, 1, 12 * 600 - 4 * 600), 100 / 2400 * 2 / 1.5)
    assert_close(waveform[..., 1200:-1200], expected)


def test_a_decoder_in_bfloat16_still_gives_float32_sound():
    codec = build(TINY).to(torch.bfloat16)
    waveform = codec.decode(torch.zeros(1, 4, dtype=torch.int64))
    assert waveform.dtype == torch.float32
    assert waveform.isfinite().all()


def test_an_encoder_in_half_precision_is_refused():
    with pytest.raises(InputError, match=r"cannot encode in torch.bfloat16; load the codec in float32"):
        build(TINY).to(torch.bfloat16).encode(noise(1, 1, 600).bfloat16())


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.tensor([[[0.0, float("nan")]]]), "NaN or infinite samples"),
        (torch.tensor([[[0.0, float("inf")]]]), "NaN or infinite samples"),
        (torch.zeros(1, 1, 0), "got 0 samples"),
        (torch.zeros(1, 2, 600), "got 2 channels, expected 1"),
        (torch.zeros(1, 600), "expected \\(batch, channels, samples\\)"),
    ],
)
def test_sound_that_cannot_be_encoded_is_refused(tiny, waveform, message):
    with pytest.raises(InputError, match=message):
        tiny.encode(waveform)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.tensor([[0, 32]]), "from 0 to 32, expected 0 to 31"),
        (torch.tensor([[-1, 3]]), "from -1 to 3"),
        (torch.zeros(1, 0, dtype=torch.int64), "at least one"),
        (torch.zeros(4, dtype=torch.int64), "got shape \\(4,\\)"),
    ],
)
def test_codes_that_cannot_be_decoded_are_refused(tiny, codes, message):
    with pytest.raises(InputError, match=message):
        tiny.decode(codes)


@pytest.mark.parametrize("bandwidth_id", [-1, 2])
def test_a_bandwidth_the_codec_has_not_is_refused(tiny, bandwidth_id):
    with pytest.raises(InputError, match="expected 0 to 1"):
        tiny.decode(torch.zeros(1, 2, dtype=torch.int64), bandwidth_id)


def test_the_paper_size_is_the_published_checkpoint_less_what_it_never_uses():
    with torch.device("meta"):
        codec = WavTokenizer(WavTokenizerConfig.paper())
    # The published state counts 85,114,789 numbers. Dead: EnCodec's decoder, statistics and a flag
    # of the codebook, the window; folded: one length a channel of the encoder's convolutions.
    decoder = (512 * 512 * 7 + 2 * 512) + 2 * 4 * 512 * (512 + 512 + 2)
    for width, ratio in ((512, 8), (256, 5), (128, 4), (64, 2)):
        half = width // 2
        decoder += width * half * 2 * ratio + width + half  # transposed: a length per input channel
        decoder += half * (half // 2) * 3 + half + half * (half // 2) + 2 * half + half * half + 2 * half
    decoder += 32 * 7 + 2
    codebook, window = 4096 + 4096 * 512 + 1, 2400
    lengths = 32 + sum(c // 2 + c + c + 2 * c for c in (32, 64, 128, 256)) + 512
    live = 85_114_789 - decoder - codebook - window - lengths
    assert sum(p.numel() for p in codec.parameters()) == live == 74_206_162
    assert codec.config.clock.frame_rate == 40
    assert not list(codec.buffers())


def test_the_mini_size_keeps_the_clock_of_the_paper():
    with torch.device("meta"):
        codec = WavTokenizer(WavTokenizerConfig.mini())
    assert codec.config.clock == WavTokenizerConfig.paper().clock
    assert 3e6 < sum(p.numel() for p in codec.parameters()) < 4e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone_width": 40}, "multiple of 32"),
        ({"n_fft": 2401}, "n_fft=2401 must be even"),
        ({"n_fft": 600}, "above the hop of 600"),
        ({"ratios": ()}, "one or more factors"),
        ({"ratios": (6, 1)}, "at least 2"),
        ({"lstm_layers": 0}, "lstm_layers too small"),
        ({"n_filters": 1}, "n_filters too small"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **change)
