"""Flow matching without a network: the straight path, its loss, and solvers of dZ/dt = v(Z, t).

Source: paper, section 3.5, equations 6 to 9. t runs from 0 (the source) to 1 (the latents).
Letters: B batch, T latent frames, Z latent channels.
"""

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

from .errors import InputError
from .limits import within
from .progress import Progress, silent

Solver = Literal["euler", "midpoint"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)
MOST_STEPS = 1000
"""Of a solver; no decoder gains from more, and each costs a run of the network."""


def interpolate(z_0: Tensor, z_1: Tensor, t: Tensor) -> Tensor:
    """The point of the straight path at t (equation 8).

    Args:
        z_0: source (B, ...).
        z_1: target (B, ...).
        t: (B,), in [0, 1].
    """
    assert t.shape == z_0.shape[:1], f"{t.shape=} would broadcast against {z_0.shape=}"
    t = t.reshape(-1, *(1 for _ in z_0.shape[1:]))
    return (1 - t) * z_0 + t * z_1


def velocity_target(z_0: Tensor, z_1: Tensor) -> Tensor:
    """The straight path's velocity, the same at every t (equation 7)."""
    return z_1 - z_0


def flow_matching_loss(
    velocity: Callable[[Tensor, Tensor], Tensor],
    z_0: Tensor,
    z_1: Tensor,
    t: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the velocity at one time for each item (equation 7), a float32 scalar.

    The mean is over channels and valid frames of the whole batch, so long clips weigh more than short ones.
    Gradients reach `z_0` too: equation 6 learns the embedding it starts from.

    Args:
        velocity: (z_t (B, T, Z), t (B,)) to (B, T, Z).
        z_0: source (B, T, Z).
        z_1: target (B, T, Z).
        t: (B,), in [0, 1].
        mask: True at valid frames (B, T); all when None.
    """
    predicted = velocity(interpolate(z_0, z_1, t), t)
    error = (predicted.float() - velocity_target(z_0, z_1).float()).square().mean(dim=-1)  # (B, T)
    return error.mean() if mask is None else error[mask].mean()


def evaluation_times(num_steps: int, solver: Solver) -> tuple[float, ...]:
    """Every t at which `solve` asks for the velocity, in its order.

    What depends on t alone can be computed for all of them beforehand.
    """
    if not within(num_steps, 1, MOST_STEPS, whole=True):
        raise InputError(f"steps: got {num_steps}, expected at least 1 and at most {MOST_STEPS}, a whole number")
    if solver not in SOLVERS:
        raise InputError(f"solver: got {solver!r}, expected one of {list(SOLVERS)}")
    halves = (0.0,) if solver == "euler" else (0.0, 0.5)
    return tuple((step + half) / num_steps for step in range(num_steps) for half in halves)


def solve(
    velocity: Callable[[Tensor, float], Tensor],
    z_0: Tensor,
    *,
    num_steps: int,
    solver: Solver = "euler",
    progress: Progress = silent,
) -> Tensor:
    """Integrate from t = 0 to t = 1 in equal steps (equation 9).

    Args:
        velocity: (z_t, t) to dz/dt, of `z_0`'s shape.
        z_0: the start, any shape; the state keeps its dtype if the velocity has it.
        num_steps: at least 1.
        solver: "euler" (order 1) or "midpoint" (order 2, two evaluations a step).
        progress: called after each step; raising from it cancels.

    Raises:
        InputError: `num_steps` or `solver` is not usable.
    """
    times = iter(evaluation_times(num_steps, solver))
    size, z = 1 / num_steps, z_0
    for step in range(num_steps):
        slope = velocity(z, next(times))
        if solver == "midpoint":
            slope = velocity(z + size / 2 * slope, next(times))
        z = z + size * slope
        progress("decode", step + 1, num_steps)
    return z


def guide(velocity: Tensor, uncond: Tensor, cfg_scale: float) -> Tensor:
    """Classifier-free guidance, of velocities or of logits; 1.0 is none."""
    return uncond + cfg_scale * (velocity - uncond)
