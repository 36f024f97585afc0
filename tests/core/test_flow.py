import math

import pytest
import torch

from dualdub_core.errors import InputError
from dualdub_core.flow import (
    evaluation_times,
    flow_matching_loss,
    guide,
    interpolate,
    solve,
    velocity_target,
)


def error_of_exponential(solver, num_steps):
    start = torch.ones(1, dtype=torch.float64)
    return abs(float(solve(lambda z, t: z, start, num_steps=num_steps, solver=solver)) - math.e)


def test_the_path_goes_from_source_to_target_and_its_velocity_is_its_derivative():
    z_0, z_1 = torch.randn(3, 5, 2, dtype=torch.float64), torch.randn(3, 5, 2, dtype=torch.float64)
    t = torch.tensor([0.1, 0.5, 0.7], dtype=torch.float64)
    assert torch.equal(interpolate(z_0, z_1, torch.zeros(3)), z_0)
    assert torch.equal(interpolate(z_0, z_1, torch.ones(3)), z_1)
    slope = (interpolate(z_0, z_1, t + 0.1) - interpolate(z_0, z_1, t)) / 0.1
    torch.testing.assert_close(slope, velocity_target(z_0, z_1))


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
@pytest.mark.parametrize("num_steps", [1, 7])
def test_a_constant_velocity_is_integrated_exactly_in_any_number_of_steps(solver, num_steps):
    z_0, constant = torch.randn(2, 4, 3), torch.randn(3)
    z_1 = solve(lambda z, t: constant.expand_as(z), z_0, num_steps=num_steps, solver=solver)
    torch.testing.assert_close(z_1, z_0 + constant)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2)])
def test_doubling_the_steps_shrinks_the_error_by_the_order_of_the_solver(solver, order):
    ratio = error_of_exponential(solver, 64) / error_of_exponential(solver, 128)
    assert math.log2(ratio) == pytest.approx(order, abs=0.03)


@pytest.mark.parametrize("num_steps", [1, 2, 10])
def test_a_velocity_of_time_alone_is_summed_at_the_solver_s_own_times(num_steps):
    def velocity(z, t):
        return torch.full_like(z, 3 * t * t)

    z_0 = torch.zeros(1, dtype=torch.float64)
    euler = float(solve(velocity, z_0, num_steps=num_steps, solver="euler"))
    midpoint = float(solve(velocity, z_0, num_steps=num_steps, solver="midpoint"))
    # Riemann sums of 3t^2: the left one is 1 - 3/2n + 1/2n^2, the middle one 1 - 1/4n^2.
    assert euler == pytest.approx(1 - 1.5 / num_steps + 0.5 / num_steps**2)
    assert midpoint == pytest.approx(1 - 0.25 / num_steps**2)


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_the_velocity_is_asked_at_the_announced_times_and_no_others(solver):
    asked = []

    def velocity(z, t):
        asked.append(t)
        return z

    solve(velocity, torch.ones(1), num_steps=3, solver=solver)
    assert tuple(asked) == evaluation_times(3, solver)
    assert evaluation_times(2, "midpoint") == (0.0, 0.25, 0.5, 0.75)


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_progress_is_reported_once_a_step(solver):
    reports = []
    solve(lambda z, t: z, torch.ones(1), num_steps=3, solver=solver, progress=lambda *r: reports.append(r))
    assert reports == [("decode", 1, 3), ("decode", 2, 3), ("decode", 3, 3)]


def test_an_exception_of_the_progress_callback_ends_the_run():
    evaluations = []

    def velocity(z, t):
        evaluations.append(t)
        return z

    def cancel(stage, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(velocity, torch.ones(1), num_steps=9, solver="euler", progress=cancel)
    assert len(evaluations) == 2


def test_the_loss_is_zero_for_the_true_velocity_and_the_mean_square_for_a_constant_error():
    z_0, z_1, t = torch.randn(2, 6, 3), torch.randn(2, 6, 3), torch.rand(2)
    assert flow_matching_loss(lambda z, t: z_1 - z_0, z_0, z_1, t) == 0
    assert flow_matching_loss(lambda z, t: z_1 - z_0 + 2, z_0, z_1, t) == pytest.approx(4)


def test_the_loss_asks_for_the_velocity_at_the_point_of_the_path_at_t():
    z_0, z_1, t = torch.randn(2, 6, 3), torch.randn(2, 6, 3), torch.tensor([0.25, 1.0])

    def velocity(z_t, times):
        assert torch.equal(times, t)
        torch.testing.assert_close(z_t[0], 0.75 * z_0[0] + 0.25 * z_1[0])
        torch.testing.assert_close(z_t[1], z_1[1])
        return torch.zeros_like(z_t)

    flow_matching_loss(velocity, z_0, z_1, t)


def test_masked_frames_do_not_count_in_the_loss_whatever_they_hold():
    z_0, z_1, t = torch.randn(2, 6, 3), torch.randn(2, 6, 3), torch.rand(2)
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    error = torch.where(mask, 2.0, torch.nan)[..., None]
    loss = flow_matching_loss(lambda z, t: z_1 - z_0 + error, z_0, z_1, t, mask)
    assert loss == pytest.approx(4)


def test_the_loss_is_float32_and_reaches_the_source():
    z_0 = torch.randn(2, 6, 3, dtype=torch.bfloat16, requires_grad=True)
    z_1 = torch.randn(2, 6, 3, dtype=torch.bfloat16)
    loss = flow_matching_loss(lambda z, t: torch.zeros_like(z), z_0, z_1, torch.rand(2))
    loss.backward()
    assert loss.dtype == torch.float32
    assert z_0.grad.abs().min() > 0


def test_guidance_of_one_is_off_and_more_extrapolates():
    velocity, uncond = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])
    assert torch.equal(guide(velocity, uncond, 1.0), velocity)
    assert torch.equal(guide(velocity, uncond, 0.0), uncond)
    assert torch.equal(guide(velocity, uncond, 2.0), torch.tensor([2.0, 5.0]))


def test_no_steps_and_unknown_solvers_are_refused():
    with pytest.raises(InputError, match="steps: got 0, expected at least 1"):
        solve(lambda z, t: z, torch.ones(1), num_steps=0)
    with pytest.raises(InputError, match=r"solver: got 'rk9', expected one of \['euler', 'midpoint'\]"):
        solve(lambda z, t: z, torch.ones(1), num_steps=1, solver="rk9")
