"""The captured step, where there is a GPU; what decides about it, everywhere."""

import copy

import pytest
import torch

from dualdub_core.engine import graph
from dualdub_core.engine.config import EngineConfig
from dualdub_core.engine.draw import DrawShape
from dualdub_core.engine.state import Shape
from dualdub_core.generation import CHUNK, generate_codes
from dualdub_core.models.dualdub import Conditions
from dualdub_core.sampling import CodeSampler, StreamSampling

T, V = 70, 24
CPU = torch.device("cpu")
SHAPE = Shape(rows=1, num_frames=64, length=64, is_padded=False)
DRAWING = DrawShape(
    takes=1, num_frames=64, candidates=8, eos=V, is_guided=False, until_eos=False, is_locked=False, uses_top_p=False
)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: a graph cannot be captured")


def test_equal_series_agree_and_others_do_not():
    one = [torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])]
    near = [x + 1e-4 for x in one]
    assert graph.agree(one, near)
    assert not graph.agree(one, [one[0], one[1] + 0.5])
    assert not graph.agree(one, [one[0], one[1] * torch.nan])


def test_series_are_compared_as_far_as_they_follow_the_same_codes():
    tie = [torch.tensor([[1.0, 1.0001]]), torch.tensor([[5.0, 0.0]])]
    other = [torch.tensor([[1.0001, 1.0]]), torch.tensor([[0.0, 5.0]])]
    assert graph.agree(tie, other)


def test_a_cpu_captures_nothing(tiny_model):
    assert not graph.is_capturable(tiny_model, CPU)


def test_memory_is_kept_for_the_next_run_of_its_shape_and_lent_to_one_at_a_time(tiny_model):
    model = copy.deepcopy(tiny_model)
    first = graph.borrow(model, SHAPE, DRAWING, CPU)
    graph.give_back(model, first)
    assert graph.borrow(model, SHAPE, DRAWING, CPU) is first
    assert graph.borrow(model, SHAPE, DRAWING, CPU) is not first


def test_only_the_newest_memories_are_kept(tiny_model):
    model = copy.deepcopy(tiny_model)
    for length in (64, 128, 192):
        shape = Shape(rows=1, num_frames=64, length=length, is_padded=False)
        graph.give_back(model, graph.borrow(model, shape, DRAWING, CPU))
    assert len(model.kept) == 2


def test_moving_casting_or_releasing_a_model_drops_what_it_keeps(tiny_model):
    model = copy.deepcopy(tiny_model)
    for drop in (lambda: model.to(torch.float64), lambda: model.float(), lambda: graph.release(model)):
        graph.give_back(model, graph.borrow(model, SHAPE, DRAWING, CPU))
        assert model.kept
        drop()
        assert not model.kept


def test_weights_that_moved_by_themselves_are_noticed(tiny_model):
    model = copy.deepcopy(tiny_model)
    kept = graph.borrow(model, SHAPE, DRAWING, CPU)
    graph.give_back(model, kept)
    model.llama.norm.weight.data = model.llama.norm.weight.data.clone()
    assert graph.borrow(model, SHAPE, DRAWING, CPU) is not kept


def conditions(model, device) -> Conditions:
    generator = torch.Generator().manual_seed(4)
    return Conditions(
        speaker=torch.randn(1, 16, generator=generator).to(device),
        text_ids=torch.randint(0, 200, (1, 6), generator=generator).to(device),
        text_lengths=torch.tensor([6], device=device),
        video=torch.randn(1, T, model.config.video_width, generator=generator).to(device),
        present=torch.ones(1, 2, device=device),
        is_padded=False,
    )


def generated(model, device, seed=1, **settings) -> torch.Tensor:
    stream = StreamSampling(temperature=1.0, top_k=8)
    sampler = CodeSampler([stream] * 2, [[seed], [seed]], num_logits=V + 1, device=torch.device(device))
    return generate_codes(model, conditions(model, device), sampler, num_frames=T, **settings).codes.cpu()


@pytest.fixture
def on_gpu(tiny_model):
    return copy.deepcopy(tiny_model).to("cuda")


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("settings", [{}, {"cfg_scale": 2.0}, {"until_eos": True}])
def test_a_replayed_run_writes_what_an_eager_one_does(on_gpu, settings):
    graphed = generated(on_gpu, "cuda", **settings)
    (kept,) = on_gpu.kept.values()
    assert kept.replay is not None
    assert torch.equal(generated(on_gpu, "cuda", **settings), graphed)  # the kept graph
    on_gpu.engine = EngineConfig(graphs=False)
    assert torch.equal(generated(on_gpu, "cuda", **settings), graphed)


@needs_cuda
@pytest.mark.gpu
def test_a_frame_of_a_graph_is_one_replay(on_gpu):
    generated(on_gpu, "cuda")
    (kept,) = on_gpu.kept.values()
    replay, count = kept.replay, []
    kept.replay = lambda: (count.append(1), replay())
    generated(on_gpu, "cuda", seed=2)
    assert len(count) == T - 1  # the last frame is drawn and read by nobody


@needs_cuda
@pytest.mark.gpu
def test_the_host_waits_once_a_chunk(on_gpu):
    generated(on_gpu, "cuda")
    waits, original = [], torch.cuda.Event.synchronize
    torch.cuda.Event.synchronize = lambda event: (waits.append(1), original(event))
    try:
        generated(on_gpu, "cuda", seed=2)
    finally:
        torch.cuda.Event.synchronize = original
    assert len(waits) == -(-T // CHUNK)


@needs_cuda
@pytest.mark.gpu
def test_a_step_that_cannot_be_captured_runs_call_by_call(on_gpu, caplog):
    memory = torch.zeros(1, device="cuda")

    def frame() -> None:
        memory.add_(float(memory))  # asks a tensor for its value

    assert graph.capture(frame, memory, lambda: memory.zero_(), 2) is None
    assert "runs call by call" in caplog.text
