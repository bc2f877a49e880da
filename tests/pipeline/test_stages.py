"""dvc.yaml and the pipelines of studies say what `pdpipe/pipeline.py` says of each stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.stage import PipelineStage

from pdpipe import pipeline
from pdpipe.params import read_params, read_study
from pdpipe.pipeline import Stage

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "params.yaml")
STUDIES = sorted(path.parent.name for path in ROOT.glob("stages/*/params.yaml"))
GUARD = Path("results/checked")  # for which `prepare` waits, so that `check` runs first


def stages_of(folder: Path) -> dict[str, PipelineStage]:
    """{name: stage} of DVC's own reading of a dvc.yaml."""
    with Repo(str(folder)) as repo:
        return {stage.name: stage for stage in repo.index.stages}


def relative(path: str) -> Path:
    """A path that DVC gives, from the project's folder on."""
    return Path(path).resolve().relative_to(ROOT)


def covered(paths: set[Path], by: set[Path]) -> Iterator[Path]:
    """Those of the paths that lie at or below one of the others."""
    yield from (path for path in paths if {path, *path.parents} & by)


def hold(theirs: PipelineStage, ours: Stage, *, study: str | None = None) -> None:
    """That DVC's stage says what ours does."""
    assert theirs.cmd == f"{'cd ../.. && ' * bool(study)}pdpipe {ours.command}"
    files = [dep for dep in theirs.deps if not hasattr(dep, "params")]
    keys = {str(key) for dep in theirs.deps if hasattr(dep, "params") for key in dep.params}
    assert keys == set(ours.params)
    deps = {relative(dep.fs_path) for dep in files}
    package = Path("pdpipe")
    code = {package / part for part in ours.code}
    if study is None:
        assert {dep for dep in deps if package in dep.parents} == code
    else:
        digests = Path("stages", study, "code")
        (part,) = (dep.stem for dep in deps if dep.parent == digests)
        assert pipeline.STUDY_CODE[part] == ours.code
        deps = {dep for dep in deps if dep.parent != digests}
    read = {dep for dep in deps if package not in dep.parents and dep != GUARD}
    inputs = set(ours.inputs)
    if ours.name == "prepare":
        inputs.add(Path(PARAMS.data.path))
    assert set(covered(inputs, by=read)) == inputs, "DVC knows all that it reads"
    assert {dep for dep in read if not any({dep} & {p, *p.parents} for p in inputs)} <= {
        Path("stages", str(study), "cost"),  # of the arms, for the table
        Path("stages", str(study), "images.safetensors"),
    }
    assert {relative(out.fs_path) for out in theirs.outs} == set(ours.outputs)


def test_the_chain_is_said_once() -> None:
    theirs, ours = stages_of(ROOT), pipeline.chain(PARAMS)
    assert theirs.keys() - ours.keys() == {"check"}
    assert ours.keys() <= theirs.keys()
    for name, stage in ours.items():
        hold(theirs[name], stage)


@pytest.mark.parametrize("study", STUDIES)
def test_a_studys_stages_are_said_once(study: str) -> None:
    theirs = stages_of(ROOT / "stages" / study)
    ours = pipeline.study(study, read_study(ROOT / "stages" / study / "params.yaml", PARAMS))
    assert theirs.keys() - ours.keys() == {"code"}
    assert ours.keys() <= theirs.keys()
    for name, stage in ours.items():
        hold(theirs[name], stage, study=study)


def test_every_part_of_the_package_that_is_named_exists() -> None:
    studies = list(pipeline.STUDY_CODE.values())
    named = {part for stage in pipeline.chain(PARAMS).values() for part in stage.code}
    assert [part for part in named.union(*studies) if not (ROOT / "pdpipe" / part).exists()] == []
