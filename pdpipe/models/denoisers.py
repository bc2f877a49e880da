"""From a network to a denoiser: labels and w bound, whatever the network predicts turned into v."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdpipe.diffusion import PARAMETERIZATIONS, Denoiser, GuidedDenoiser, Schedule
from pdpipe.networks import Network

DenoiserOf = Callable[[Tensor, Tensor], Denoiser]
"""(labels (B,), guidance weights w (B,)) -> the denoiser of these images."""


def network_denoiser(
    network: Network,
    schedule: Schedule,
    parameterization: str,
    labels: Tensor,
    w: Tensor | None = None,
) -> Denoiser:
    """(z_t, t) -> v_hat with one evaluation of the network.

    Args:
        network: the U-Net, or any other with its inputs.
        schedule: gives the log-SNR that the network is conditioned on.
        parameterization: what the network predicts, a key of `PARAMETERIZATIONS`.
        labels: class indices, `network.null_label` for none, (B,).
        w: guidance weights of a w-conditioned network, (B,); None for a network without.
    """
    to_v = PARAMETERIZATIONS[parameterization].to_v

    def denoise(z_t: Tensor, t: Tensor) -> Tensor:
        log_snr = schedule.log_snr(t).float().reshape(-1).to(z_t.device).expand(len(z_t))
        prediction = network(z_t, log_snr, labels, w).to(z_t.dtype)
        return to_v(prediction, z_t, *schedule.alpha_sigma(t))

    return denoise


def with_null(network: Network, labels: Tensor) -> Tensor:
    """The labels, then as many null labels: (2B,)."""
    return torch.cat([labels, torch.full_like(labels, network.null_label)])


def guided_denoiser(
    network: Network, schedule: Schedule, parameterization: str, labels: Tensor, w: Tensor
) -> Denoiser:
    """(z_t, t) -> guided v_hat: conditional and unconditional evaluated as one batch of 2B.

    Args:
        network: a class-conditional U-Net trained with label dropout; one that takes w is given it
            in both halves (the students of GD, Algorithm 5).
        schedule, parameterization: as in `network_denoiser`.
        labels: class indices, (B,).
        w: guidance weights, (B,).

    Source: CFG, section 3.2; two network evaluations a call.
    """
    both, weights = with_null(network, labels), torch.cat([w, w])
    return GuidedDenoiser(network_denoiser(network, schedule, parameterization, both, weights), w)


def guided_teacher(network: Network, schedule: Schedule, parameterization: str) -> DenoiserOf:
    """A teacher whose guidance is a mixture of two evaluations; without it if unconditional."""

    def of(labels: Tensor, w: Tensor) -> Denoiser:
        if not network.config.num_classes:
            return network_denoiser(network, schedule, parameterization, labels)
        return guided_denoiser(network, schedule, parameterization, labels, w)

    return of


def w_student(network: Network, schedule: Schedule, parameterization: str) -> DenoiserOf:
    """A student that takes w as an input of its network, or was distilled without guidance."""
    return lambda labels, w: network_denoiser(network, schedule, parameterization, labels, w)
