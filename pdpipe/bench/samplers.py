"""What a sampler costs beyond its network evaluations, measured as a ratio in one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from pdpipe.bench.setting import Ratio, inputs, quartiles, random_images, seconds, untrained
from pdpipe.diffusion import SAMPLERS, Sampler, build_schedule, uniform_grid
from pdpipe.errors import counted
from pdpipe.models import Predictor
from pdpipe.params import Params

STEPS = 8


@dataclass(frozen=True, kw_only=True)
class SamplerResult(Ratio):
    """A sampler's time over that of as many bare network evaluations, measured in turns."""

    name: str
    evaluations: int

    def __str__(self) -> str:
        return f"sampler {self.name}: {counted(self.evaluations, 'evaluation')}, {self.spelled()}"


@torch.inference_mode()
def bench_samplers(params: Params, device: torch.device, repeats: int) -> Iterator[SamplerResult]:
    """Time every sampler on an untrained network, a batch of `evaluation.batch_size` images."""
    network = untrained(params).to(device).eval()
    schedule = build_schedule(**params.schedule.model_dump())
    batch = inputs(random_images(params), params.evaluation.batch_size, device)
    denoiser = Predictor(network, schedule, params.teacher.parameterization).denoiser(batch[2])
    grid, noise = uniform_grid(STEPS), torch.Generator(device).manual_seed(0)
    for name, make in SAMPLERS.items():
        sampler = make(schedule)
        count = sampler.final(denoiser, batch[0], grid, noise).evaluations

        def whole(sampler: Sampler = sampler) -> None:
            sampler.sample(denoiser, batch[0], grid, noise)

        def bare(count: int = count) -> None:
            for _ in range(count):
                network(*batch)

        pairs = [(seconds(whole, device), seconds(bare, device)) for _ in range(repeats)]
        yield SamplerResult(name=name, evaluations=count, **quartiles(pairs))
