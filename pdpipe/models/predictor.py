"""From a network to a denoiser: its condition bound, whatever it predicts turned into v."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from pdpipe.diffusion import PARAMETERIZATIONS, Condition, Denoiser, GuidedDenoiser, Schedule
from pdpipe.networks import Network

DenoiserOf = Callable[[Condition], Denoiser]
"""The condition of some images -> their denoiser."""


@dataclass(frozen=True)
class Predictor:
    """A network and what must be known to use it."""

    network: Network
    schedule: Schedule  # gives the log-SNR that the network is conditioned on
    parameterization: str  # what it predicts, a key of `PARAMETERIZATIONS`

    def of(self, network: Network) -> Predictor:
        """The same of another network, such as the one in training."""
        return replace(self, network=network)

    def denoiser(self, given: Condition) -> Denoiser:
        """(z_t, t) -> v_hat with one evaluation of the network."""
        to_v = PARAMETERIZATIONS[self.parameterization].to_v

        def denoise(z_t: Tensor, t: Tensor) -> Tensor:
            log_snr = self.schedule.log_snr(t).float().reshape(-1).to(z_t.device)
            log_snr = log_snr.expand(len(z_t))  # (B,)
            prediction = self.network(z_t, log_snr, given).to(z_t.dtype)
            return to_v(prediction, z_t, *self.schedule.alpha_sigma(t))

        return denoise

    def guided(self, given: Condition) -> Denoiser:
        """(z_t, t) -> guided v_hat: conditional and unconditional evaluated as one batch of 2B.

        The network was trained with a dropped condition. One that takes w is given it in both
        halves (the students of GD, Algorithm 5).

        Args:
            given: with `w`, (B,).

        Source: CFG, section 3.2; two network evaluations a call.
        """
        assert given.w is not None
        both = given.then(self.network.null(given))
        return GuidedDenoiser(self.denoiser(both), given.w)

    def as_teacher(self, given: Condition) -> Denoiser:
        """What stage one distils: guided, or without guidance if the network takes no label."""
        return self.guided(given) if self.network.conditional else self.denoiser(given)
