"""Whole params files with the papers' settings: the main one, and that of every study.

`<preset>.yaml` is a params.yaml. The studies of the digits are the repository's own, copied to
`digits/`. Those of the papers' data sets are `templates/`, in which a function for each study fills
students and arms, from the preset's own params.yaml and what `papers` knows of the data set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path

from pdpipe import layout
from pdpipe.errors import ParamsError, did_you_mean
from pdpipe.params import Params, read_params
from pdpipe.presets.compared import baselines, smaller_student
from pdpipe.presets.guided import encoder, naive, single_w, stochastic
from pdpipe.presets.papers import PAPERS, Paper
from pdpipe.presets.progressive import ladders, parameterization, unguided
from pdpipe.presets.text import FOLDER, filled

__all__ = ["left_out", "preset_files", "preset_names", "preset_params"]

STUDIES: dict[str, Callable[[Params, Paper], dict[str, object]]] = {
    "baselines": baselines,
    "encoder": encoder,
    "ladders": ladders,
    "naive": naive,
    "parameterization": parameterization,
    "single-w": single_w,
    "smaller-student": smaller_student,
    "stochastic": stochastic,
    "unguided": unguided,
}
NEED_LABELS = ("encoder", "naive", "single-w")  # they go from class to class, or change w


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(Path(e.name).stem for e in FOLDER.iterdir() if e.name.endswith(".yaml"))


def preset_files(name: str, out: Path = layout.PARAMS) -> dict[Path, str]:
    """{path: text} of a preset's params file, `out`, and of its studies' beside it.

    Raises:
        ParamsError: there is no such preset.
    """
    if name not in preset_names():
        raise ParamsError(f"there is no preset {name!r}: {did_you_mean(name, preset_names())}")
    studies = _study_texts(name)
    main = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    beside = {out.parent / layout.study_params(study): text for study, text in studies.items()}
    return {out: main} | beside


@cache
def preset_params(name: str) -> Params:
    """The settings of a preset, one of `preset_names`."""
    with resources.as_file(FOLDER / f"{name}.yaml") as path:
        return read_params(path)


def left_out(name: str) -> list[str]:
    """The studies that a preset has not, since its data have no labels."""
    return [study for study in STUDIES if study not in _study_texts(name)]


@cache
def _study_texts(name: str) -> dict[str, str]:
    if name not in PAPERS:
        own = FOLDER / name
        return {study: (own / f"{study}.yaml").read_text(encoding="utf-8") for study in STUDIES}
    params = preset_params(name)
    return {
        study: filled(study, PAPERS[name].name, values(params, PAPERS[name]))
        for study, values in STUDIES.items()
        if params.network.conditional or study not in NEED_LABELS
    }
