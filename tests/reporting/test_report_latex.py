"""The LaTeX says what the Markdown says, and nothing in it is taken for a command."""

import os
import re
import shutil
import subprocess

import pytest

from pdpipe.reporting.latex import escape, paper_latex, to_latex
from pdpipe.reporting.measurements import measurements
from pdpipe.reporting.results import read_results
from pdpipe.reporting.studies.section import StudySection
from pdpipe.reporting.tables import Table

ENGINES = ("pdflatex", "xelatex", "lualatex", "tectonic")


@pytest.fixture(scope="module")
def latex(full_report) -> str:
    return (full_report / "table.tex").read_text(encoding="utf-8")


def floats(text):
    """Each table by its label: (caption, rows of cells), rules left out."""
    found = {}
    for block in re.findall(r"\\begin\{table\}\n(.*?)\\end\{table\}\n", text, re.DOTALL):
        body = re.search(r"\\begin\{tabular\}\{(lr*)\}\n(.*)\\end\{tabular\}", block, re.DOTALL)
        lines = [line for line in body[2].splitlines() if line.endswith(r" \\")]
        rows = [line.removesuffix(r" \\").split(" & ") for line in lines]
        for row in rows:
            spans = [int(n) - 1 for cell in row for n in re.findall(r"\\multicolumn\{(\d+)", cell)]
            assert len(row) + sum(spans) == len(body[1])
        label, caption = (
            re.search(rf"^\\{name}\{{(.*)\}}$", block, re.MULTILINE)[1]
            for name in ("label", "caption")
        )
        assert label not in found
        assert re.findall(r"\\(toprule|bottomrule)", block) == ["toprule", "bottomrule"]
        found[label] = (caption, rows)
    return found


def test_every_table_has_the_protocol_in_its_caption(latex):
    captions = [caption for caption, _ in floats(latex).values()]
    # fewest steps, savings, eight metrics, one a w, rungs, coupling, nearest
    assert len(captions) == 2 + 8 * 2 + 3 + 3
    for caption in captions:
        for words in (
            *("Features of digits-cnn (sha256 abababababab)", "1,500 generated images a cell"),
            *("equal counts per class", "1,527 real images of the split train", "DDIM", "seed 1"),
            r"$\pm$ is the 95 \% interval (jackknife over 10 groups",
        ):
            assert words in caption


def test_figures_stand_with_their_intervals(full_chain, latex):
    _, rows = floats(latex)["tab:students-fid"]
    assert rows[0] == ["steps", "$w = 0$", "$w = 0.3$", "$w = 2$"]
    for row, n in zip(rows[1:], (8, 4, 2, 1), strict=False):
        assert row[0] == str(n)
        for w, cell in zip(full_chain.w, row[1:], strict=True):
            assert cell.startswith(rf"{full_chain.value('fid', 'student', n, w):.2f} $\pm$ 0.0")
    assert rows[-1][0] == "teacher, 16"


def test_what_depends_on_the_machine_is_not_in_a_paper(make_chain, tmp_path, latex):
    caption, (groups, headings, *_) = floats(latex)["tab:student-and-teacher-at-w-0-3"]
    assert caption.startswith("Student and teacher at $w = 0.3$.")
    assert groups[1:] == [
        r"\multicolumn{3}{c}{FID}",
        r"\multicolumn{2}{c}{IS}",
        r"\multicolumn{2}{c}{paired error}",
    ]
    assert headings[:4] == [
        *("steps", "student"),
        r"\shortstack[r]{teacher,\\same steps}",
        r"\shortstack[r]{teacher,\\equal NFE}",
    ]
    chain = make_chain()
    texts = []
    for seconds in (1.0, 2.0):
        chain.edit(
            "cost/evaluate-teacher.json",
            lambda cost, s=seconds: [cell.update(seconds_per_image=s) for cell in cost["cells"]],
        )
        chain.report(tmp_path)
        texts.append([(tmp_path / f"table.{kind}").read_text() for kind in ("tex", "csv", "md")])
    (tex, csv, md), (other_tex, other_csv, other_md) = texts
    assert (tex, csv) == (other_tex, other_csv)
    assert md != other_md


def test_times_are_left_out_of_the_savings(latex):
    saved = {label: rows for label, (_, rows) in floats(latex).items() if "saved" in label}
    assert list(saved) == ["tab:saved-at-equal-quality-network-evaluations"]


def test_every_table_of_a_study_is_there(make_chain):
    table = Table(title="FID of each method", columns=["", "÷ 2"], rows=[["1 → 7", "≥ 3×"]])
    sections = [StudySection(verdict="?", tables=[table], title=title) for title in ("One", "Two")]
    chain = make_chain()
    results = read_results(chain.params, chain.results_dir)
    m = measurements(results)
    found = floats(paper_latex(m, results.rungs, "Protocol.", [], sections))
    caption, rows = found["tab:two-fid-of-each-method"]
    assert caption.startswith("Two: FID of each method.")
    assert rows == [["", r"$\div$ 2"], [r"1 $\rightarrow$ 7", r"$\geq$ 3$\times$"]]
    assert "tab:one-fid-of-each-method" in found


def test_its_signs_are_those_of_the_default_fonts(latex):
    assert latex.isascii()


NASTY = "50 % of $x_1$ & {a} #2 ~ ^ \\cmd <b> | [z]"


def test_escaped():
    assert escape("a_b & 5 %") == r"a\_b \& 5 \%"
    assert escape("\\") == r"\textbackslash{}"
    assert escape("0.38 ± 0.03, 64 × 2, –") == r"0.38 $\pm$ 0.03, 64 $\times$ 2, --"
    assert escape("w = 0.3, w = 2. At") == "$w = 0.3$, $w = 2$. At"


@pytest.fixture
def engine():
    """A TeX engine; continuous integration demands one."""
    found = next(filter(shutil.which, ENGINES), None)
    if found is None and os.environ.get("PDPIPE_REQUIRE_TEX") == "1":
        pytest.fail("PDPIPE_REQUIRE_TEX is 1, but there is no TeX engine on the PATH")
    return found or pytest.skip("no TeX engine is installed")


def test_it_compiles_and_no_table_is_wider_than_the_text(engine, latex, tmp_path):
    table = Table(title=NASTY, columns=["", NASTY], rows=[[NASTY, "1"], ["[x]", "2"]], note=NASTY)
    wide = Table(title="Wide", columns=["", *map(str, range(40))], rows=[["x", *["1.00"] * 40]])
    (tmp_path / "table.tex").write_text(latex + "".join(to_latex(t, NASTY) for t in (table, wide)))
    packages = "\\documentclass{article}\\usepackage{booktabs,graphicx}"
    document = packages + "\\begin{document}\\input{table}"
    (tmp_path / "paper.tex").write_text(document + "\\end{document}", encoding="utf-8")
    options = [] if engine == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(
        [engine, *options, "paper.tex"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert "Overfull" not in done.stdout.decode(errors="replace")
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
