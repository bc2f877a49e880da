"""Stage `report`: everything in `reports/`, from the results of the ladder in params.yaml."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from pdpipe.diffusion import Schedule, build_schedule
from pdpipe.files import replacing, write_json, write_text
from pdpipe.params import Params
from pdpipe.reporting import figures, grids, method, tables
from pdpipe.reporting.beside_papers import published_markdown, published_section
from pdpipe.reporting.explorer import explorer
from pdpipe.reporting.headline import UNLISTED, Headline, headline
from pdpipe.reporting.latex import paper_latex
from pdpipe.reporting.markdown import report_markdown
from pdpipe.reporting.measurements import Measurements, measurements
from pdpipe.reporting.metrics import FID, INCEPTION_SCORE
from pdpipe.reporting.page import page
from pdpipe.reporting.provenance import machines_sentence, protocol_sentence
from pdpipe.reporting.results import read_results
from pdpipe.reporting.sheets import read_sheets
from pdpipe.reporting.studies import read_sections, studies_markdown


def write_report(params: Params, results_dir: Path, reports_dir: Path, studies: Path) -> Headline:
    """The headline of the report that it writes to `reports_dir`.

    The same results give the same bytes. Files: table.csv and table.parquet (every measurement),
    costs.csv (what its cells took), table.md, table.tex, metrics.json and fid_by_steps.csv (for
    DVC), index.html, and in figures/ fid_by_steps, is_by_steps, fid_by_w, fid_is, those of the
    method, samples_by_steps and samples_by_class as SVG and PNG.

    Args:
        params: its ladder and evaluation section say which results belong to the report; its
            schedule is drawn; its report section names the data set whose published figures are
            shown.
        results_dir: holds metrics/, cost/ and samples/.
        reports_dir: made if it does not exist.
        studies: the JSON file of the studies that were run; each adds a section and a figure.

    Raises:
        EvaluationError: a file is missing or damaged, lacks what params asks for, or was measured
            in another way than the rest.
    """
    results, sheets = read_results(params, results_dir), read_sheets(params, results_dir)
    m = measurements(results)
    found = headline(m)
    by_steps = grids.steps_by_w(sheets)
    by_class = grids.classes_by_steps(sheets, found.w)
    _write_data(m, found, reports_dir)
    with figures.style():
        sections, others = read_sections(studies, m, results.digests)
        curves = _curves(m, build_schedule(**params.schedule.model_dump()))
        curves |= {f"study_{s.name}": s.figure for s in sections if s.figure is not None}
        drawn = reports_dir / "figures"
        svg = {name: _write_figure(figure, drawn / name) for name, figure in curves.items()}
        svg |= _at_weights(m)
        shown = {"samples_by_steps": by_steps, "samples_by_class": by_class}
        shown |= {f"study_{s.name}_images": s.grid for s in sections if s.grid is not None}
        for name, grid in shown.items():
            _write_figure(figures.grid_figure(grid), drawn / name, dpi=figures.GRID_DPI)
    name = params.report.published
    published = None if name == "none" else published_section(name, results, m)
    markdown = report_markdown(m, results.rungs, found, machines_sentence(results))
    markdown += published_markdown(published) if published else ""
    write_text(reports_dir / "table.md", markdown + studies_markdown(sections, others))
    cited = published.all_tables if published else []
    latex = paper_latex(m, results.rungs, protocol_sentence(results), cited, sections)
    write_text(reports_dir / "table.tex", latex)
    html = page(
        results,
        m,
        found,
        data=params.data.source,
        sheets=sheets,
        curves=svg,
        explorer=explorer(m, sheets, found),
        by_steps=by_steps,
        by_class=by_class,
        published=published,
        sections=sections,
        other_studies=others,
    )
    write_text(reports_dir / "index.html", html)
    return found


def _write_data(m: Measurements, found: Headline, reports_dir: Path) -> None:
    frames = {"table": m.reproducible, "costs": m.times, "fid_by_steps": tables.fid_by_steps(m)}
    for name, frame in frames.items():
        write_text(reports_dir / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    with replacing(reports_dir / "table.parquet") as temporary:
        m.reproducible.to_parquet(temporary, index=False)
    listed = {name: value for name, value in found.metrics.items() if name not in UNLISTED}
    write_json(reports_dir / "metrics.json", listed | {"figure": found.figure})


def _curves(m: Measurements, schedule: Schedule) -> dict[str, Figure]:
    """What was measured, and what the method does with this schedule."""
    return {
        "fid_by_steps": figures.against_steps(m, FID),
        "is_by_steps": figures.against_steps(m, INCEPTION_SCORE),
        "fid_by_w": figures.fid_against_w(m),
        "fid_is": figures.fid_against_is(m),
        "loss_weights": method.loss_weights(schedule),
        "angles": method.angles(),
        "trajectories": method.trajectories(schedule),
    }


def _at_weights(m: Measurements) -> dict[str, bytes]:
    """The SVGs of FID against steps at each w, for the page alone."""
    found = {f"fid_at_{k}": figures.at_weight(m, w) for k, w in enumerate(m.guidance)}
    return {name: figures.svg_bytes(figure) for name, figure in found.items()}


def _write_figure(figure: Figure, stem: Path, dpi: float = 150) -> bytes:
    """The SVG of a figure, which is written beside a PNG."""
    svg, png = figures.svg_bytes(figure), figures.png_bytes(figure, dpi=dpi)
    for suffix, content in ((".svg", svg), (".png", png)):
        with replacing(stem.with_suffix(suffix)) as temporary:
            temporary.write_bytes(content)
    return svg
