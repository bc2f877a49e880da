"""How this chain's figures were made, against what is known of the published ones, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pdpipe.evaluation.records import ROUNDED, TrainingCostRecord
from pdpipe.reporting import formats
from pdpipe.reporting.results import Results

INCEPTION = "inception-v3-compat"  # the extractor whose features are those of publications
NUM_FAKE = 50_000
FIRST_STEPS = 1024  # from which GD's ladders start
_SAME_SIZE = 0.05  # networks whose parameters differ by no more of them are of one size


@dataclass(frozen=True, kw_only=True)
class PaperSettings:
    """A data set, and what the papers' models of it took.

    Sources: the configurations released with PD (network, batch), the papers' texts (updates), as
    in the presets.
    """

    title: str
    num_train: int  # images that the data set has for training
    parameters: int  # of the network
    updates: int  # of the teacher
    batch_size: int


PAPER_SETTINGS = {
    "cifar10": PaperSettings(
        title="CIFAR-10",
        num_train=50_000,
        parameters=60_004_099,
        updates=800_000,
        batch_size=128,
    ),
    "imagenet64": PaperSettings(
        title="ImageNet 64×64",
        num_train=1_281_167,
        parameters=295_905_222,
        updates=550_000,
        batch_size=2048,
    ),
}


def halving_updates(steps: int) -> int:
    """The updates that the papers give to the halving down to `steps` steps."""
    return 100_000 if steps <= 2 else 50_000


def differences(results: Results, papers: PaperSettings) -> list[str]:
    """A sentence for each way in which this chain's figures were made that is not the papers'."""
    return [*_measured(results, papers), *_made(results, papers), _unknown(results)]


def _measured(results: Results, papers: PaperSettings) -> Iterator[str]:
    """How the images were measured."""
    protocol, count = results.teacher.protocol, formats.count
    if protocol.extractor.name != INCEPTION:
        yield f"Features: of {protocol.extractor.name} here, of Inception-v3 there."
    if protocol.num_fake != NUM_FAKE:
        yield (
            f"Generated images: {count(protocol.num_fake)} a cell here, {count(NUM_FAKE)} there. "
            "FID falls as the count grows."
        )
    if protocol.num_real != papers.num_train:
        yield (
            f"Real images: {count(protocol.num_real)} of the split {protocol.real_split} here; the "
            f"data set has {count(papers.num_train)} for training."
        )
    if protocol.quantization == ROUNDED:
        yield f"Pixels: {ROUNDED} here; the code released with PD truncates."
    yield "Intervals: none there."


def _made(results: Results, papers: PaperSettings) -> Iterator[str]:
    """How the models were trained and sampled."""
    teacher, count = results.teacher, formats.count
    if teacher.protocol.sampler != "ddim":
        sampler = formats.sampler(teacher.protocol.sampler)
        yield f"The teacher's sampler: {sampler} here, DDIM there."
    if teacher.cells[0].accuracy is None:
        yield "Labels: the model here takes none; GD's do."
    if any(cell.w == 0 and cell.nfe == cell.steps for cell in teacher.cells):
        yield "Evaluations at w = 0: the teacher takes one a step here; GD counts two."
    if abs(teacher.model.parameters / papers.parameters - 1) > _SAME_SIZE:
        yield (
            f"Network: {teacher.model.parameters / 1e6:.3g} million parameters here, "
            f"{papers.parameters / 1e6:.3g} million there."
        )
    _, training, first, *halvings = results.training
    if (training.updates, training.batch_size) != (papers.updates, papers.batch_size):
        yield (
            f"Training of the teacher: {count(training.updates)} updates of "
            f"{count(training.batch_size)} images here, {count(papers.updates)} of "
            f"{count(papers.batch_size)} there."
        )
    if (start := _steps(first)) != FIRST_STEPS:
        yield f"The ladder starts at {count(start)} steps here, at {count(FIRST_STEPS)} there."
    if any(cost.updates != halving_updates(_steps(cost)) for cost in halvings):
        spent = sorted(cost.updates for cost in halvings)
        few, many = count(spent[0]), count(spent[-1])
        yield (
            f"Halvings: {few if few == many else f'{few} to {many}'} updates each here; "
            f"{count(halving_updates(4))} there, and {count(halving_updates(2))} for 2 steps and 1."
        )


def _unknown(results: Results) -> str:
    protocol = results.teacher.protocol
    clipped = "clipped" if protocol.clip else "not clipped"
    splits = "1 split" if protocol.is_splits == 1 else f"{protocol.is_splits} splits"
    return (
        "Not known to us of the published figures: how labels were drawn (here: "
        f"{protocol.balance}), in how many splits the IS was taken (here: {splits}), and whether "
        f"predictions of x were clipped in sampling (here: {clipped})."
    )


def _steps(cost: TrainingCostRecord) -> int:
    """The step count of the student that a stage trained."""
    return int(cost.stage.rpartition("-")[2])
