"""The step that a GPU captures, on a CPU: the very same function, its costs in exact figures."""

import copy
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from dualdub_core.engine.draw import Draw, DrawShape, draw
from dualdub_core.engine.engine import Engine, shape_of
from dualdub_core.engine.state import Shape, State
from dualdub_core.engine.step import advance
from dualdub_core.models.dualdub import Conditions
from dualdub_core.sampling import CodeSampler, StreamSampling

T, V = 13, 24
DRAWN, STEPPED, ALLOCATED = (11, 4), (77, 29), 79  # calls that compute and views, for the tiny model of two layers
CPU = torch.device("cpu")
# Reading a tensor's value, or an output whose size depends on one: on a GPU the host would wait.
WAITS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "_to_copy", "masked_select", "unique"}
VIEWS = {"view", "slice", "select", "narrow", "chunk", "split", "unbind", "unflatten", "reshape", "alias", "squeeze"}
VIEWS |= {"unsqueeze", "transpose", "t", "expand", "_reshape_alias", "as_strided"}


class Calls(TorchDispatchMode):
    """Counts what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counted[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    def sum_of(self, *, views: bool) -> int:
        return sum(count for name, count in self.counted.items() if (name in VIEWS) == views)


@pytest.fixture
def conditions(tiny_config) -> Conditions:
    generator = torch.Generator().manual_seed(4)
    return Conditions(
        speaker=torch.randn(2, 16, generator=generator),
        text_ids=torch.randint(0, 200, (2, 6), generator=generator),
        text_lengths=torch.tensor([6, 6]),
        video=torch.randn(2, T, tiny_config.video_width, generator=generator),
        present=torch.tensor([[1.0, 1.0], [1.0, 0.0]]),
        is_padded=False,
    )


@pytest.fixture
def codes() -> torch.Tensor:
    return torch.randint(0, V, (2, 2, T), generator=torch.Generator().manual_seed(5))


def sampler(num_rows: int, **settings) -> CodeSampler:
    stream = StreamSampling(**{"temperature": 1.0, "top_k": 5, **settings})
    return CodeSampler([stream, stream], [list(range(num_rows))] * 2, num_logits=V + 1, device=CPU)


def drawing(num_rows: int, **changes) -> DrawShape:
    shape = DrawShape(
        takes=num_rows,
        num_frames=T,
        candidates=5,
        eos=V,
        is_guided=False,
        until_eos=False,
        is_locked=False,
        uses_top_p=False,
    )
    return replace(shape, **changes)


def ready(model, conditions, num_frames=T, state=None):
    """An engine that has read BOS, and memory to draw in."""
    engine = Engine(model, conditions, num_frames, state=state)
    rows = len(conditions.present)
    engine.prefill(torch.full((rows, 2, 1), model.config.bos))
    d = Draw(drawing(rows, num_frames=engine.state.shape.num_frames), CPU)
    d.start(sampler(rows), None, num_frames, 1.0)
    d.seek(0, sampler(rows))
    return engine, d


def frame(engine: Engine, d: Draw, span: int) -> None:
    """What a graph holds."""
    advance(engine.weights, engine.state, draw(d, engine.state.logits), span)
    engine.stepped()


@torch.inference_mode()
def run(engine: Engine, d: Draw, span: int) -> torch.Tensor:
    for _ in range(T - 1):
        frame(engine, d, span)
    draw(d, engine.state.logits)
    return d.codes[..., :T].clone()


@pytest.mark.parametrize("lengths", [[6, 6], [6, 2]])
def test_steps_give_the_logits_of_the_whole_pass_with_streams_absent(tiny_model, conditions, codes, lengths):
    conditions = replace(conditions, text_lengths=torch.tensor(lengths), is_padded=lengths[0] != lengths[1])
    whole = tiny_model(conditions, codes)
    engine = Engine(tiny_model, conditions, T)
    steps = [engine.prefill(tiny_model.shifted(codes[..., :2]))]
    steps += [engine.step(codes[..., t]) for t in range(1, T - 1)]
    torch.testing.assert_close(torch.stack(steps, dim=2), whole[:, :, 1:], rtol=1e-5, atol=1e-5)


def test_steps_in_bf16_are_near_those_of_the_whole_pass(tiny_model, conditions, codes):
    model = copy.deepcopy(tiny_model).bfloat16()
    half = replace(conditions, speaker=conditions.speaker.bfloat16(), video=conditions.video.bfloat16())
    whole = tiny_model(conditions, codes)
    engine = Engine(model, half, T)
    steps = [engine.prefill(model.shifted(codes[..., :1]))]
    steps += [engine.step(codes[..., t]) for t in range(T - 1)]
    got = torch.stack(steps, dim=2)
    assert got.dtype == torch.bfloat16
    assert float((got.float() - whole).abs().max()) < 0.1 * float(whole.abs().max())


def test_memory_with_room_to_spare_changes_no_code(tiny_model, conditions):
    exact, roomy = (shape_of(conditions, T), shape_of(conditions, T).rounded(64))
    assert roomy == Shape(rows=2, num_frames=64, length=64, is_padded=False)
    results = []
    for shape in (exact, roomy):
        engine, d = ready(tiny_model, conditions, state=State(tiny_model, shape, CPU))
        results.append(run(engine, d, shape.length))
    engine, d = ready(tiny_model, conditions)
    results.append(run(engine, d, engine.state.span()))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_memory_used_again_remembers_nothing(tiny_model, conditions):
    state = State(tiny_model, shape_of(conditions, T).rounded(64), CPU)
    longer = replace(conditions, video=torch.randn(2, 40, 8), text_ids=torch.randint(0, 9, (2, 20)))
    longer = replace(longer, text_lengths=torch.tensor([20, 20]))
    first = run(*ready(tiny_model, conditions, state=state), span=64)
    run(*ready(tiny_model, longer, 40, state=state), span=64)
    assert torch.equal(run(*ready(tiny_model, conditions, state=state), span=64), first)


def test_a_rewound_run_goes_on_as_if_it_had_never_gone_further(tiny_model, conditions, codes):
    engine = Engine(tiny_model, conditions, T)
    engine.prefill(tiny_model.shifted(codes[..., :1]))
    steps = [engine.step(codes[..., t]) for t in range(T - 1)]
    engine.rewind(5)
    for t in range(4, T - 1):
        assert torch.equal(engine.step(codes[..., t]), steps[t])


def test_a_frame_changes_memory_where_it_is_and_takes_no_more(tiny_model, conditions):
    engine, d = ready(tiny_model, conditions)
    tensors = [v for o in (engine.state, engine.state.past, engine.state.fused, d) for v in vars(o).values()]
    fixed = [tensor for tensor in tensors if isinstance(tensor, torch.Tensor)]
    before = [tensor.data_ptr() for tensor in fixed]
    with torch.inference_mode():
        frame(engine, d, engine.state.shape.length)
        frame(engine, d, engine.state.shape.length)
    assert len(fixed) > 15
    assert [tensor.data_ptr() for tensor in fixed] == before


@pytest.mark.parametrize("changes", [{}, {"until_eos": True, "is_locked": True, "uses_top_p": True}])
@torch.inference_mode()
def test_a_frame_asks_no_tensor_for_its_value(tiny_model, conditions, changes):
    engine, d = ready(tiny_model, conditions)
    d.shape = replace(d.shape, **changes)
    with Calls() as calls:
        frame(engine, d, engine.state.shape.length)
    assert calls.sum_of(views=False) > 50  # it counts at all
    assert not WAITS & set(calls.counted)


@torch.inference_mode()
def test_a_step_makes_exactly_so_many_calls(tiny_model, conditions):
    engine, d = ready(tiny_model, conditions)
    span = engine.state.span()
    frame(engine, d, span)
    with Calls() as drawn:
        written = draw(d, engine.state.logits)
    with Calls() as stepped:
        advance(engine.weights, engine.state, written, span)
    # A new call in a layer costs a paper-size step 24 of them: think before raising these.
    assert (drawn.sum_of(views=False), drawn.sum_of(views=True)) == DRAWN
    assert (stepped.sum_of(views=False), stepped.sum_of(views=True)) == STEPPED


@torch.inference_mode()
def test_every_layer_makes_nineteen_calls_that_compute(tiny_model, conditions):
    engine, d = ready(tiny_model, conditions)
    span = engine.state.span()
    frame(engine, d, span)
    written, counts = d.codes[..., 0], []
    for layers in (1, 2):
        weights = replace(engine.weights, layers=engine.weights.layers[:layers])
        engine.state.past._views = (span, *_few(engine.state.past.views(span), layers))
        with Calls() as calls:
            advance(weights, engine.state, written, span)
        counts.append((calls.sum_of(views=False), calls.sum_of(views=True)))
        engine.state.past._views = None
    assert (counts[1][0] - counts[0][0], counts[1][1] - counts[0][1]) == (19, 7)


def _few(views, layers):
    bias, all_layers = views
    return bias, all_layers[:layers]


@torch.inference_mode()
def test_a_step_leaves_no_memory_behind_and_allocates_the_same_every_time(tiny_model, conditions):
    engine, d = ready(tiny_model, conditions)
    span = engine.state.span()
    for _ in range(2):
        frame(engine, d, span)
    found = []
    for _ in range(3):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            frame(engine, d, span)
        sizes = [event.nbytes() for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
        found.append((sum(size > 0 for size in sizes), sum(sizes)))
    assert found[0] == found[1] == found[2]
    assert found[0][1] == 0  # what is taken is given back
    assert found[0][0] <= ALLOCATED
