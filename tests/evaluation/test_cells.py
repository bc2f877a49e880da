"""Cells: made in parts, gone on with after an interruption, never measured twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from pdpipe.data import ImageSet
from pdpipe.errors import EvaluationError
from pdpipe.evaluation.cells import balanced_labels
from pdpipe.evaluation.evaluate import Evaluated, evaluate_model
from pdpipe.evaluation.observe import Instruments
from pdpipe.evaluation.sheets import load_paired, save_real, save_samples, sheet_mask
from pdpipe.evaluation.store import CellStore
from pdpipe.models import DiffusionModel
from pdpipe.params import EvaluationParams, parse_params
from pdpipe.tensor_files import load_tensors

Evaluate = Callable[..., Evaluated]
SAMPLES = 120


@pytest.fixture
def model(make_model: Callable[..., DiffusionModel]) -> DiffusionModel:
    return make_model({"w_frequencies": 4, "w_max": 4.0})


@pytest.fixture
def settings(raw: dict[str, Any]) -> EvaluationParams:
    raw["evaluation"] |= {"num_samples": SAMPLES, "paired_samples": 30, "batch_size": 7}
    return parse_params(raw).evaluation


@pytest.fixture
def evaluate(
    model: DiffusionModel, settings: EvaluationParams, instruments: Instruments, tmp_path: Path
) -> Evaluate:
    """Evaluates the model with a store of that name."""

    def run(store: str, places: list[tuple[int, float]] | None = None, seeds: int = 1) -> Evaluated:
        chosen = places or [(2, 0.0), (2, 1.0)]
        some = settings.model_copy(update={"seeds": seeds})
        return evaluate_model(model, instruments, some, chosen, CellStore(tmp_path / store))

    return run


@contextmanager
def counted(model: DiffusionModel, stop_at: int | None = None) -> Iterator[list[int]]:
    """The sizes of all calls of `model.sample` from now on; the call `stop_at` is interrupted."""
    calls: list[int] = []
    sample = model.sample

    def counting(labels: torch.Tensor, **rest: Any) -> torch.Tensor:
        if "first" in rest:  # not the warm-up
            if len(calls) == stop_at:
                raise KeyboardInterrupt
            calls.append(len(labels))
        return sample(labels, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "sample", counting)
        yield calls


def test_an_interrupted_cell_goes_on_at_its_last_part(
    evaluate: Evaluate, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdpipe.evaluation.cells.PART", 50)
    whole = evaluate("whole")
    with counted(model, stop_at=4) as calls, pytest.raises(KeyboardInterrupt):
        evaluate("broken")
    assert calls == [49, 49, 22, 49]  # of batches of 7
    with counted(model) as calls:
        resumed = evaluate("broken")
    assert calls == [49, 22]
    assert resumed.metrics == whole.metrics
    with counted(model) as calls:
        again = evaluate("broken")
    assert calls == []
    assert whole.earlier_seconds == 0
    assert 0 < resumed.earlier_seconds < again.earlier_seconds
    assert again.earlier_seconds == pytest.approx(sum(cost.seconds for cost in resumed.costs))
    for one, other in zip(resumed.cells, whole.cells, strict=True):
        assert torch.equal(one.sheet, other.sheet)
        assert torch.equal(one.paired, other.paired)


def test_the_parts_do_not_matter(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate("whole")
    monkeypatch.setattr("pdpipe.evaluation.cells.PART", 35)  # 5 batches of 7, as in the whole
    parts = evaluate("parts")
    for one, other in zip(parts.metrics.cells, whole.metrics.cells, strict=True):
        plain = other.model_dump(exclude_none=True)
        assert one.model_dump(exclude_none=True) == pytest.approx(plain, rel=1e-4)
    assert torch.equal(parts.cells[0].sheet, whole.cells[0].sheet)
    assert len(parts.cells[0].paired) == 30


def test_another_w_measures_that_one_alone(evaluate: Evaluate, model: DiffusionModel) -> None:
    first = evaluate("kept")
    with counted(model) as calls:
        second = evaluate("kept", [(2, 0.0), (2, 0.5), (2, 1.0)])
    assert calls == [SAMPLES]
    assert [cell for cell in second.metrics.cells if cell.w != 0.5] == first.metrics.cells
    assert [cost for cost in second.costs if cost.w != 0.5] == first.costs
    with counted(model) as calls:
        assert evaluate("kept", [(2, 0.0), (2, 0.5), (2, 1.0)]).metrics == second.metrics
    assert calls == []


def test_more_seeds_measure_the_new_ones_alone(
    evaluate: Evaluate, model: DiffusionModel, tmp_path: Path
) -> None:
    places = [(9, 1.0), (2, 1.0)]
    once = evaluate("kept", places)
    assert [(cell.seeds, cell.se_dof) for cell in once.metrics.cells] == [(1, 9), (1, 9)]
    with counted(model) as calls:
        found = evaluate("kept", places, seeds=3)
    assert calls == [SAMPLES, SAMPLES]
    many, few = found.metrics.cells
    assert many == once.metrics.cells[0]  # more than 8 steps
    assert (few.seeds, few.se_dof, found.metrics.protocol.seeds) == (3, 2, 3)
    store = CellStore(tmp_path / "kept")
    each = [kept for repeat in range(3) if (kept := store.cell(2, 1.0, repeat)) is not None]
    fids = torch.tensor([kept.measured["fid"] for kept in each], dtype=torch.float64)
    assert len(fids.unique()) == 3
    assert fids[0] == pytest.approx(once.metrics.cells[1].fid)
    assert few.fid == pytest.approx(float(fids.mean()), rel=1e-12)
    assert few.fid_se == pytest.approx(float(fids.std()) / 3**0.5, rel=1e-12)
    assert few.nearest_median == pytest.approx(
        sum(kept.measured["nearest_median"] for kept in each) / 3, rel=1e-12
    )
    # The images that are shown and paired are the first seed's.
    assert few.paired_mse == once.metrics.cells[1].paired_mse
    assert torch.equal(found.cells[1].sheet, once.cells[1].sheet)
    seconds = sum(kept.seconds for kept in each)
    assert found.costs[1].seconds == pytest.approx(seconds, rel=1e-12)
    assert found.costs[1].seconds_per_image == pytest.approx(seconds / (3 * SAMPLES), rel=1e-12)
    with counted(model) as calls:
        assert evaluate("kept", places).metrics == once.metrics
    assert calls == []


def test_seeds_that_were_interrupted_go_on(evaluate: Evaluate, model: DiffusionModel) -> None:
    whole = evaluate("whole", [(2, 1.0)], seeds=3)
    with counted(model, stop_at=2), pytest.raises(KeyboardInterrupt):
        evaluate("broken", [(2, 1.0)], seeds=3)
    with counted(model) as calls:
        assert evaluate("broken", [(2, 1.0)], seeds=3).metrics == whole.metrics
    assert calls == [SAMPLES]


def flipped(path: Path, place: int) -> None:
    """The file with one bit changed."""
    whole = bytearray(path.read_bytes())
    whole[place % len(whole)] ^= 1 << place % 8
    path.write_bytes(whole)


def test_a_damaged_cell_is_made_again(
    evaluate: Evaluate,
    model: DiffusionModel,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    first = evaluate("kept")
    damaged, other = sorted((tmp_path / "kept").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-5])
    other.write_text("")
    with counted(model) as calls:
        assert evaluate("kept").metrics == first.metrics
    assert calls == [SAMPLES, SAMPLES]
    assert f"{damaged} is damaged (" in capfd.readouterr().err


@pytest.mark.parametrize("store", ["cell", "part"])
def test_a_flipped_bit_is_never_published(
    store: str,
    evaluate: Evaluate,
    model: DiffusionModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether in a figure, an image, a feature or a name: what it is in is made again."""
    monkeypatch.setattr("pdpipe.evaluation.cells.PART", 70)
    whole = evaluate("whole", [(1, 1.0)])
    for place in (0, 9, 70, 150, 333, 400, 1500, 20_000, -1):
        if store == "part":
            with counted(model, stop_at=1), pytest.raises(KeyboardInterrupt):
                evaluate("damaged", [(1, 1.0)])
        else:
            evaluate("damaged", [(1, 1.0)])
        (path,) = (p for p in (tmp_path / "damaged").rglob("*.safetensors"))
        flipped(path, place)
        again = evaluate("damaged", [(1, 1.0)])
        assert again.metrics == whole.metrics
        assert torch.equal(again.cells[0].sheet, whole.cells[0].sheet)
        assert torch.equal(again.cells[0].paired, whole.cells[0].paired)
        shutil.rmtree(tmp_path / "damaged")


def test_cells_of_other_models_or_code_are_forgotten(tmp_path: Path) -> None:
    for name in ("old", "older", "new"):
        (tmp_path / name).mkdir()
    CellStore(tmp_path / "new").forget_others()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_images_that_are_not_finite_are_no_cell(evaluate: Evaluate, model: DiffusionModel) -> None:
    with torch.no_grad():
        next(model.network.parameters()).fill_(torch.nan)
    with pytest.raises(EvaluationError, match=r"not finite at 2 steps, w = 0: train it again"):
        evaluate("broken")


def test_the_sheet_holds_the_first_images_of_each_class(
    evaluate: Evaluate, model: DiffusionModel, tmp_path: Path
) -> None:
    found = evaluate("sheets")
    path = tmp_path / "samples.safetensors"
    save_samples(path, found.cells, found.classes, SAMPLES // 10, found.at(2))
    from safetensors.torch import load_file

    tensors = load_file(path)
    assert tensors["sheet/2"].shape == (2, 10, 8, 1, 8, 8)
    assert tensors["paired"].shape == (2, 30, 1, 8, 8)
    again = ((tensors["paired"].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    for row, column in ((0, 0), (3, 1), (9, 2)):  # sample k has class k % 10
        assert torch.equal(tensors["sheet/2"][1, row, column], again[1, 10 * column + row])
    assert torch.equal(load_paired(path, [1.0])[1.0], tensors["paired"][1])
    with pytest.raises(EvaluationError, match=r"was made for other weights w \(\[0.0, 1.0\], not"):
        load_paired(path, [2.0])
    for place in (0, 200, 5000, -1):
        before = path.read_bytes()
        flipped(path, place)
        with pytest.raises(EvaluationError, match=r"samples.safetensors is damaged \(.*delete it"):
            load_paired(path, [1.0])
        path.write_bytes(before)


@pytest.mark.parametrize(("counts", "columns"), [((9, 12), 8), ((2, 5), 2), ((0, 3), 0)])
def test_real_images_stand_by_class(counts: tuple[int, int], columns: int, tmp_path: Path) -> None:
    labels = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)])
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    real = ImageSet(images=images[order], labels=labels[order], classes=("a", "b"), digest="")
    save_real(tmp_path / "real.safetensors", real)
    tensors, about = load_tensors(tmp_path / "real.safetensors", "sheet")
    assert about == {"classes": ["a", "b"]}
    assert tensors["real"].shape == (2, columns, 3, 2, 2)
    for k, row in enumerate(tensors["real"]):
        own = real.images[real.labels == k]
        assert torch.equal(row, own[:columns])


@pytest.mark.parametrize(
    ("samples", "classes", "shown"), [(120, 10, 80), (40, 10, 40), (3000, 100, 80), (9, 1, 8)]
)
def test_a_sheet_is_of_few_classes_and_columns(samples: int, classes: int, shown: int) -> None:
    mask, labels = sheet_mask(samples, classes), balanced_labels(samples, classes)
    assert int(mask.sum()) == shown
    assert int(labels[mask].max()) < 10
    assert torch.bincount(labels[mask]).unique().numel() == 1


@pytest.mark.parametrize(
    ("numbers", "batch", "parts"),
    [(64 * 60, 7, [56, 56, 8]), (64 * 60, 80, [60, 60]), (2**30, 7, [120])],
)
def test_large_images_are_made_in_smaller_parts(
    numbers: int,
    batch: int,
    parts: list[int],
    model: DiffusionModel,
    settings: EvaluationParams,
    instruments: Instruments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pdpipe.evaluation.cells.PART_NUMBERS", numbers)
    some = settings.model_copy(update={"batch_size": batch})
    with counted(model) as calls:
        evaluate_model(model, instruments, some, [(1, 0.0)], CellStore(tmp_path))
    assert calls == parts
