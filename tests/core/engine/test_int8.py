from dataclasses import replace

import pytest
import torch

from dualdub_core.engine.int8 import Int8Linear, int8_is_exact, to_int8
from dualdub_core.engine.precision import choose
from dualdub_core.errors import ConfigError
from dualdub_core.generation import generate_codes
from dualdub_core.models.dualdub import Conditions, DualDub
from dualdub_core.sampling import CodeSampler, StreamSampling
from dualdub_core.system import load_system

needs_int8 = pytest.mark.skipif(not int8_is_exact(), reason="this CPU or this torch has no exact int8 products")
T = 40


@pytest.fixture
def linear() -> torch.nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Linear(64, 48, bias=False).requires_grad_(False)


@needs_int8
def test_what_eight_bits_hold_exactly_comes_out_exactly():
    linear = torch.nn.Linear(4, 2, bias=False)
    linear.weight.data = torch.tensor([[127.0, -127, 64, 1], [254, 2, -4, 0]])
    x = torch.tensor([[127.0, 1, -3, 0], [0, 0, 0, 0]])
    assert torch.equal(Int8Linear(linear)(x), x @ linear.weight.T)


@needs_int8
def test_the_error_is_that_of_rounding_both_sides(linear):
    x = torch.randn(5, 7, 64, generator=torch.Generator().manual_seed(1))
    exact, got = linear(x), Int8Linear(linear)(x)
    steps = x.abs().amax(-1, keepdim=True) / 127 / 2 * linear.weight.abs().sum(1)
    steps = steps + x.abs().sum(-1, keepdim=True) * (linear.weight.abs().amax(1) / 127 / 2) * 1.01
    assert bool(((got - exact).abs() <= steps).all())
    assert not torch.equal(got, exact)


@needs_int8
def test_a_row_is_the_same_alone_in_a_batch_and_in_a_stretch(linear):
    quantised, x = Int8Linear(linear), torch.randn(3, 9, 64, generator=torch.Generator().manual_seed(1))
    whole = quantised(x * torch.tensor([1.0, 100.0, 0.01])[:, None, None])
    assert torch.equal(quantised(x[:1]), whole[:1])
    assert torch.equal(quantised(x[:1, 4]), whole[:1, 4])


@needs_int8
def test_only_what_every_step_reads_is_quantised_and_takes_a_quarter(tiny_config):
    model = DualDub(tiny_config)
    before = sum(p.numel() for p in model.llama.parameters())
    to_int8(model)
    assert isinstance(model.llama.blocks[0].qkv, Int8Linear)
    assert isinstance(model.aligner.from_speech, Int8Linear)
    assert type(model.heads) is torch.nn.Linear
    assert type(model.aligner.from_video) is torch.nn.Linear
    quantised = sum(m.nbytes for m in model.llama.modules() if isinstance(m, Int8Linear))
    assert quantised + sum(p.numel() for p in model.llama.parameters()) == before


@needs_int8
@torch.inference_mode()
def test_the_built_in_model_says_almost_the_same_in_int8():
    """Accuracy on held-out rows needs the corpus; here it is the model's own codes, read by both."""
    exact, quantised = (load_system(components=("model",)).model for _ in range(2))
    to_int8(quantised)
    generator = torch.Generator().manual_seed(0)
    conditions = Conditions(
        speaker=torch.zeros(1, 256),
        text_ids=torch.randint(0, 1000, (1, 12), generator=generator),
        text_lengths=torch.tensor([12]),
        video=torch.randn(1, T, exact.config.video_width, generator=generator),
        present=torch.ones(1, 2),
        is_padded=False,
    )
    stream = StreamSampling(temperature=1.0, top_k=0)
    sampler = CodeSampler([stream] * 2, [[0], [0]], num_logits=2049, device=torch.device("cpu"))
    codes = generate_codes(exact, conditions, sampler, num_frames=T).codes
    chosen = [
        model(conditions, codes).log_softmax(-1).gather(-1, codes[..., None]).mean() for model in (exact, quantised)
    ]
    assert abs(float(chosen[0] - chosen[1])) < 0.05
    assert chosen[0] != chosen[1]


@needs_int8
@torch.inference_mode()
def test_takes_in_int8_depend_on_their_seeds_and_not_on_their_batch(tiny_config, tiny_model):
    model = DualDub(tiny_config)
    model.load_state_dict(tiny_model.state_dict())
    to_int8(model.eval())
    generator = torch.Generator().manual_seed(0)
    conditions = Conditions(
        speaker=torch.randn(1, 16, generator=generator),
        text_ids=torch.tensor([[1, 2, 3]]),
        text_lengths=torch.tensor([3]),
        video=torch.randn(1, T, 8, generator=generator),
        present=torch.ones(1, 2),
        is_padded=False,
    )
    batch = replace(
        conditions,
        speaker=conditions.speaker.expand(2, -1),
        text_ids=conditions.text_ids.expand(2, -1),
        text_lengths=torch.tensor([3, 3]),
        video=conditions.video.expand(2, -1, -1),
        present=conditions.present.expand(2, -1),
    )

    def sampler(*seeds):
        stream = StreamSampling(temperature=1.0, top_k=8)
        return CodeSampler([stream] * 2, [list(seeds)] * 2, num_logits=25, device=torch.device("cpu"))

    together = generate_codes(model, batch, sampler(1, 2), num_frames=T).codes
    for i in range(2):
        assert torch.equal(together[i : i + 1], generate_codes(model, conditions, sampler(1 + i), num_frames=T).codes)


def test_a_model_that_is_not_on_a_cpu_is_refused(tiny_config):
    with torch.device("meta"):
        model = DualDub(tiny_config)
    with pytest.raises(ConfigError, match="int8 is for CPUs, the model is on meta; use bf16"):
        to_int8(model)


def test_a_small_model_on_a_cpu_stays_in_fp32():
    chosen = choose("auto", "cpu", 7_000_000)
    assert (chosen.name, chosen.model, chosen.is_int8) == ("fp32", torch.float32, False)
    assert str(chosen) == "fp32 (7 million weights are no burden to a CPU)"


def test_a_large_model_on_a_cpu_takes_what_reads_the_fewest_bytes():
    chosen = choose("auto", "cpu", 1_300_000_000, has_bf16=True)
    assert chosen.name == ("int8" if int8_is_exact() else "bf16")
    assert chosen.decoder == torch.bfloat16


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_computes_in_bf16_where_it_can(has_bf16, name):
    assert choose("auto", "cuda", 1_300_000_000, has_bf16=has_bf16).name == name


def test_fp16_on_a_cpu_becomes_bf16_and_says_so(caplog):
    assert choose("fp16", "cpu", 1).model == torch.bfloat16
    assert "200 times slower" in caplog.text
    assert choose("fp16", "cuda", 1, has_bf16=True).model == torch.float16


def test_precisions_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="precision: got 'fp8', expected one of auto, fp32, bf16, fp16, int8"):
        choose("fp8", "cpu", 1)
    with pytest.raises(ConfigError, match="int8 is for CPUs, the model runs on cuda; use bf16"):
        choose("int8", "cuda", 1, has_bf16=True)
