import dataclasses
import logging

import pytest
import torch
from torch import nn

from dualdub_core import checkpoint
from dualdub_core.errors import ConfigError, InputError
from dualdub_core.models.dit import FlowDecoder, FlowDecoderConfig, decode_codes
from dualdub_core.timing import FrameClock, nearest_frames

CODES = FrameClock(sample_rate=24_000, hop_length=600)
LATENTS = FrameClock(sample_rate=44_100, hop_length=2048)
CODEBOOK_SIZE, CHANNELS, WIDTH = 50, 6, 16


def tiny(**changes):
    """A decoder with random weights everywhere, also where a fresh one holds zeros."""
    config = FlowDecoderConfig(
        codebook_size=CODEBOOK_SIZE,
        code_clock=CODES,
        latent_clock=LATENTS,
        latent_channels=CHANNELS,
        width=WIDTH,
        num_layers=2,
        num_heads=2,
        mlp_ratio=2,
    )
    decoder = FlowDecoder(dataclasses.replace(config, **changes)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in decoder.parameters():
        parameter.normal_(std=0.3, generator=generator)
    decoder.latent_mean.copy_(torch.linspace(-1, 1, CHANNELS))
    decoder.latent_std.copy_(torch.linspace(0.5, 2, CHANNELS))
    return decoder


def some_codes(num_rows, num_frames=40, seed=1):
    return torch.randint(CODEBOOK_SIZE, (num_rows, num_frames), generator=torch.Generator().manual_seed(seed))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def some_latents(num_rows, num_frames):
    return torch.randn(num_rows, num_frames, CHANNELS, generator=seeded(2))


def num_parameters(config):
    with torch.device("meta"):
        return sum(p.numel() for p in FlowDecoder(config).parameters())


def rows_seen(decoder):
    """Batch sizes of all calls of the network from now on."""
    seen = []
    decoder.register_forward_hook(lambda module, args, output: seen.append(output.shape[0]))
    return seen


# Sizes


def test_the_paper_s_blocks_have_604_million_parameters_and_the_table_is_as_wide_as_the_latents():
    config = FlowDecoderConfig.paper()
    with torch.device("meta"):
        decoder = FlowDecoder(config)
    assert decoder.embedding.weight.shape == (4096, 64)
    # A block with its adaLN: 18 D^2 weights and 15 D biases.
    blocks = (*decoder.blocks.parameters(), *decoder.time.blocks.parameters())
    assert sum(p.numel() for p in blocks) == 8 * (18 * 2048**2 + 15 * 2048)
    assert num_parameters(config) == pytest.approx(618e6, rel=0.001)


def test_the_mini_model_is_small_for_its_whole_family():
    mini = FlowDecoderConfig.mini()
    assert 1.5e6 < num_parameters(mini) < 2.1e6
    assert num_parameters(dataclasses.replace(mini, token_condition=True)) < 2.5e6


@pytest.mark.parametrize("changes", [{"num_heads": 3}, {"width": 6, "num_heads": 2}])
def test_heads_of_an_odd_width_are_refused(changes):
    with pytest.raises(ConfigError, match="heads of an even width"):
        dataclasses.replace(tiny().config, **changes)


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_source_noise_that_is_no_deviation_is_refused(sigma):
    with pytest.raises(ConfigError, match="source_noise"):
        dataclasses.replace(tiny().config, source_noise=sigma)


@pytest.mark.parametrize("extensions", [{}, {"source_noise": 0.5, "token_condition": True}])
def test_a_checkpoint_gives_back_the_same_decoder_with_its_extensions_and_scale(tmp_path, extensions):
    decoder = tiny(**extensions)
    checkpoint.save(tmp_path / "d.safetensors", {"decoder": decoder}, info={"name": "d", "status": "untrained"})
    loaded = checkpoint.load(tmp_path / "d.safetensors").modules["decoder"]
    assert loaded.config == decoder.config
    settings = {"num_latent_frames": 22, "num_steps": 2}
    before = decode_codes(decoder, some_codes(2), generator=seeded(0), **settings)
    assert torch.equal(decode_codes(loaded, some_codes(2), generator=seeded(0), **settings), before)


# The literal form, equations 6 to 10


def test_the_source_reads_the_code_that_covers_each_latent_s_centre():
    decoder, codes = tiny(), some_codes(2, 400)
    z_0 = decoder.source(codes, 216)
    read = nearest_frames(CODES, LATENTS, num_source=400, num_target=216)
    for frame in (0, 1, 100, 215):
        centre = (frame + 0.5) * 2048 / 44_100
        assert int(read[frame]) == min(399, int(centre * 40))
        assert torch.equal(z_0[:, frame], decoder.embedding.weight[codes[:, read[frame]]])
    assert z_0.shape == (2, 216, CHANNELS)


def test_an_untrained_decoder_stays_at_its_source():
    decoder, codes = FlowDecoder(tiny().config), some_codes(2)
    latents = decode_codes(decoder, codes, num_latent_frames=22, num_steps=3)
    assert torch.equal(latents, decoder.denormalise(decoder.source(codes, 22)))


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_a_network_of_constant_velocity_moves_every_latent_by_it_in_the_latents_own_scale(solver):
    decoder, codes, constant = tiny(), some_codes(2), torch.arange(CHANNELS).float()
    nn.init.zeros_(decoder.out_proj.weight)
    decoder.out_proj.bias.copy_(constant)
    latents = decode_codes(decoder, codes, num_latent_frames=22, num_steps=4, solver=solver)
    moved = decoder.source(codes, 22) + constant
    expected = (moved * decoder.latent_std + decoder.latent_mean).transpose(1, 2)
    torch.testing.assert_close(latents, expected)


def test_the_literal_form_does_not_depend_on_the_generator():
    decoder, codes, generator = tiny(), some_codes(2), seeded(3)
    state = generator.get_state()
    with_seed = decode_codes(decoder, codes, num_latent_frames=22, num_steps=2, generator=generator)
    assert torch.equal(with_seed, decode_codes(decoder, codes, num_latent_frames=22, num_steps=2))
    assert torch.equal(generator.get_state(), state)


def test_the_literal_form_never_reads_the_codes_between():
    decoder, codes = tiny(), some_codes(1)
    read = nearest_frames(CODES, LATENTS, num_source=40, num_target=22)
    unread = sorted(set(range(40)) - set(read.tolist()))
    changed = codes.clone()
    changed[:, unread] = (changed[:, unread] + 1) % CODEBOOK_SIZE
    assert len(unread) >= 18
    assert torch.equal(decoder.source(codes, 22), decoder.source(changed, 22))


def test_normalising_latents_undoes_denormalising():
    decoder, z = tiny(), some_latents(2, 5)
    torch.testing.assert_close(decoder.normalise(decoder.denormalise(z)), z)


# The network


def test_precomputed_modulations_are_those_of_each_time():
    decoder, z, times = tiny(), some_latents(3, 7), torch.tensor([0.0, 0.31, 1.0])
    modulations = decoder.modulations(times)
    at_once = decoder(z, times)
    torch.testing.assert_close(decoder(z, modulations), at_once)
    for row in range(3):
        single = decoder(z[row : row + 1], modulations.row(row))
        torch.testing.assert_close(single, at_once[row : row + 1])
    assert not torch.allclose(decoder(z, modulations.row(0)), at_once)


def test_padding_does_not_change_valid_frames_whatever_it_holds():
    decoder, z, t = tiny(), some_latents(2, 9), torch.tensor([0.2, 0.8])
    mask = torch.tensor([[True] * 9, [True] * 5 + [False] * 4])
    padded = z.clone()
    padded[1, 5:] = 1e3
    velocity = decoder(padded, t, mask=mask)
    torch.testing.assert_close(velocity[0], decoder(z[:1], t[:1])[0])
    torch.testing.assert_close(velocity[1, :5], decoder(z[1:, :5], t[1:])[0])


def test_only_distances_in_time_matter_and_their_sign_does():
    decoder, z, t = tiny(), some_latents(1, 6), torch.tensor([0.4])
    later = torch.cat((torch.zeros(1, 5, CHANNELS), z), dim=1)
    mask = torch.arange(11)[None] >= 5
    plain = decoder(z, t)
    torch.testing.assert_close(decoder(later, t, mask=mask)[:, 5:], plain)
    assert not torch.allclose(decoder(z.flip(1), t).flip(1), plain, atol=1e-3)


def test_every_latent_frame_sees_past_and_future():
    decoder, t = tiny(), torch.tensor([0.4])
    z = some_latents(1, 6).requires_grad_()
    for frame in (0, 5):
        (gradient,) = torch.autograd.grad(decoder(z, t)[0, frame].square().sum(), z)
        assert gradient.abs().amax(dim=-1).min() > 0


def test_bfloat16_weights_stay_near_and_their_time_vectors_are_computed_in_float32():
    exact, half = tiny(), tiny().bfloat16()
    codes, times = some_codes(2), torch.tensor([0.123456, 0.987654])
    upcast = tiny()
    upcast.load_state_dict({name: tensor.float() for name, tensor in half.state_dict().items()})
    assert torch.equal(half.modulations(times).blocks, upcast.modulations(times).blocks.bfloat16())
    settings = {"num_latent_frames": 22, "num_steps": 10}
    latents, expected = decode_codes(half, codes, **settings), decode_codes(exact, codes, **settings)
    assert latents.dtype == torch.float32
    assert (latents - expected).norm() < 0.03 * expected.norm()


def test_autocast_leaves_the_time_vectors_alone():
    decoder, times = tiny(), torch.tensor([0.123456])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        modulations = decoder.modulations(times)
    assert torch.equal(modulations.blocks, decoder.modulations(times).blocks)


def test_training_reaches_every_parameter():
    decoder = tiny(source_noise=0.5, token_condition=True).requires_grad_()
    codes, noise = some_codes(2), some_latents(2, 22)
    condition = decoder.condition(codes, 22)
    dropped = torch.tensor([True, False])[:, None, None]
    condition = torch.where(dropped, decoder.uncondition(condition), condition)
    z_0 = decoder.source(codes, 22, noise)
    decoder(z_0, torch.rand(2), condition).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


# Decoding


@pytest.mark.parametrize("extensions", [{}, {"source_noise": 0.5, "token_condition": True}])
@pytest.mark.parametrize("cfg_scale", [1.0, 2.0])
def test_a_batch_of_stems_equals_the_stems_alone(extensions, cfg_scale):
    decoder, codes = tiny(**extensions), some_codes(3)
    settings = {"num_latent_frames": 22, "num_steps": 3, "cfg_scale": cfg_scale}
    together = decode_codes(decoder, codes, generator=seeded(7), **settings)
    generator = seeded(7)
    alone = [decode_codes(decoder, row[None], generator=generator, **settings) for row in codes]
    assert together.shape == (3, CHANNELS, 22)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 4), ("midpoint", 8)])
def test_the_network_runs_once_an_evaluation_and_progress_once_a_step(solver, evaluations):
    decoder, reports = tiny(), []
    seen = rows_seen(decoder)
    decode_codes(
        decoder,
        some_codes(2),
        num_latent_frames=22,
        num_steps=4,
        solver=solver,
        progress=lambda *report: reports.append(report),
    )
    assert seen == [2] * evaluations
    assert reports == [("decode", step, 4) for step in (1, 2, 3, 4)]


def test_time_vectors_are_computed_once_before_the_first_step():
    decoder, calls = tiny(), []
    decoder.time.register_forward_hook(lambda module, args, output: calls.append(args[0].tolist()))
    decode_codes(decoder, some_codes(2), num_latent_frames=22, num_steps=2, solver="midpoint")
    assert calls == [[0.0, 0.25, 0.5, 0.75]]


@pytest.mark.parametrize("extensions", [{}, {"source_noise": 0.5, "token_condition": True}])
def test_no_step_waits_for_the_device(extensions):
    """On the meta device any look at a number raises."""
    decoder, reports = tiny(**extensions).to("meta"), []
    latents = decode_codes(
        decoder,
        some_codes(2),
        num_latent_frames=22,
        num_steps=3,
        cfg_scale=2.0,
        generator=seeded(0),
        progress=lambda *report: reports.append(report),
    )
    assert latents.is_meta
    assert latents.shape == (2, CHANNELS, 22)
    assert len(reports) == 3


def test_what_does_not_change_from_step_to_step_is_computed_once(monkeypatch):
    decoder, asked = tiny(token_condition=True), []
    for name in ("modulations", "turns", "condition", "source"):
        original = getattr(decoder, name)
        monkeypatch.setattr(
            decoder, name, lambda *args, _name=name, _original=original: asked.append(_name) or _original(*args)
        )
    decode_codes(decoder, some_codes(2), num_latent_frames=22, num_steps=5, solver="midpoint")
    assert sorted(asked) == ["condition", "modulations", "source", "turns"]


def test_an_exception_of_the_progress_callback_ends_the_decoding():
    decoder = tiny()
    seen = rows_seen(decoder)

    def cancel(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_codes(decoder, some_codes(1), num_latent_frames=22, num_steps=5, progress=cancel)
    assert seen == [1]


def test_codes_of_another_codebook_and_empty_ones_are_refused():
    decoder = tiny()
    with pytest.raises(InputError, match="from 0 to 50, this flow decoder reads 0 to 49"):
        decode_codes(decoder, torch.tensor([[0, 50]]), num_latent_frames=1)
    with pytest.raises(InputError, match=r"got shape \(2, 0\)"):
        decode_codes(decoder, torch.zeros(2, 0, dtype=torch.int64), num_latent_frames=1)


def test_three_minutes_decode_in_one_piece():
    num_frames = LATENTS.num_frames(180)
    decoder, codes = tiny(num_heads=1), some_codes(1, 7200)
    assert num_frames == 3876
    assert decode_codes(decoder, codes, num_latent_frames=num_frames, num_steps=1).isfinite().all()


# The extension source_noise


def test_with_source_noise_a_seed_means_something_and_always_the_same():
    decoder, codes = tiny(source_noise=0.5), some_codes(2)
    first, again, other = (
        decode_codes(decoder, codes, num_latent_frames=22, num_steps=2, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first[0] - first[1], other[0] - other[1]), "stems have noise of their own"


def test_source_noise_is_normal_with_the_sigma_of_the_configuration():
    decoder, codes = tiny(source_noise=0.25), some_codes(1, 4000)
    noise = torch.randn(1, 2153, CHANNELS, generator=seeded(5))
    added = decoder.source(codes, 2153, noise) - tiny().source(codes, 2153)
    torch.testing.assert_close(added, 0.25 * noise, rtol=1e-4, atol=1e-6)


def test_a_decoder_with_source_noise_asks_for_a_generator():
    with pytest.raises(InputError, match="no generator"):
        decode_codes(tiny(source_noise=0.5), some_codes(1), num_latent_frames=22)


# The extension token_condition


def test_guidance_without_the_extension_warns_and_changes_nothing(caplog):
    decoder, codes = tiny(), some_codes(1)
    seen = rows_seen(decoder)
    with caplog.at_level(logging.WARNING):
        plain = decode_codes(decoder, codes, num_latent_frames=22, num_steps=2)
        assert not caplog.records
        guided = decode_codes(decoder, codes, num_latent_frames=22, num_steps=2, cfg_scale=3.0)
    assert torch.equal(plain, guided)
    assert seen == [1] * 4
    assert "cfg_scale 3.0 has no effect" in caplog.text


def test_guidance_is_one_doubled_batch_and_exactly_one_runs_once():
    decoder, codes = tiny(token_condition=True), some_codes(2)
    seen = rows_seen(decoder)
    decode_codes(decoder, codes, num_latent_frames=22, num_steps=1, cfg_scale=1.0)
    decode_codes(decoder, codes, num_latent_frames=22, num_steps=1, cfg_scale=2.0)
    assert seen == [2, 4]


def test_guidance_extrapolates_from_the_learned_null():
    decoder, codes = tiny(token_condition=True), some_codes(2)
    z_0, condition, t = decoder.source(codes, 22), decoder.condition(codes, 22), torch.zeros(2)
    assert torch.equal(decoder.uncondition(condition)[1, 5], decoder.token_condition.null)
    v, null = decoder(z_0, t, condition), decoder(z_0, t, decoder.uncondition(condition))
    guided = decode_codes(decoder, codes, num_latent_frames=22, num_steps=1, cfg_scale=2.5)
    torch.testing.assert_close(guided, decoder.denormalise(z_0 + null + 2.5 * (v - null)))


@pytest.mark.parametrize("rate", [(44_100, 2048), (24_000, 300), (48_000, 1920)])
def test_with_token_condition_every_code_matters(rate):
    latent_clock = FrameClock(sample_rate=rate[0], hop_length=rate[1])
    decoder, codes = tiny(token_condition=True, latent_clock=latent_clock), some_codes(1, 80)
    num_latent_frames = latent_clock.num_frames(2.0)
    changed = codes.repeat(80, 1)
    changed[range(80), range(80)] = (changed[range(80), range(80)] + 1) % CODEBOOK_SIZE
    difference = decoder.condition(changed, num_latent_frames) - decoder.condition(codes, num_latent_frames)
    difference = difference.abs().amax(dim=-1)  # (80, T')
    assert (difference.amax(dim=1) > 1e-3).all()
    # A code acts where it sounds and nowhere else.
    starts = torch.arange(80)[:, None] / 40
    ends = starts + 1 / 40
    frames = torch.arange(num_latent_frames)
    apart = (latent_clock.duration(frames + 1) <= starts + 1e-9) | (latent_clock.duration(frames) >= ends - 1e-9)
    assert difference[apart].max() == 0


def test_token_condition_tells_the_order_of_codes_within_a_latent_frame():
    decoder = tiny(token_condition=True)
    there, back = decoder.condition(torch.tensor([[3, 8]]), 1), decoder.condition(torch.tensor([[8, 3]]), 1)
    assert not torch.allclose(there, back, atol=1e-2)
