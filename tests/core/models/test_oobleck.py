"""The autoencoder: lengths, chunked decoding against whole, what a frame depends on, the two sizes."""

import dataclasses
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from dualdub_core.config import from_dict, to_dict
from dualdub_core.errors import ConfigError, InputError
from dualdub_core.models.oobleck import Oobleck, OobleckConfig, Snake, decode_in_chunks

PAPER_STRIDES = (2, 4, 4, 8, 8)
GEOMETRIES = [
    pytest.param(PAPER_STRIDES, False, id="paper"),
    pytest.param((2, 4, 4, 6, 10), False, id="ace-step"),
    pytest.param((2, 5, 5, 6), True, id="mini"),
    pytest.param((3, 4, 5), False, id="odd-published"),
    pytest.param((3, 4, 5), True, id="odd"),
    pytest.param((1, 2), False, id="no-stride"),
]


def config_of(strides, decodes_full_length, audio_channels=1, channels=2):
    return OobleckConfig(
        sample_rate=1000,
        audio_channels=audio_channels,
        channels=channels,
        latent_channels=3,
        channel_multiples=(1,) * len(strides),
        strides=strides,
        decodes_full_length=decodes_full_length,
    )


class Ledger(TorchDispatchMode):
    """Bytes of all tensors alive, as operations make them and drop them."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._known = WeakIdKeyDictionary()

    def _dropped(self, size):
        self.live -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self._known:
                storage = tensor.untyped_storage()
                self._known[storage] = True
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._dropped, storage.nbytes())
        return result


def vae_of(*args, **kwargs):
    """Random weights, snakes too, since those of a new module are all alike."""
    torch.manual_seed(0)
    vae = Oobleck(config_of(*args, **kwargs))
    for snake in (module for module in vae.modules() if isinstance(module, Snake)):
        snake.alpha.data, snake.beta.data = torch.randn(2, snake.alpha.numel()) / 3
    return vae.eval().requires_grad_(False)


def test_the_snake_is_its_formula_with_both_exponents():
    snake = Snake(2)
    snake.alpha.data, snake.beta.data = torch.tensor([0.3, -1.0]), torch.tensor([-0.7, 0.2])
    x = torch.linspace(-3, 3, 14).reshape(1, 2, 7)
    expected = x + torch.sin(snake.alpha.exp()[:, None] * x) ** 2 / (snake.beta.exp()[:, None] + 1e-9)
    torch.testing.assert_close(snake(x), expected)


def test_the_snake_works_in_place_and_is_still_differentiable_and_leaves_its_input_alone():
    torch.manual_seed(0)
    snake = Snake(2).double()
    x = torch.randn(1, 2, 5, dtype=torch.float64, requires_grad=True)
    before = x.detach().clone()
    assert torch.autograd.gradcheck(
        lambda x, a, b: torch.func.functional_call(snake, {"alpha": a, "beta": b}, x),
        (x, snake.alpha, snake.beta),
    )
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 3, 70_000)])
def test_without_gradients_the_snake_is_the_same_to_the_last_bit_in_pieces_and_in_place(shape):
    torch.manual_seed(0)
    snake = Snake(3).requires_grad_(False)
    x = torch.randn(shape)
    expected, before = snake(x), x.clone()
    with torch.no_grad():
        assert torch.equal(snake(x), expected)
        assert torch.equal(x, before)
        assert snake(x, is_spent=True) is x
    assert torch.equal(x, expected)


def test_with_gradients_a_spent_input_is_left_alone():
    x = torch.randn(1, 2, 5)
    assert Snake(2)(x, is_spent=True) is not x


def test_decoding_keeps_three_of_its_widest_tensors_at_a_time():
    """Counted on the meta device: the input of a step, what it makes, and what lies between."""
    vae = vae_of((2, 4), False, channels=8).to("meta")
    ledger = Ledger()
    with torch.no_grad(), ledger:
        vae.decode(torch.empty(1, 3, 1000, device="meta"))
    widest = 4 * 8 * vae.config.num_samples(1000)
    assert 2.9 * widest < ledger.peak < 3.2 * widest


def test_every_weight_learns_from_reconstruction():
    torch.manual_seed(0)
    vae = Oobleck(config_of((2, 3), True))
    mean, std = vae.encode_distribution(torch.randn(2, 1, 36))
    (vae.decode(mean + std).square().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


@pytest.mark.parametrize(("strides", "decodes_full_length"), GEOMETRIES)
def test_decoded_lengths_are_those_the_config_states(strides, decodes_full_length):
    vae = vae_of(strides, decodes_full_length)
    for num_frames in (1, 2, 5):
        waveform = vae.decode(torch.randn(1, 3, num_frames))
        assert waveform.shape == (1, 1, vae.config.num_samples(num_frames))


def test_odd_strides_leave_samples_out_as_published_and_none_in_our_own():
    assert config_of((3, 4, 5), False).num_samples(7) == 3 * 4 * (5 * 7 - 1) - 1
    assert config_of((3, 4, 5), True).num_samples(7) == 3 * 4 * 5 * 7
    assert config_of(PAPER_STRIDES, False).num_samples(7) == 2048 * 7


@pytest.mark.parametrize(("strides", "decodes_full_length"), GEOMETRIES)
def test_frames_for_a_stem_are_the_fewest_that_are_long_enough(strides, decodes_full_length):
    config = config_of(strides, decodes_full_length)
    for num_samples in range(1, 3 * config.hop_length, max(1, config.hop_length // 29)):
        frames = config.num_frames(num_samples)
        assert config.num_samples(frames) >= num_samples
        assert frames == 1 or config.num_samples(frames - 1) < num_samples


@pytest.mark.parametrize("strides", [(2, 4), (3, 5)])
def test_encoding_covers_the_whole_sound_whatever_its_length(strides):
    vae = vae_of(strides, True)
    hop = vae.config.hop_length
    for num_samples in (1, hop - 1, hop, hop + 1, 5 * hop):
        latents = vae.encode(torch.randn(2, 1, num_samples))
        assert latents.shape == (2, 3, vae.config.clock.num_frames_of_samples(num_samples))


def test_encoding_is_the_mean_and_not_a_sample():
    vae = vae_of((2, 4), False)
    waveform = torch.randn(1, 1, 80)
    mean, std = vae.encode_distribution(waveform)
    assert torch.equal(vae.encode(waveform), mean)
    assert (std > 1e-4).all()


def test_a_ragged_end_is_heard_as_if_silence_followed():
    vae = vae_of((2, 4), False)
    waveform = torch.randn(1, 1, 77)
    torch.testing.assert_close(
        vae.encode(waveform), vae.encode(torch.nn.functional.pad(waveform, (0, 3))), rtol=0, atol=0
    )


@pytest.mark.parametrize(("strides", "decodes_full_length"), GEOMETRIES)
def test_the_context_is_exactly_what_a_frame_depends_on(strides, decodes_full_length):
    """The gradient of a middle frame's samples reaches `context_frames` to one side, never further."""
    vae = vae_of(strides, decodes_full_length).double()
    context, hop = vae.config.context_frames, vae.config.hop_length
    middle = context + 2
    latents = torch.randn(1, 3, 2 * middle + 1, dtype=torch.float64, requires_grad=True)
    vae.decode(latents)[..., middle * hop : (middle + 1) * hop].square().sum().backward()
    reached = latents.grad.abs().sum(dim=(0, 1)).nonzero().flatten()
    assert max(middle - int(reached[0]), int(reached[-1]) - middle) == context


def test_twelve_frames_of_context_suffice_for_the_published_geometries_and_the_mini_one():
    assert OobleckConfig.paper().context_frames == 10
    assert OobleckConfig.mini().context_frames == 12


@pytest.mark.parametrize(("strides", "decodes_full_length"), GEOMETRIES)
@pytest.mark.parametrize("chunk_frames", [1, 5, 1000])
def test_chunked_decoding_is_whole_decoding(strides, decodes_full_length, chunk_frames):
    """In double precision, since float32 convolutions round by the length of their input."""
    vae = vae_of(strides, decodes_full_length, audio_channels=2).double()
    latents = torch.randn(2, 3, 13, dtype=torch.float64)
    whole = vae.decode(latents).float()
    torch.testing.assert_close(decode_in_chunks(vae, latents, chunk_frames=chunk_frames), whole, rtol=0, atol=1e-6)


def test_too_little_context_would_be_heard():
    vae = vae_of(PAPER_STRIDES, False)
    latents = torch.randn(1, 3, 30)
    whole = vae.decode(latents)
    enough = decode_in_chunks(vae, latents, chunk_frames=4, context_frames=12)
    torch.testing.assert_close(enough, whole, rtol=0, atol=5e-6)
    assert (decode_in_chunks(vae, latents, chunk_frames=4, context_frames=2) - whole).abs().max() > 1e-3


def test_the_decoder_never_sees_more_than_a_chunk_however_long_the_clip():
    vae = vae_of((2, 4), False)
    seen = []
    vae.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[-1]))
    for num_frames in (10, 100, 1000):
        decode_in_chunks(vae, torch.randn(1, 3, num_frames), chunk_frames=20)
    assert max(seen) == 20 + 2 * vae.config.context_frames


def test_a_chunk_is_chosen_by_the_memory_of_its_widest_layer():
    paper, mini = OobleckConfig.paper(), OobleckConfig.mini()
    assert paper.chunk_frames * paper.hop_length * paper.channels == 1 << 25
    assert mini.chunk_frames == 256
    assert dataclasses.replace(paper, channels=1024).chunk_frames == 64


def test_chunked_decoding_keeps_no_gradients_even_of_weights_in_training():
    vae = vae_of((2, 4), False).requires_grad_(True)
    assert not decode_in_chunks(vae, torch.randn(1, 3, 9), chunk_frames=4).requires_grad


def test_chunked_decoding_takes_latents_of_any_type_and_returns_float32():
    vae = vae_of((2, 4), False).to(torch.bfloat16)
    waveform = decode_in_chunks(vae, torch.randn(1, 3, 9, dtype=torch.float64), chunk_frames=4)
    assert waveform.dtype == torch.float32


def test_each_chunk_is_reported():
    vae = vae_of((2, 4), False)
    calls = []
    decode_in_chunks(vae, torch.randn(1, 3, 9), chunk_frames=4, progress=lambda *call: calls.append(call))
    assert calls == [("render", 1, 3), ("render", 2, 3), ("render", 3, 3)]


def test_rows_are_decoded_one_by_one():
    vae = vae_of((2, 4), False)
    seen, calls = [], []
    vae.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[0]))
    decode_in_chunks(vae, torch.randn(3, 3, 9), chunk_frames=5, progress=lambda *call: calls.append(call))
    assert seen == [1] * 6
    assert calls[-1] == ("render", 6, 6)


def test_raising_from_progress_stops_the_decoding():
    class Cancelled(BaseException):
        pass

    def cancel(stage, done, total):
        calls.append(done)
        raise Cancelled

    calls = []
    with pytest.raises(Cancelled):
        decode_in_chunks(vae_of((2, 4), False), torch.randn(1, 3, 9), chunk_frames=4, progress=cancel)
    assert calls == [1]


def test_nothing_to_decode_is_refused():
    with pytest.raises(InputError, match="got 0 frames"):
        decode_in_chunks(vae_of((2, 4), False), torch.randn(1, 3, 0))


@pytest.mark.parametrize("sizes", [{"chunk_frames": 0}, {"context_frames": 0}])
def test_chunks_without_room_are_refused(sizes):
    with pytest.raises(InputError, match="expected 1 or more"):
        decode_in_chunks(vae_of((2, 4), False), torch.randn(1, 3, 9), **sizes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": (2,)}, "one multiple a stride"),
        ({"strides": (), "channel_multiples": ()}, "one multiple a stride"),
        ({"strides": (2, 0, 5, 6)}, "must be positive"),
        ({"latent_channels": 0}, "must be positive"),
    ],
)
def test_contradicting_sizes_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(OobleckConfig.mini(), **change)


@pytest.mark.parametrize("config", [OobleckConfig.paper(), OobleckConfig.mini()], ids=["paper", "mini"])
def test_configs_survive_json(config):
    assert from_dict(OobleckConfig, to_dict(config)) == config


def test_the_paper_size_has_the_published_count_of_numbers():
    with torch.device("meta"):
        vae = Oobleck(OobleckConfig.paper())
    plain = sum(tensor.numel() for tensor in vae.state_dict().values())
    convolutions = [m for m in vae.modules() if isinstance(m, (nn.Conv1d, nn.ConvTranspose1d))]
    assert plain == 156_077_696
    # Published files hold a length beside every direction: one number an entry of dimension 0.
    assert plain + sum(conv.weight.shape[0] for conv in convolutions) == 156_112_514
    assert vae.config.clock.frame_rate == pytest.approx(21.533, abs=1e-3)


def test_the_mini_size_is_small_and_two_frames_long_to_a_codec_frame():
    with torch.device("meta"):
        vae = Oobleck(OobleckConfig.mini())
    assert 1_000_000 < sum(p.numel() for p in vae.parameters()) < 2_000_000
    assert vae.config.hop_length == 300
    assert vae.config.num_samples(80) == vae.config.sample_rate
