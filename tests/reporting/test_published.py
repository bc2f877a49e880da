"""Published figures stand beside our own, with what differs in words, and are never ranked."""

from __future__ import annotations

import csv
import importlib.resources
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import yaml

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.inception import NAME
from pdpipe.params import ReportParams
from pdpipe.params.checks import PUBLISHED_SIDES
from pdpipe.reporting.beside_papers import PublishedSection, published_section
from pdpipe.reporting.measurements import measurements
from pdpipe.reporting.protocols import INCEPTION, PAPER_SETTINGS
from pdpipe.reporting.published import FIGURES, METHODS, read_published
from pdpipe.reporting.results import read_results

if TYPE_CHECKING:
    from conftest import Chain, MakeChain

ROOT = Path(__file__).parents[2]
HEADER = "dataset,method,w,steps,nfe,fid,is,source"
ROW = "cifar10,single_w,0.3,1,1,5.98,9.13,GD Table 2"


# The file.


def test_every_row_of_the_shipped_file_is_a_figure_with_its_source() -> None:
    with FIGURES.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    figures = read_published()
    assert len(figures) == len(rows) == 208
    for row, figure in zip(rows, figures, strict=True):
        assert (figure.dataset, figure.method) == (row["dataset"], row["method"])
        assert (figure.steps, figure.nfe) == (int(row["steps"]), int(row["nfe"]))
        assert f"{figure.fid:g}" == f"{float(row['fid']):g}"
        assert re.fullmatch(r"(GD|PD) Table [23]", figure.source)
    assert {figure.method for figure in figures} == set(METHODS)
    assert all(figure.w is None for figure in figures if figure.source == "PD Table 2")


def test_the_file_is_shipped_with_the_package() -> None:
    shipped = importlib.resources.files("pdpipe.reporting") / "published_results.csv"
    assert shipped.is_file()
    assert '"reporting/*.csv"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_its_data_sets_are_those_that_params_can_name() -> None:
    named = set(get_args(ReportParams.model_fields["published"].annotation)) - {"none"}
    assert named == {figure.dataset for figure in read_published()}
    assert named == set(PAPER_SETTINGS) == set(PUBLISHED_SIDES)
    assert INCEPTION == NAME


@pytest.mark.parametrize("name", sorted(PAPER_SETTINGS))
def test_the_presets_are_of_the_papers(name: str) -> None:
    preset = yaml.safe_load((ROOT / f"pdpipe/presets/{name}.yaml").read_text(encoding="utf-8"))
    assert preset["report"]["published"] == name
    assert preset["data"]["image_size"] == PUBLISHED_SIDES[name]
    papers = PAPER_SETTINGS[name]
    assert (papers.updates, papers.batch_size) == tuple(
        preset["teacher"][key] for key in ("updates", "batch_size")
    )


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (ROW.replace("5.98", "low"), "line 3, fid: Input should be a valid number"),
        (ROW.replace("5.98", "-5.98"), "line 3, fid: Input should be greater than 0"),
        (ROW.replace("5.98", "nan"), "line 3, fid: Input should be a finite number"),
        (ROW.replace("5.98", ""), "line 3, fid: "),
        (ROW.replace(",1,1,", ",1.5,1,"), "line 3, steps: Input should be a valid integer"),
        (ROW.replace("single_w", "single"), "line 3, method: Input should be 'guided_dist"),
        (ROW.replace("GD Table 2", ""), "line 3, source: "),
        (ROW.replace("GD Table 2", "a blog"), "line 3, source: String should match pattern"),
        (ROW, "line 3 repeats cifar10, single_w, 0.3, 1"),
        (ROW + ",more", "line 3, None: "),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(
    tmp_path: Path, row: str, complaint: str
) -> None:
    path = tmp_path / "figures.csv"
    path.write_text(f"{HEADER}\n{ROW}\n{row}\n", encoding="utf-8")
    with pytest.raises(EvaluationError) as caught:
        read_published(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is damaged ({complaint}")
    assert message.endswith("): install pdpipe again")
    assert "\n" not in message


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"does not exist: install pdpipe again"):
        read_published(tmp_path / "figures.csv")


# The section.


@pytest.fixture
def chain(make_chain: MakeChain) -> Chain:
    """A chain on images of CIFAR-10's size, at a weight that the papers lack too."""
    return make_chain(
        start=8,
        ladder=(4, 2, 1),
        w=(0.0, 0.3, 0.7),
        teacher_steps=(1, 2, 4, 8, 16),
        channels=3,
        image_size=32,
        published="cifar10",
    )


def section_of(chain: Chain) -> PublishedSection:
    results = read_results(chain.params, chain.results_dir)
    return published_section("cifar10", results, measurements(results))


def set_protocol(chain: Chain, **changes: Any) -> None:
    """Change the protocol of every model."""
    for path in (chain.results_dir / "metrics").glob("[ts]*.json"):
        name = f"metrics/{path.name}"
        chain.edit(name, lambda record: record["protocol"].update(changes))


def test_figures_stand_beside_ours_at_the_same_w_and_steps(chain: Chain) -> None:
    tables = section_of(chain).tables
    assert list(tables) == [0.0, 0.3]  # nothing was published at 0.7
    fid, score = tables[0.0]
    assert fid.title == "Published FID beside this chain's, w = 0"
    assert score.title == "Published IS beside this chain's, w = 0"
    rows = {row[0]: dict(zip(fid.headings, row, strict=True)) for row in fid.rows}
    assert list(rows) == ["16", "4", "2", "1"]
    four = rows["4"]
    assert four["student: this chain"].startswith(f"{chain.value('fid', 'student', 4, 0.0):.2f} ±")
    assert four["student: GD, deterministic"] == "3.18"
    assert four["student: GD, stochastic"] == "3.28"
    assert four["student: GD, single w"] == "3.14"
    assert four["student: PD, no labels"] == "3.00"
    assert rows["1"]["student: GD, naive"] == "212.20"
    assert rows["2"]["student: GD, single w"] == "–"
    assert rows["16"]["student: this chain"] == "–"
    teacher = chain.value("fid", "teacher", 16, 0.0)
    assert rows["16"]["teacher: this chain"].startswith(f"{teacher:.2f} ±")
    assert rows["16"]["teacher: GD, DDIM"] == "10.11"
    guided = {
        row[0]: dict(zip(tables[0.3][1].headings, row, strict=True)) for row in tables[0.3][1].rows
    }
    assert guided["1"]["student: GD, deterministic"] == "8.90"
    assert "PD" not in " ".join(tables[0.3][1].headings)
    assert "student: PD, no labels" not in score.headings  # it gives no IS


def test_every_table_says_its_sources_and_that_nothing_compares(chain: Chain) -> None:
    for table in section_of(chain).all_tables:
        assert "GD, deterministic: one student for every w, by DDIM (GD Table 2)" in table.note
        assert "GD: Meng et al. 2022, arXiv:2210.03142" in table.note
        assert "figures of another extractor do not compare at all" in table.note
    fid, score = section_of(chain).tables[0.0]
    assert "PD: Salimans & Ho 2022" in fid.note
    assert "Salimans" not in score.note


def test_the_words_name_what_differs_and_nothing_else(chain: Chain) -> None:
    assert section_of(chain).differences == [
        "Features: of digits-cnn here, of Inception-v3 there.",
        "Generated images: 1,500 a cell here, 50,000 there. FID falls as the count grows.",
        "Real images: 1,527 of the split train here; the data set has 50,000 for training.",
        "Pixels: uint8, rounded here; the code released with PD truncates.",
        "Intervals: none there.",
        "Evaluations at w = 0: the teacher takes one a step here; GD counts two.",
        "Network: 0.601 million parameters here, 60 million there.",
        "Training of the teacher: 101 updates of 10 images here, 800,000 of 128 there.",
        "The ladder starts at 8 steps here, at 1,024 there.",
        "Halvings: 103 to 105 updates each here; 50,000 there, and 100,000 for 2 steps and 1.",
        "Not known to us of the published figures: how labels were drawn (here: equal counts per "
        "class), in how many splits the IS was taken (here: 1 split), and whether predictions of x "
        "were clipped in sampling (here: clipped).",
    ]


def test_what_is_as_in_the_papers_is_not_called_different(chain: Chain) -> None:
    extractor = {"name": INCEPTION, "sha256": "ab" * 32, "features": 2048, "heldout_accuracy": None}
    set_protocol(chain, extractor=extractor, num_fake=50_000, num_real=50_000, sampler="heun")
    chain.edit("metrics/floor.json", lambda record: record["protocol"].update(extractor=extractor))
    chain.edit("metrics/teacher.json", lambda record: record["model"].update(parameters=60_100_000))
    chain.edit("cost/teacher.json", lambda cost: cost.update(updates=800_000, batch_size=128))
    for n in (4, 2, 1):
        updates = 50_000 if n == 4 else 100_000
        chain.edit(f"cost/student-{n}.json", lambda cost, k=updates: cost.update(updates=k))
    section = section_of(chain)
    kinds = [difference.partition(":")[0] for difference in section.differences]
    assert kinds == [
        "Pixels",
        "Intervals",
        "The teacher's sampler",
        "Evaluations at w = 0",
        "The ladder starts at 8 steps here, at 1,024 there.",
        "Not known to us of the published figures",
    ]
    assert section.verdict.startswith("Both have the features of Inception-v3.")
    assert "a small difference says nothing" in section.verdict
    assert section.tables[0.3][0].title == "Published FID beside this chain's, w = 0.3"


def test_a_model_without_labels_is_said_to_be_one(chain: Chain) -> None:
    def unlabelled(record: dict[str, Any]) -> None:
        for cell in record["cells"]:
            cell["accuracy"] = None

    chain.edit("metrics/teacher.json", unlabelled)
    assert "Labels: the model here takes none; GD's do." in section_of(chain).differences


# The report.


def test_the_report_has_the_section_only_where_a_data_set_is_named(
    chain: Chain, full_report: Path, tmp_path: Path
) -> None:
    chain.report(tmp_path)
    for name in ("table.md", "index.html", "table.tex"):
        assert "Published FID beside" in (tmp_path / name).read_text(encoding="utf-8")
        assert "ublished FID" not in (full_report / name).read_text(encoding="utf-8")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="#published"' in page
    assert "<li>Generated images: 1,500 a cell here, 50,000 there." in page
    assert "Published figures" not in (full_report / "index.html").read_text(encoding="utf-8")
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "## Published figures, CIFAR-10" in text
    assert "- Intervals: none there." in text
