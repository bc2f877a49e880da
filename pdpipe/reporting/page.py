"""reports/index.html: the whole report in one file that asks nothing of a network."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from pdpipe.reporting import figures, formats, provenance, tables
from pdpipe.reporting.beside_papers import PublishedSection
from pdpipe.reporting.explorer import Explorer
from pdpipe.reporting.grids import Grid, png
from pdpipe.reporting.headline import Headline
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.results import Results
from pdpipe.reporting.sheets import Images, Sheets
from pdpipe.reporting.speedup import savings_tables
from pdpipe.reporting.studies import StudySection, others_sentence

FOLDER = Path(__file__).parent
SVG_SCALE = 1.5  # CSS pixels a point at most: text of 10 points is then 15 pixels high

# The figures' colours, by the page's own, which turn with the reader's light or dark scheme.
_PAGE_COLOURS = {
    figures.INK: "currentColor",
    figures.FAINT: "var(--faint)",
    figures.STUDENT: "var(--student)",
    figures.TEACHER: "var(--teacher)",
}


_METHOD_CAPTIONS = {
    "angles": "The process as a rotation: z turns from the data x to the noise ε with the angle φ, "
    "v is its velocity, and a DDIM step turns it back by δ (dashed).",
    "trajectories": "Two rounds of distillation on a mixture of two Gaussians, from the same "
    "noise: the teacher's DDIM, and students that predict their targets exactly. They skip every "
    "second state and end where the teacher ends: at the prediction of x at their last time, drawn "
    "at t = 0. The probability flow is drawn faint.",
    "loss_weights": "The loss weights on the error of x against log-SNR, alone and as this chain's "
    "schedule draws its times; each curve is set to 0 at log-SNR 0.",
}


# What the ids inside a figure begin with, where that is not its name.
_PREFIXES = {"fid_by_steps": "fid", "is_by_steps": "is", "fid_by_w": "byw", "fid_is": "tradeoff"}


class Picture(NamedTuple):
    """A figure as it stands on the page."""

    name: str
    svg: Markup
    caption: str


def page(
    results: Results,
    m: Measurements,
    headline: Headline,
    *,
    data: str,
    sheets: Sheets,
    curves: dict[str, bytes],
    explorer: Explorer | None,
    by_steps: Grid,
    by_class: Grid,
    published: PublishedSection | None,
    sections: list[StudySection],
    other_studies: list[str],
) -> str:
    """The page's HTML.

    Args:
        results, m, headline: what is told.
        data: the name of the data's source.
        sheets: the samples, for what kind of images they are.
        curves: {name: SVG} of `fid_at_<k>` for weight number k, `fid_by_steps`, `is_by_steps`,
            `fid_by_w`, `fid_is`, each picture of the method and, as `study_<name>`, of the studies
            that have a figure.
        explorer: what its sliders choose from; None leaves it out.
        by_steps, by_class: the sample grids.
        published: the figures of the papers; None leaves them out.
        sections: of the studies that were run on these models.
        other_studies: the names of the rest.
    """
    pictures = _pictures(m, sections, curves)
    return _template().render(
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
        headline=headline,
        setting=setting(data, results, sheets),
        definitions=tables.definitions(m),
        made=provenance.made_sentence(results),
        at_weights=[
            (formats.weight(w), w == headline.w, pictures[f"fid_at_{k}"])
            for k, w in enumerate(m.guidance)
        ],
        near=[tables.near_table(m), *savings_tables(m)] if m.student_steps else [],
        rungs=[tables.rungs_table(results.rungs), tables.coupling_table(m)],
        steps_tables=[(w == headline.w, tables.steps_table(m, w)) for w in m.guidance],
        matrices=tables.matrices(m),
        nearest=tables.memorization_table(m),
        **{name: pictures[name] for name in ("fid_by_steps", "is_by_steps", "fid_by_w", "fid_is")},
        method=[pictures[name] for name in _METHOD_CAPTIONS],
        published=published,
        studies=[(s, pictures.get(f"study_{s.name}")) for s in sections],
        other_studies=_with_code(others_sentence(other_studies)) if other_studies else "",
        explorer=explorer,
        teacher_by=m.teacher_by,
        by_steps=by_steps,
        by_class=by_class,
        costs=provenance.cost_tables(results),
        protocol=[provenance.protocol_table(results, m), provenance.models_table(results)],
        extractor=results.teacher.protocol.extractor,
        standard_errors=provenance.errors_by(results.teacher.protocol),
    )


# What images of a source are, where the name does not say.
_DATA = {"digits": "scikit-learn's handwritten digits"}


def setting(data: str, results: Results, sheets: Sheets) -> str:
    """What the models make, of how many images they learned it, and what FID is measured with."""
    channels, height, width = sheets.full.images.shape[-3:]
    colour = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    found = f"{_DATA.get(data, 'Images')}: {colour}, {height} × {width} pixels"
    if len(sheets.classes) > 1:
        found += f", classes such as {', '.join(sheets.classes[:3])}"
    count = formats.count(results.floor.protocol.num_train)
    extractor = results.teacher.protocol.extractor
    own = ", a classifier of these data, not of Inception: it compares within this report only"
    return (
        f"{found[0].upper()}{found[1:]}; {count} to train on. FID is in the features of "
        f"{extractor.name}{own * (extractor.heldout_accuracy is not None)}."
    )


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "data_uri": data_uri,
        "csp_hash": csp_hash,
        "percent": formats.percent,
        "weight": formats.weight,
        "explorer_data": explorer_data,
    }
    return environment.get_template("page.html.jinja")


def data_uri(image: Images) -> str:
    """An image as a PNG inside an address."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def csp_hash(script: str) -> str:
    """What a content security policy calls a script by, so that the page runs no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def explorer_data(shown: Explorer) -> dict[str, Any]:
    """What the page's script reads of the explorer."""
    panels = [vars(panel) | {"sprites": [*map(data_uri, panel.sprites)]} for panel in shown.panels]
    as_it_is = ("classes", "columns", "height", "width")
    return {
        "steps": [formats.steps(n) for n in shown.steps],
        "w": [formats.weight(w) for w in shown.w],
        **{name: getattr(shown, name) for name in as_it_is},
        "figures": list(shown.figures),
        "panels": panels,
        "real": {"sprite": data_uri(shown.real), "columns": shown.real_columns},
    }


def inline_svg(svg: bytes, prefix: str, label: str) -> Markup:
    """A matplotlib SVG as an element of the page: scaling, in the page's colours.

    `prefix` is put before its ids, which would otherwise meet those of other figures; `label` is
    what a reader who cannot see it is told.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    for dropped in ("metadata", "style"):
        text = re.sub(rf"\s*<{dropped}\b.*?</{dropped}>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = text.replace("fill: #ffffff", "fill: none")
    for colour, replacement in _PAGE_COLOURS.items():
        text = text.replace(colour, replacement)
    view = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', text)
    assert view, "matplotlib wrote an SVG without a viewBox"
    native = round(SVG_SCALE * float(view[1]))
    start = f'<svg {view[0]} style="--native: {native}px" role="img" aria-label="{escape(label)}">'
    return Markup(re.sub(r"^<svg[^>]*>", lambda _: start, text))


def _pictures(
    m: Measurements, sections: list[StudySection], drawn: dict[str, bytes]
) -> dict[str, Picture]:
    """The report's own curves, the pictures of the method and those of the studies, by name."""
    curves = f"the students (solid), the {m.teacher_by} at the same steps (dashed)"
    captions = {
        **{
            f"fid_at_{k}": f"FID against sampling steps at {formats.weight(w)}, both axes "
            f"logarithmic: {curves}. Lower is better; bars are 95 % intervals "
            "over generated images, not over trainings."
            for k, w in enumerate(m.guidance)
        },
        "fid_by_steps": "FID against sampling steps, both axes logarithmic, for each guidance "
        f"weight: {curves}.",
        "is_by_steps": "IS against sampling steps (logarithmic), for each guidance weight: "
        f"{curves}.",
        "fid_by_w": "FID (logarithmic) against the guidance weight: a curve for each step count. "
        f"The dashed curve is the teacher at {formats.steps(m.full_steps)}.",
        "fid_is": "IS against FID (logarithmic): each curve joins the "
        f"guidance weights of one step count, from {formats.weight(m.guidance[0])} to "
        f"{formats.weight(m.guidance[-1])}. The dashed curve is the teacher at "
        f"{formats.steps(m.full_steps)}.",
        **_METHOD_CAPTIONS,
        **{f"study_{section.name}": section.caption for section in sections},
    }
    return {
        name: Picture(
            _file_name(name, m),
            inline_svg(svg, _PREFIXES.get(name, name), captions[name]),
            captions[name],
        )
        for name, svg in drawn.items()
    }


def _file_name(figure: str, m: Measurements) -> str:
    """What a figure is called when a reader saves it."""
    _, at_weight, k = figure.partition("fid_at_")
    return f"fid_by_steps_w{m.guidance[int(k)]:g}" if at_weight else figure


def _with_code(text: str) -> Markup:
    """`text` as HTML, with what stands between `` ` `` as code."""
    words, code = Markup("%s"), Markup("<code>%s</code>")
    return Markup().join(
        (code if i % 2 else words) % part for i, part in enumerate(text.split("`"))
    )
