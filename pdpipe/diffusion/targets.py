"""Regression targets of the distillation: what one student step must predict.

Algorithms 2, 3 and 4 of GD differ in the times that the teacher passes on its way; the target is
the same function of them. Algorithm 5 differs in which teacher is asked at each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import scale
from pdpipe.diffusion.samplers.base import Denoiser
from pdpipe.diffusion.schedule import Schedule
from pdpipe.diffusion.steps import ddim_step

Times = Callable[[Tensor, int, int], list[Tensor]]
"""(i, N, ratio) -> the times that the teacher passes, from the student's t to where it must land.

i is the number of the student's interval, [(i - 1)/N, i/N], integers in 1 … N, (B, 1, 1, 1); ratio
is the number of teacher steps per student step. Times are float64, shaped like i.
"""


def decoding_times(i: Tensor, num_steps: int, ratio: int = 2) -> list[Tensor]:
    """From i/N to (i - 1)/N, through every time of the teacher's grid: halving.

    Integers i (B, 1, 1, 1) in 1 … num_steps give ratio + 1 float64 times of that shape.

    Source: PD, Algorithm 2, and GD, Algorithm 2 (ratio 2); PD, figure 12 (ratio 4).

    Examples:
        >>> from pdpipe.diffusion import decoding_times
        >>> decoding_times(torch.tensor([4]), num_steps=4)
        [tensor([1.], ...), tensor([0.8750], ...), tensor([0.7500], ...)]
    """
    i = i.to(torch.float64)  # the quotients of integer tensors would be float32
    return [(ratio * i - j) / (ratio * num_steps) for j in range(ratio + 1)]


def stochastic_times(i: Tensor, num_steps: int, ratio: int = 1) -> list[Tensor]:
    """From i/N to (i - 2)/N in two steps of the teacher: a jump of twice the student's interval.

    At i = 1 one step leads to 0 already, and the second has length 0: the target is the teacher's
    own prediction, exactly. The teacher's grid is the student's, so the ratio is 1.

    Integers i (B, 1, 1, 1) in 1 … num_steps give three float64 times of that shape.

    Source: GD, Algorithm 3.

    Examples:
        >>> from pdpipe.diffusion import stochastic_times
        >>> stochastic_times(torch.tensor([4]), num_steps=4)
        [tensor([1.], ...), tensor([0.7500], ...), tensor([0.5000], ...)]
    """
    assert ratio == 1
    i = i.to(torch.float64)
    return [i / num_steps, (i - 1) / num_steps, (i - 2).clamp(min=0.0) / num_steps]


def encoding_times(i: Tensor, num_steps: int, ratio: int = 2) -> list[Tensor]:
    """From (i - 1)/N up to i/N: the decoding's times backwards, towards noise.

    Integers i (B, 1, 1, 1) in 1 … num_steps give ratio + 1 float64 times of that shape.

    Source: GD, Algorithm 4 (whose i is this one less 1).

    Examples:
        >>> from pdpipe.diffusion import encoding_times
        >>> encoding_times(torch.tensor([4]), num_steps=4)
        [tensor([0.7500], ...), tensor([0.8750], ...), tensor([1.], ...)]
    """
    return decoding_times(i, num_steps, ratio)[::-1]


@torch.no_grad()
def target_along(
    teachers: Sequence[Denoiser], z_t: Tensor, times: Sequence[Tensor], schedule: Schedule
) -> Tensor:
    """v_target: one DDIM step that predicts it lands where the teachers' steps land.

    The teachers step through t = times[0], times[1], … to t'' = times[-1], either way in time.
    With z'' their end, `v_target = (cos(D) z_t - z'') / sin(D)`, D = phi_t - phi_t''. It is
    accumulated here in the form without cancellation. The end is `z'' = c z_t - sum_j b_j v_j`, and
    c is close to cos(D): only their small difference r is ever multiplied with z_t,

        v_target = (sum_j b_j v_j + r z_t) / sin(D),    r = cos(D) - c,
        c = prod_j cos(d_j),    b_j = sin(d_j) prod_{l > j} cos(d_l),

    with all coefficients in float64. r is small and is accumulated too, by the addition theorem:
    `r <- cos(d_j) r - sin(D_j) sin(d_j)`, D_j the angle turned before step j. `x_target =
    alpha_t z_t - sigma_t v_target` is the papers'
    `(z'' - (sigma''/sigma_t) z_t) / (alpha'' - (sigma''/sigma_t) alpha_t)`, at every t; at t = 0,
    where an encoder starts, only v_target is well conditioned.

    Args:
        teachers: the frozen denoiser of each step, (z_t, t) -> v_hat.
        z_t: noisy images at times[0], (B, C, H, W).
        times: one more than teachers, (B, 1, 1, 1), float64; the last is not the first.
        schedule: the noise schedule.

    Returns:
        v_target, (B, C, H, W), in the dtype of z_t.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, ddim_step, target_along
        >>> schedule, teacher = CosineSchedule(), lambda z_t, t: z_t * t
        >>> z_t = torch.randn(2, 1, 8, 8, dtype=torch.float64)
        >>> times = [torch.full((2, 1, 1, 1), t, dtype=torch.float64) for t in (1.0, 0.7, 0.5)]
        >>> t, u, s = (schedule.angle(time) for time in times)
        >>> z_u = ddim_step(teacher(z_t, times[0]), z_t, t, u)
        >>> z_s = ddim_step(teacher(z_u, times[1]), z_u, u, s)
        >>> v = target_along([teacher, teacher], z_t, times, schedule)
        >>> torch.allclose(ddim_step(v, z_t, t, s), z_s)  # one step for two
        True
    """
    phi = [schedule.angle(t) for t in times]
    whole = phi[0] - phi[-1]
    z, weighted, rest = z_t, torch.zeros_like(z_t), torch.zeros_like(whole)
    for j, teacher in enumerate(teachers):
        v_hat = teacher(z, times[j])
        d = phi[j] - phi[j + 1]
        z = ddim_step(v_hat, z, phi[j], phi[j + 1])
        weighted = scale(d.cos(), z_t) * weighted + scale(d.sin() / whole.sin(), z_t) * v_hat
        rest = d.cos() * rest - (phi[0] - phi[j]).sin() * d.sin()
    return weighted + scale(rest / whole.sin(), z_t) * z_t


def multi_step_target(
    teacher: Denoiser,
    z_t: Tensor,
    i: Tensor,
    num_steps: int,
    schedule: Schedule,
    ratio: int = 2,
    times: Times = decoding_times,
) -> Tensor:
    """`target_along` the times of one teacher: by default those of `ratio` steps of the decoding.

    Args:
        teacher: the frozen denoiser, (z_t, t) -> v_hat.
        z_t: noisy images at the first of the times, t = i / num_steps to decode, (B, C, H, W).
        i: the student's grid index, integers in 1 … num_steps, (B, 1, 1, 1).
        num_steps: N, the student's number of steps.
        schedule: the noise schedule.
        ratio: the teacher's grid has so many times the student's steps; 2 halves.
        times: `decoding_times`, `stochastic_times` or `encoding_times`.

    Returns:
        v_target, (B, C, H, W), in the dtype of z_t.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, multi_step_target
        >>> teacher, i = lambda z_t, t: z_t * t, torch.tensor([4, 1]).view(2, 1, 1, 1)
        >>> z_t = torch.randn(2, 1, 8, 8)
        >>> multi_step_target(teacher, z_t, i, 4, CosineSchedule()).shape
        torch.Size([2, 1, 8, 8])
    """
    passed = times(i, num_steps, ratio)
    return target_along([teacher] * (len(passed) - 1), z_t, passed, schedule)
