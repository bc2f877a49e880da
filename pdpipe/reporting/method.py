"""Pictures of the method, drawn from the very functions that train and sample."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pdpipe.diffusion import (
    DDIM,
    Denoiser,
    GaussianMixture,
    RungeKutta4,
    Schedule,
    ddim_step,
    diffuse,
    multi_step_target,
    uniform_grid,
    v_loss_weight,
    v_target,
)
from pdpipe.reporting.figures import FAINT, INK, STUDENT, TEACHER, label_axes

# Colour, line and width: the truncated weight runs along two of the others and lies under them.
_WEIGHT_LOOK = {
    "snr_truncated": (STUDENT, "-", 4.5),
    "constant": (FAINT, "-", 1.8),
    "snr": (TEACHER, "--", 1.8),
    "snr_plus_one": (INK, ":", 1.8),
}
TEACHER_STEPS = 8  # of the trajectories; two rounds of halving leave 2
_PATHS = 9


def loss_weights(schedule: Schedule) -> Figure:
    """log of the weight on the x error against log-SNR, alone and times the density of log-SNR.

    Both up to a constant: each curve is 0 at log-SNR 0. Source: PD, figure 2.
    """
    times = torch.linspace(0.0, 1.0, 401, dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(times)
    log_snr = schedule.log_snr(times)
    log_density = schedule.density(log_snr).log()
    middle = int(log_snr.abs().argmin())
    figure = Figure(figsize=(9.0, 3.6))
    panels = figure.subplots(1, 2, sharey=True)
    for name, (colour, line, width) in _WEIGHT_LOOK.items():
        on_x = v_loss_weight(name, alpha, sigma).log() - 2 * sigma.log()
        for axes, curve in zip(panels, (on_x, on_x + log_density), strict=True):
            shown = (curve - curve[middle]).numpy()
            axes.plot(
                log_snr.numpy(), shown, color=colour, linestyle=line, linewidth=width, label=name
            )
    panels[0].set_title("the weight alone")
    panels[1].set_title("times the schedule's density of log-SNR")
    panels[0].set_ylabel("log weight on the x error")
    label_axes(figure, panels[0], "log-SNR")
    return figure


def angles() -> Figure:
    """z in the plane of x and eps: it turns with phi, v is its velocity, a DDIM step turns back.

    Source: PD, figure 5.
    """
    x, eps = (torch.tensor(e, dtype=torch.float64) for e in ([1.0, 0.0], [0.0, 1.0]))
    phi, phi_s = (torch.tensor(math.radians(degrees), dtype=torch.float64) for degrees in (62, 34))
    z = diffuse(x, eps, phi.cos(), phi.sin())
    v = v_target(x, eps, phi.cos(), phi.sin())
    z_s = ddim_step(v, z, phi, phi_s)
    figure = Figure(figsize=(4.6, 4.6))
    axes = figure.subplots()
    arc = np.linspace(0, math.pi / 2, 91)
    axes.plot(np.cos(arc), np.sin(arc), color=FAINT, linewidth=1)
    small = np.linspace(0, phi.item(), 46)
    axes.plot(0.22 * np.cos(small), 0.22 * np.sin(small), color=FAINT, linewidth=1)
    axes.text(0.26, 0.12, "φ", color=INK)
    turned = np.linspace(phi_s.item(), phi.item(), 31)
    axes.plot(0.5 * np.cos(turned), 0.5 * np.sin(turned), color=TEACHER, linewidth=1)
    axes.text(0.38, 0.42, "δ", color=TEACHER)
    origin = torch.zeros(2)
    for start, end, colour, line, name, (right, up) in (
        (origin, x, INK, "-", "x", (0.03, -0.07)),
        (origin, eps, INK, "-", "ε", (-0.08, 0.0)),
        (origin, z, TEACHER, "-", "z = cos φ x + sin φ ε", (0.04, 0.03)),
        (z, z + 0.55 * v, STUDENT, "-", "v = dz/dφ (drawn shorter)", (-0.02, 0.05)),
        (origin, z_s, TEACHER, "--", "z_s = cos δ z - sin δ v", (0.03, 0.03)),
    ):
        look = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0}
        look |= {"linewidth": 1.6, "linestyle": line}
        (a, b), (c, d) = start.tolist(), end.tolist()
        axes.annotate("", xy=(c, d), xytext=(a, b), arrowprops=look)
        axes.text(c + right, d + up, name, color=colour)
    axes.set(xlim=(-0.2, 1.5), ylim=(-0.2, 1.5), aspect="equal")
    axes.set_axis_off()
    return figure


def trajectories(schedule: Schedule) -> Figure:
    """Two rounds of distillation on two Gaussians: 8 steps, then 4, then 2, from the same noise.

    Each student is exact: it predicts the target of its round, by the exact denoiser and by the
    student before it. Its states are then every second state of its teacher's, and the images are
    the same. Source: PD, figure 1.
    """
    means = torch.tensor([[-0.5], [0.5]], dtype=torch.float64)
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    mixture = GaussianMixture(means, 0.15, weights, torch.arange(2))
    quantiles = (torch.arange(_PATHS, dtype=torch.float64) + 0.5) / _PATHS
    z_1 = (math.sqrt(2.0) * torch.erfinv(2 * quantiles - 1)).view(-1, 1, 1, 1)
    exact = mixture.denoiser(schedule)
    flow = _path(RungeKutta4(schedule), exact, z_1, 48)
    figure = Figure(figsize=(9.6, 3.4))
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    denoiser: Denoiser = exact
    for k, axes in enumerate(panels):
        steps = TEACHER_STEPS // 2**k
        if k:
            denoiser = exact_student(denoiser, steps, schedule)
        axes.plot(*flow, color=FAINT, linewidth=1)
        colour = STUDENT if k else TEACHER
        times, path = _path(DDIM(schedule), denoiser, z_1, steps)
        axes.plot(times, path, color=colour, marker="o", markersize=3.5, linewidth=1.2)
        axes.set_title(f"student, {steps} steps" if k else f"teacher, {steps} steps")
    panels[0].invert_xaxis()
    panels[0].set_ylabel("z")
    figure.supxlabel("t, from noise to data", fontsize=10, color=INK)
    return figure


def exact_student(teacher: Denoiser, num_steps: int, schedule: Schedule) -> Denoiser:
    """The student of `num_steps` steps that has learned everything: it returns its target."""

    def student(z_t: Tensor, t: Tensor) -> Tensor:
        i = (t * num_steps).round().to(torch.int64)
        return multi_step_target(teacher, z_t, i, num_steps, schedule)

    return student


def _path(
    sampler: DDIM | RungeKutta4, denoiser: Denoiser, z_1: Tensor, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """(times (N + 1,), z (N + 1, B)) of a sampler."""
    states = list(sampler.states(denoiser, z_1, uniform_grid(steps)))
    times = np.array([1.0, *(state.t for state in states)])
    return times, torch.stack([z_1, *(s.z for s in states)]).flatten(1).numpy()
