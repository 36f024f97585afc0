"""Parts of the loop: schedule, averages, and how an update's micro-batches are dealt out."""

import json
import multiprocessing
import sys

import pytest
import torch
from torch import nn

from dualdub_core.errors import ConfigError, InputError
from train.average import Average
from train.config import DataConfig, OptimiserConfig, RunConfig, VaeTraining
from train.folder import alone
from train.journal import Journal
from train.loop import micro_batches_per_update, require_compiler
from train.optimiser import make_optimiser, rate_at

PAPER = OptimiserConfig(max_lr=2e-4, min_lr=2e-6, warmup=4000)


def run_config(global_batch, micro_batch):
    return RunConfig(
        name="x",
        folder="x",
        data=DataConfig(train="x", micro_batch=micro_batch),
        optimiser=PAPER,
        num_updates=1,
        global_batch=global_batch,
        vae=VaeTraining(size="tiny"),
    )


def test_the_rate_rises_to_its_maximum_and_ends_at_its_minimum():
    rates = [rate_at(update, 10_000, PAPER) for update in range(10_000)]
    assert rates[3999] == rates[4000] == max(rates) == pytest.approx(2e-4)
    assert rates[-1] == pytest.approx(2e-6)
    assert rates[0] < 2.1e-6
    assert rates[:4000] == sorted(rates[:4000])
    assert rates[4000:] == sorted(rates[4000:], reverse=True)


def test_without_weight_decay_the_optimiser_is_the_papers_adam():
    def end(make):
        torch.manual_seed(0)
        layer = nn.Linear(3, 3)
        optimiser = make(list(layer.parameters()))
        for _ in range(5):
            optimiser.zero_grad()
            layer(torch.ones(2, 3)).square().sum().backward()
            optimiser.step()
        return layer.weight

    adam = end(lambda p: torch.optim.Adam(p, lr=2e-4, betas=(0.9, 0.98), eps=1e-9))
    torch.testing.assert_close(end(lambda p: make_optimiser(p, PAPER)), adam, rtol=0, atol=0)


def test_averages_stand_in_for_the_weights_and_give_them_back():
    weight = nn.Parameter(torch.zeros(3))
    average = Average([weight], decay=0.5)
    weight.data += 1
    average.update(done=100)
    with average.applied():
        torch.testing.assert_close(weight.detach(), torch.full((3,), 0.5))
    torch.testing.assert_close(weight.detach(), torch.ones(3))


def test_without_a_decay_the_weights_stay():
    weight = nn.Parameter(torch.ones(3))
    average = Average([weight], decay=0.0)
    average.update(done=1)
    with average.applied():
        assert weight.sum() == 3


def test_a_global_batch_is_dealt_out_evenly_or_refused():
    assert micro_batches_per_update(run_config(192, 6), 8) == 32
    with pytest.raises(ConfigError, match="multiple of micro_batch"):
        micro_batches_per_update(run_config(190, 6), 8)
    with pytest.raises(ConfigError, match="3 processes"):
        micro_batches_per_update(run_config(192, 6), 3)


def test_compiling_for_a_cpu_without_a_compiler_is_refused(monkeypatch):
    require_compiler(torch.device("cuda"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="no C\\+\\+ compiler"):
        require_compiler(torch.device("cpu"))


def test_lines_of_updates_that_a_kill_undid_are_forgotten(tmp_path):
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.cut(0)
    for update in (2, 4, 6):
        journal.add(update, {"loss": 0.1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"update": 3, "lo')
    journal.cut(4)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == [2, 4]


def _second(path):
    try:
        with alone(path):
            sys.exit(0)
    except InputError:
        sys.exit(7)


@pytest.mark.skipif(sys.platform == "win32", reason="starts its processes by fork")
def test_two_runs_do_not_write_in_one_folder(tmp_path):
    codes = []
    for is_held in (True, False):
        second = multiprocessing.get_context("fork").Process(target=_second, args=(tmp_path / ".running",))
        if is_held:
            with alone(tmp_path / ".running"):
                second.start()
                second.join()
        else:
            second.start()
            second.join()
        codes.append(second.exitcode)
    assert codes == [7, 0]
