"""A study of encoders: its params, its measurements on tiny models, and its section."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from torch.testing import assert_close

from pdpipe.data import ImageSet, to_unit
from pdpipe.errors import EvaluationError, ParamsError
from pdpipe.files import digest_file
from pdpipe.models import DiffusionModel, decode_noise, encode_images, sample_noise
from pdpipe.networks import Classifier, ClassifierConfig
from pdpipe.params import Params, ReconstructionParams, TransferParams, read_params, read_study
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.studies import read_sections, reconstruction
from pdpipe.reporting.studies.section import Study
from pdpipe.studies.coding import Judge, Rig, image_errors, mean_and_error
from pdpipe.studies.reconstruction import (
    Row,
    measure_reconstruction,
    measure_transfer,
    save_pictures,
)

ROOT = Path(__file__).parents[2]
OWN = ROOT / "stages/encoder/params.yaml"
TEACHER, STUDENT, ENCODER = "teacher", "student", "encoder"
ASKED = {
    "images": 12,
    "w": 0.0,
    "encoders": {
        "a": {"method": "distilled", "model": ENCODER, "steps": [2]},
        "b": {"method": "reversed", "model": TEACHER, "steps": [2, 4]},
    },
    "decoders": {"s": {"model": STUDENT, "steps": 2}, "t": {"model": TEACHER, "steps": 3}},
}
TRANSFER = {
    "pairs": [[1, 7], [3, 8]],
    "w": [0.0, 2.0],
    "encoder": {"model": ENCODER, "steps": 2},
    "decoder": {"model": STUDENT, "steps": 2},
    "images": 5,
    "shown": 3,
}


def test_the_studys_own_params_are_valid() -> None:
    study = read_study(OWN, read_params(ROOT / "pdpipe/presets/digits.yaml"))
    assert study.arms == {}
    assert study.reconstruction is not None
    steps = {e.method: [] for e in study.reconstruction.encoders.values()}
    for encoder in study.reconstruction.encoders.values():
        steps[encoder.method] += encoder.steps
    assert len(steps) == 3
    assert all({1, 2, 4} <= {*found} for found in steps.values())  # rivals at equal evaluations


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("reconstruction", None, "arms and reconstruction are both given or both missing"),
        ("baseline", "", "baseline is missing: name the method of encoding"),
        ("baseline", "distiled encoder", "did you mean 'distilled encoder'?"),
        ("reconstruction.images", 0, "reconstruction.images: "),
        ("reconstruction.imags", 1, "unknown key reconstruction.imags: did you mean 'images'?"),
        ("reconstruction.decoders.student.model", "models/student-3.safetensors", "no model: did"),
        ("reconstruction.decoders", {}, "reconstruction.decoders: "),
        ("reconstruction.encoders.teacher.steps", [1, 1], "a second encoding of 1 step:"),
        ("reconstruction.encoders.teacher.step", 1, "did you mean 'steps'?"),
        ("transfer.pairs", [[1]], "transfer.pairs.0: "),
        ("transfer.pairs", [[1, 7], [1, 7]], "transfer.pairs repeats a value"),
        ("transfer.w", [0.0, 0.0], "transfer.w repeats a value"),
        ("transfer.decoder.model", "../x", "transfer.decoder.model is ../x, which is no model"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    tmp_path: Path, key: str, value: object, complaint: str
) -> None:
    raw = yaml.safe_load(OWN.read_text())
    place = raw
    *sections, name = key.split(".")
    for section in sections:
        place = place[section]
    place[name] = value
    path = tmp_path / "encoder/params.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamsError) as error:
        read_study(path, read_params(ROOT / "pdpipe/presets/digits.yaml"))
    assert str(error.value).startswith(f"{path}: ")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def rig(make_model: Callable[..., DiffusionModel], tiny_params: Params) -> Rig:
    """A random teacher, student and encoder, and a random judge."""
    takes_w = {"w_frequencies": 4, "w_max": 4.0}
    encoder = {"kind": "encoder", "name": "encoder-2", "steps": 2}
    judge = Classifier(ClassifierConfig(channels=1, num_classes=10, features=8, dropout=0.0))
    return Rig(
        models={
            TEACHER: make_model(),
            STUDENT: make_model(takes_w, seed=1),
            ENCODER: make_model(takes_w, seed=2, **encoder),
        },
        judge=Judge(judge.eval(), "random", "0" * 64),
        settings=tiny_params.evaluation,
    )


def test_rows_are_errors_of_images_and_their_paired_differences(
    rig: Rig, heldout_digits: ImageSet
) -> None:
    asked = ReconstructionParams.model_validate(ASKED)
    rows = measure_reconstruction(rig, heldout_digits, asked, "distilled")
    found = {(row.decoder, row.method, row.nfe): row for row in rows}
    assert len(found) == 2 * (1 + 1 + 2)
    x, labels = to_unit(heldout_digits.images[:12]), heldout_digits.labels[:12]
    errors = {}
    for name, steps in ((ENCODER, 2), (TEACHER, 2)):
        z_1 = encode_images(rig.models[name], x, labels, steps=steps)
        back = decode_noise(rig.models[STUDENT], z_1, labels, steps=2).clamp(-1, 1)
        errors[name] = (back - x).double().pow(2).mean(dim=(1, 2, 3))
    distilled = found["student-4, 2 steps", "distilled", 2]
    rival = found["student-4, 2 steps", "reversed", 2]
    assert distilled.mse == pytest.approx(float(errors[ENCODER].mean()), rel=1e-5)
    assert (distilled.difference, distilled.images) == (None, 12)
    differences = errors[TEACHER] - errors[ENCODER]
    assert rival.difference == pytest.approx(float(differences.mean()), rel=1e-4)
    assert rival.difference_se == pytest.approx(float(differences.std() / 12**0.5), rel=1e-4)
    assert found["student-4, 2 steps", "reversed", 4].difference is None  # nothing at 4
    (fresh,) = {row.z_rms for row in rows if row.nfe == 0}
    noise = sample_noise((1, 8, 8), rig.settings.seed, 0, 12)
    assert fresh == pytest.approx(float(noise.square().mean().sqrt()))


def test_a_transferred_image_is_measured_against_its_source(
    rig: Rig, heldout_digits: ImageSet
) -> None:
    asked = TransferParams.model_validate(TRANSFER)
    rows, shown = measure_transfer(rig, heldout_digits, asked)
    assert [(row.source, row.target, row.w) for row in rows[::3]] == [
        ("1", "7", 0.0), ("1", "7", 2.0), ("3", "8", 0.0), ("3", "8", 2.0),
    ]  # fmt: skip
    assert [[len(block) for block in row] for row in shown] == [[3, 3, 3]] * 2
    threes = heldout_digits.images[heldout_digits.labels == 3][:5]
    assert torch.equal(shown[1][0], threes[:3])
    x = to_unit(threes)
    z_1 = encode_images(rig.models[ENCODER], x, torch.full((5,), 3), steps=2)
    became = decode_noise(rig.models[STUDENT], z_1, torch.full((5,), 8), w=2.0, steps=2)
    distance = image_errors(x, became.clamp(-1, 1))
    kept, another, fresh = rows[-3:]
    assert kept.mse == pytest.approx(float(distance.mean()), rel=1e-5)
    before = [4, 0, 1, 2, 3]  # each is compared with what the one before it became
    other = image_errors(x, became[before].clamp(-1, 1))
    assert another.mse == pytest.approx(float(other.mean()), rel=1e-5)
    assert another.difference == pytest.approx(float((other - distance).mean()), rel=1e-4)
    assert (fresh.nfe, fresh.images) == (0, 5)
    assert fresh.difference == pytest.approx(fresh.mse - kept.mse, rel=1e-4)


def test_a_class_without_images_is_refused(rig: Rig, heldout_digits: ImageSet) -> None:
    none = ImageSet(
        images=heldout_digits.images[:0],
        labels=heldout_digits.labels[:0],
        classes=heldout_digits.classes,
        digest="",
    )
    with pytest.raises(EvaluationError, match="no held-out images of class 1: take another class"):
        measure_transfer(rig, none, TransferParams.model_validate(TRANSFER))


def test_one_value_has_no_standard_error() -> None:
    assert mean_and_error(torch.tensor([2.0])) == (2.0, None)
    mean, error = mean_and_error(torch.tensor([1.0, 3.0, 5.0], dtype=torch.float64))
    assert (mean, error) == (3.0, pytest.approx(2 / 3**0.5))
    a, b = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 0.5)
    assert_close(image_errors(a, b), torch.full((2,), 0.25, dtype=torch.float64))


SHARED = {"judge": "digits-cnn", "seed": 1, "clip": True, "images": 200, "accuracy": 1.0}
FRESH = {"method": "no encoder: fresh noise", "encoder": "", "steps": 0, "nfe": 0}


def row(part: str, method: str, nfe: int, mse: float, **more: object) -> dict[str, object]:
    place = {"part": part, "method": method, "encoder": "some", "steps": nfe, "nfe": nfe}
    measured = {"mse": mse, "mse_se": 0.001, "z_rms": 0.8, "w": 0.0, "decoder": "student-2"}
    return {**SHARED, **place, **measured, **more}


def fabricated(**changes: object) -> pd.DataFrame:
    """Rivals above, not separated and below at 1, 2 and 4 evaluations; style kept at w = 0 only."""
    rows = [row("reconstruction", "", 0, 0.3) | FRESH]
    for n in (1, 2, 4):
        rows.append(row("reconstruction", "distilled", n, 0.05))
        difference = {1: 0.05, 2: 0.01, 4: -0.04}[n]
        rows.append(
            row("reconstruction", "reversed", n, 0.05 + difference,
                difference=difference, difference_se=0.008)
        )  # fmt: skip
    for w, kept in ((0.0, 0.2), (2.0, 0.002)):
        pair = {"source": "1", "target": "7", "w": w}
        rows.append(row("transfer", "style transfer", 2, 0.4, **pair, accuracy=0.9 + w / 20))
        difference = {"difference": kept, "difference_se": 0.01}
        another = "style transfer of another source"
        rows.append(row("transfer", another, 2, 0.4 + kept, **pair, **difference))
        rows.append(row("transfer", "", 0, 0.4 + kept, **pair, **difference) | FRESH)
    frame = pd.DataFrame(rows, columns=list(reconstruction.COLUMNS)).assign(**changes)
    return frame.astype(reconstruction.COLUMNS)


def as_study(frame: pd.DataFrame) -> Study:
    return Study(baseline="distilled", frame=frame)


def test_every_column_of_a_row_is_in_the_table() -> None:
    assert {*Row.model_fields, "judge", "seed", "clip"} == {*reconstruction.COLUMNS}


def test_the_verdict_follows_the_paired_intervals(measured: Measurements) -> None:
    said = reconstruction.section(as_study(fabricated()), measured).verdict
    assert said == (
        "With the distilled, the error of reconstruction is lower than with the other methods at 1 "
        "evaluation (0.50 times); at more, it is higher in 1 of 2 comparisons (5.00 "
        "times) and not separated in 1; of images decoded as another class, 90 % to 100 % are "
        "judged to be of it, and their distance to their source is smaller than that of images "
        "made without it in 2 of 4 comparisons (typically 0.67 times, 0.67 to 0.67) and not "
        "separated in 2."
    )
    wide = reconstruction.section(as_study(fabricated(difference_se=1.0)), measured).verdict
    assert "the error of reconstruction is not separated in all 3 comparisons" in wide
    alone = fabricated(difference_se=float("nan"), mse_se=float("nan"), images=1)
    single = reconstruction.section(as_study(alone), measured)
    assert not {"lower", "higher", "smaller", "larger"} & {*single.verdict.split()}
    assert "±" not in single.tables[0].rows[0][1]


def test_tables_have_a_figure_for_each_cell(measured: Measurements) -> None:
    first, transfer = reconstruction.section(as_study(fabricated()), measured).tables
    cells = {name: rest for name, *rest in first.rows}
    assert first.columns == ["", "1", "2", "4"]
    assert cells["distilled"] == ["0.0500 ± 0.0020"] * 3
    assert cells["reversed, less distilled"][2] == "-0.0400 ± 0.0158"
    assert cells["reversed, rms of z"] == ["0.80"] * 3
    assert "from fresh noise the error is 0.3000 ± 0.0020" in first.note
    assert transfer.rows[0] == [
        "1 → 7, w = 0", "90.0 %", "100.0 %", "0.4000 ± 0.0020", "0.6000 ± 0.0020",
        "0.2000 ± 0.0197", "0.6000 ± 0.0020", "0.2000 ± 0.0197",
    ]  # fmt: skip


def test_without_a_rival_at_equal_evaluations_nothing_is_compared(measured: Measurements) -> None:
    frame = fabricated()
    frame = frame[(frame["part"] == "reconstruction") & (frame["method"] != "reversed")]
    section = reconstruction.section(as_study(frame), measured)
    assert section.verdict == "No method encodes with as many evaluations as the distilled."
    assert len(section.tables) == 1


MADE_FROM = {"models/teacher.safetensors": "a" * 64, "extractor": "e" * 64}


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """stages/studies.json with one study of encoders, its table and its picture beside it."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    fabricated().to_csv(folder / "table.csv", index=False)
    blocks = [[torch.full((3, 1, 8, 8), 50 * k, dtype=torch.uint8) for k in range(2)]]
    save_pictures(
        folder / "images.safetensors",
        [*blocks, [blocks[0][0][:2]] * 2],
        title="Style",
        shows="images",
        rows=["1 → 7", "3 → 8"],
        columns=["source", "w = 0"],
    )
    entry = {"kind": "reconstruction", "title": "Encoders", "question": "How well?"}
    entry |= {"baseline": "distilled", "made_from": MADE_FROM}
    entry |= {"table_sha256": digest_file(folder / "table.csv")}
    entry |= {"images_sha256": digest_file(folder / "images.safetensors")}
    (tmp_path / "studies.json").write_text(json.dumps({"encoder": entry}))
    return tmp_path / "studies.json"


def test_the_section_and_its_picture_are_read_from_the_files(
    studies: Path, measured: Measurements
) -> None:
    (section,), _ = read_sections(studies, measured, MADE_FROM)
    assert (section.name, section.title, len(section.tables)) == ("encoder", "Encoders", 2)
    assert section.grid is not None
    assert (section.grid.rows, section.grid.columns) == (["1 → 7", "3 → 8"], ["source", "w = 0"])
    assert section.grid.blocks[0][1].shape == (32, 2 * 32 + 2, 4)  # two images: as many as fewest
    assert section.grid.blocks[0][1][0, 0].tolist() == [50, 50, 50, 255]


def test_another_chains_study_and_a_damaged_picture_are_refused(
    studies: Path, measured: Measurements
) -> None:
    other = MADE_FROM | {"extractor": "f" * 64}
    assert read_sections(studies, measured, other) == ([], ["encoder"])
    picture = studies.parent / "encoder/images.safetensors"
    again = "run `pdpipe reconstruct encoder`"

    def refused() -> str:
        with pytest.raises(EvaluationError) as error:
            read_sections(studies, measured, MADE_FROM)
        return str(error.value)

    picture.write_bytes(b"no picture")
    assert refused() == f"{picture} is not the picture that its study wrote: {again}"
    entries: dict[str, Any] = json.loads(studies.read_text())
    damaged = copy.deepcopy(entries)
    damaged["encoder"]["images_sha256"] = digest_file(picture)
    studies.write_text(json.dumps(damaged))
    assert refused().startswith(f"{picture} is damaged (")
    picture.unlink()
    assert refused() == f"{picture} does not exist: {again}"
    entries["encoder"]["kind"] = "unheard of"
    studies.write_text(json.dumps(entries))
    assert "studies.json is damaged (there is no kind 'unheard of' of study): write {}" in refused()
