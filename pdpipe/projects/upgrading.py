"""A project for another version of the package: what is rewritten, and what runs again for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pdpipe import layout, pipeline
from pdpipe.errors import ProjectError
from pdpipe.files import parse_json, write_text
from pdpipe.params import Params
from pdpipe.params.dialect import load_yaml
from pdpipe.projects.package import PATH, Package, installed, read_package, write_package
from pdpipe.projects.template import PIPELINE, digest_of, project_files, template_digests
from pdpipe.studies import pipeline as study_pipeline

NEW_FILES = layout.WORK / "upgrade"  # where the new text of a file with edits is put


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """What was found and done."""

    before: Package | None  # None: package.yaml could not be read
    after: Package
    stages: list[str]  # of the chain, that run again
    following: list[str]  # those that do so if the results of the former change
    studies: list[str]  # of which stages run again
    rewritten: list[Path]
    edited: list[Path]  # whose new texts are in NEW_FILES


def upgrade(params: Params, *, force: bool = False) -> Upgrade:
    """Let the project of this folder be for the installed package.

    Args:
        params: the project's.
        force: write package.yaml even if it is missing or cannot be read.

    Raises:
        ProjectError: this folder is no project that `pdpipe new` made.
        ParamsError: package.yaml is damaged.
    """
    before = None if force else read_package()
    if before is None and not force:
        raise ProjectError(
            f"there is no {PATH} here: change to the folder of a project that `pdpipe new` made, "
            "or write it with --force"
        )
    after = installed(template_digests())
    was = {} if before is None else before.stages
    changed = {name for name, found in after.stages.items() if was.get(name) != found}
    stages_before = _text(PIPELINE)
    rewritten, edited = _rewrite({} if before is None else before.templates)
    if stages_before is not None and PIPELINE in rewritten:
        changed |= _changed_stages(stages_before, PIPELINE.read_text(encoding="utf-8"))
    chain = pipeline.chain(params)
    stages = [name for name in chain if name.partition("@")[0] in changed]
    write_package(Path(), after)  # last: until then, the same command goes on
    return Upgrade(
        before=before,
        after=after,
        stages=stages,
        following=_following(chain.values(), stages),
        studies=list(_stale_studies()),
        rewritten=rewritten,
        edited=edited,
    )


def _changed_stages(before: str, after: str) -> set[str]:
    """The stages of which two texts of dvc.yaml say something different to DVC."""
    old, new = (load_yaml(text, PIPELINE.name)["stages"] for text in (before, after))
    return {name for name in new if _undescribed(old.get(name)) != _undescribed(new[name])}


def _undescribed(stage: object) -> object:
    """A stage without its description, which DVC does not compare."""
    if not isinstance(stage, dict):
        return stage
    return {key: _undescribed(value) for key, value in stage.items() if key != "desc"}


def _text(path: Path) -> str | None:
    """The text of a file of the user's, who may have spoilt it; None for no file."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _following(chain: Iterable[pipeline.Stage], stages: list[str]) -> list[str]:
    """The stages that read what these write, or what follows from that."""
    touched: set[Path] = set()
    found = []
    for stage in chain:
        own = stage.name in stages
        reads = any({path, *path.parents} & {*stage.inputs} for path in touched)
        if own or reads:
            touched.update(stage.outputs)
        if reads and not own:
            found.append(stage.name)
    return found


def _stale_studies() -> Iterator[str]:
    """The studies that were run with other code: the digests that they depend on differ."""
    now = {part: pipeline.study_digests(part) for part in pipeline.STUDY_CODE}
    for path in sorted(layout.STUDIES.parent.glob("*/params.yaml")):
        study = path.parent.name
        for part, digests in now.items():
            noted = layout.study_code(study, part)
            if noted.is_file() and _values(noted) != digests:
                yield study
                break


def _values(path: Path) -> object:
    """What a JSON file holds; None if it is damaged."""
    try:
        return parse_json(path.read_bytes())
    except ValueError:
        return None


def _rewrite(templates: dict[str, str]) -> tuple[list[Path], list[Path]]:
    """The pipelines that were rewritten, and those with edits, which stay as they are."""
    rewritten, edited = [], []
    for path, text in _pipelines():
        found = _text(path)
        if found == text:
            continue
        if found is None or digest_of(path, found) in templates.values():
            write_text(path, text)
            rewritten.append(path)
        elif digest_of(path, text) not in templates.values():  # the template changed, too
            write_text(NEW_FILES / path, text)
            edited.append(path)
    return rewritten, edited


def _pipelines() -> Iterator[tuple[Path, str]]:
    """(path, text that the installed package would write) of the project's pipelines."""
    yield PIPELINE, project_files()[PIPELINE]
    for path in sorted(layout.STUDIES.parent.glob("*/dvc.yaml")):
        encoders = "\n  reconstruct:\n" in (_text(path) or "")
        yield path, study_pipeline(path.parent.name, encoders=encoders)
