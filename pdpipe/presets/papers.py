"""What the papers say of each data set that its params.yaml does not hold.

PD = Salimans & Ho 2022 and its released configurations; GD = Meng et al. 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

from pdpipe.params import Params

WEIGHTS = (0.0, 0.3, 1.0, 2.0, 4.0)  # GD, Table 2
STEPS = (16, 8, 4, 2, 1)  # GD, Table 2
GAMMAS = tuple(k / 10 for k in range(11))  # PD, Fig. 6
RATES = {"slow": 5e-5, "fast": 2e-4, "faster": 3e-4}  # PD, Fig. 13, beside the ladder's own 1e-4


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A data set as the papers treat it."""

    name: str
    start: int  # the step count from which PD's own ladder starts
    seeds: int  # over which PD averages
    prediction: str  # of PD's network
    labels: bool  # whether PD's models take labels; none of them is guided
    pairs: tuple[tuple[int, int], ...] = ()  # of classes, for style transfer
    classes: str = ""  # what these are


PAPERS = {
    "cifar10": Paper(
        name="CIFAR-10",
        start=8192,
        seeds=4,
        prediction="x",
        labels=False,
        pairs=((3, 5), (1, 9)),
        classes="cat to dog, automobile to truck; the paper has ImageNet only",
    ),
    "imagenet64": Paper(
        name="ImageNet 64x64",
        start=1024,
        seeds=1,
        prediction="x_eps",
        labels=True,
        pairs=((950, 945), (950, 941)),
        classes="orange to bell pepper and to acorn squash (GD, Figs. 4 and 12), by synset",
    ),
    "lsun-church128": Paper(
        name="LSUN church 128x128", start=1024, seeds=1, prediction="x_eps", labels=False
    ),
}


def weights_of(params: Params, wanted: tuple[float, ...] = WEIGHTS) -> list[float]:
    """Those of the wanted guidance weights that the chain is evaluated at."""
    return [w for w in wanted if w in params.evaluation.w]
