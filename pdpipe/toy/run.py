"""Stage one and the halvings on a mixture of Gaussians, with the pipeline's own objectives."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from pdpipe.diffusion import (
    DDIM,
    Condition,
    CosineSchedule,
    Denoiser,
    GaussianMixture,
    GuidedDenoiser,
    RungeKutta4,
    Schedule,
    uniform_grid,
)
from pdpipe.errors import counted
from pdpipe.methods.guide import guide_objective
from pdpipe.methods.halve import halving_objective
from pdpipe.models import DenoiserOf, Predictor
from pdpipe.networks import PointNetwork, PointNetworkConfig
from pdpipe.plan import Batch, Objective
from pdpipe.progress import Progress
from pdpipe.reporting import formats
from pdpipe.reporting.clouds import CloudPanel

SCHEDULE, MIXTURE = CosineSchedule(), GaussianMixture.grid()
_SEED_STEP = 1_000_003  # between the seeds of the trainings


@dataclass(frozen=True, kw_only=True)
class ToySettings:
    """How much is trained and measured; the default takes under a minute on two cores."""

    seed: int = 0
    steps: int = 32  # the ladder starts here
    w: tuple[float, ...] = (0.0, 1.0)  # shown; students are trained on the whole range
    guide_updates: int = 1000
    halve_updates: int = 250
    batch_size: int = 512
    learning_rate: float = 2e-3
    points: int = 1000  # of each cloud

    def __post_init__(self) -> None:
        assert self.steps & (self.steps - 1) == 0 < self.steps, "steps are halved down to 1"
        assert self.w, "show at least one w"
        assert min(self.w) >= 0, "w is 0 or more"


@dataclass(frozen=True)
class Cloud:
    """Points of one model at a step count and w, and how far they are from the truth."""

    model: str  # "teacher" or "student"
    steps: int
    w: float
    points: Tensor  # (n, 2)
    distance: float  # Wasserstein-1 to as many true points


@dataclass(frozen=True)
class Toy:
    """The truth at each w, the distance of two draws of it, and every model's cloud."""

    truth: dict[float, Tensor]
    floor: dict[float, float]
    clouds: list[Cloud] = field(default_factory=list)

    def of(self, model: str, w: float) -> list[Cloud]:
        """A model's clouds at w, most steps first."""
        return [cloud for cloud in self.clouds if (cloud.model, cloud.w) == (model, w)]


def run_toy(settings: ToySettings) -> Toy:
    """Train the students of steps, steps/2 … 1, and sample them and the exact teacher by DDIM."""
    teacher = exact_teacher(MIXTURE, SCHEDULE)
    toy = _truth(teacher, settings)
    torch.manual_seed(settings.seed)
    w_range = (0.0, max(settings.w))
    classes, w_max = MIXTURE.num_classes, max(w_range[1], 1e-6)
    student = PointNetwork(PointNetworkConfig(dimensions=2, num_classes=classes, w_max=w_max))
    objective = guide_objective(teacher, SCHEDULE, "v", "snr_plus_one", w_range)
    _train(student, objective, settings.guide_updates, settings, "stage one")
    steps = settings.steps
    while True:
        _sample(toy, "teacher", teacher, steps, settings)
        model = Predictor(student, SCHEDULE, "v")
        _sample(toy, "student", model.denoiser, steps, settings)
        if steps == 1:
            return toy
        steps //= 2
        above = model.of(copy.deepcopy(student).requires_grad_(False)).denoiser
        objective = halving_objective(above, SCHEDULE, "v", "snr_truncated", w_range, steps, 2)
        _train(student, objective, settings.halve_updates, settings, counted(steps, "step"))


def exact_teacher(mixture: GaussianMixture, schedule: Schedule) -> DenoiserOf:
    """The guided denoiser of given labels and w in closed form, two evaluations a call."""

    def of(given: Condition) -> Denoiser:
        assert given.label is not None
        assert given.w is not None
        both = torch.cat([given.label, torch.full_like(given.label, mixture.num_classes)])
        return GuidedDenoiser(mixture.denoiser(schedule, both), given.w)

    return of


def distance(a: Tensor, b: Tensor) -> float:
    """The Wasserstein-1 distance of two clouds of n points, (n, D): the best pairing's mean."""
    cost = torch.cdist(a.double(), b.double())
    rows, columns = linear_sum_assignment(cost.numpy())
    return float(cost[rows, columns].mean())


def _truth(teacher: DenoiserOf, settings: ToySettings) -> Toy:
    """At w = 0 draws of the data; elsewhere the guided flow, finely integrated from other noise."""
    truth, floor = {}, {}
    for w in settings.w:
        draws = []
        for k in (1, 2):
            generator = torch.Generator().manual_seed(settings.seed + k * _SEED_STEP)
            if w == 0:
                x, _ = MIXTURE.sample(settings.points, generator)
            else:
                labels = torch.arange(settings.points) % MIXTURE.num_classes
                z_1 = _noise(settings, generator)
                denoiser = teacher(Condition(labels, torch.full((settings.points,), w)))
                x = RungeKutta4(SCHEDULE).sample(denoiser, z_1, uniform_grid(64))
            draws.append(x.flatten(1))
        truth[w], floor[w] = draws[0], distance(draws[0], draws[1])
    return Toy(truth, floor)


def _noise(settings: ToySettings, generator: torch.Generator) -> Tensor:
    return torch.randn(settings.points, 2, 1, 1, generator=generator, dtype=torch.float64)


def _sample(
    toy: Toy, model: str, denoiser_of: DenoiserOf, steps: int, settings: ToySettings
) -> None:
    """Add a model's clouds at each w; every cloud starts from the same noise."""
    labels = torch.arange(settings.points) % MIXTURE.num_classes
    for w in settings.w:
        z_1 = _noise(settings, torch.Generator().manual_seed(settings.seed)).float()
        denoiser = denoiser_of(Condition(labels, torch.full((settings.points,), w)))
        x = DDIM(SCHEDULE).sample(denoiser, z_1, uniform_grid(steps)).flatten(1)
        toy.clouds.append(Cloud(model, steps, w, x, distance(x, toy.truth[w])))


def _train(
    student: nn.Module, objective: Objective, updates: int, settings: ToySettings, name: str
) -> None:
    """Adam with a rate that falls linearly to 0, on fresh points in every update."""
    optimizer = torch.optim.Adam(student.parameters(), lr=settings.learning_rate, fused=True)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, updates)
    generator = torch.Generator().manual_seed(settings.seed + 3 * _SEED_STEP)
    with Progress(f"toy, {name}", updates, "updates") as progress:
        for _ in range(updates):
            x, labels = MIXTURE.sample(settings.batch_size, generator)
            loss = objective(student, Batch(x.float(), Condition(labels), generator, generator))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
            progress.advance()


def panels(toy: Toy) -> dict[str, list[CloudPanel]]:
    """{"teacher, w = 0": the truth, then each step count}, then the student's, for each w."""
    rows = {}
    for w, truth in toy.truth.items():
        true = CloudPanel("truth", f"truth\ntwo draws: W₁ {toy.floor[w]:.3f}", truth)
        for model in ("teacher", "student"):
            made = [
                CloudPanel(model, f"{formats.steps(c.steps)}\nW₁ {c.distance:.3f}", c.points)
                for c in toy.of(model, w)
            ]
            rows[f"{model}, {formats.weight(w)}"] = [true, *made]
    return rows
