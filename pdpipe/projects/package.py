"""`package.yaml`: the pdpipe that a project is for, by version and by what determines each stage.

The stages in a project's dvc.yaml depend on its digests as on settings, where those of pdpipe's own
repository depend on the files themselves. So a project's stages become stale when `pdpipe upgrade`
writes a digest that changed, and not when the same code is installed anew, or elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import pdpipe
from pdpipe import pipeline
from pdpipe.errors import ProjectError
from pdpipe.files import write_text
from pdpipe.params.reading import read_section
from pdpipe.params.section import Section

PATH = Path("package.yaml")
_DIGITS = 16  # of a digest: enough to tell versions apart, and short in `dvc exp show`
_HEAD = """\
# The pdpipe that this project is for: `pdpipe upgrade` writes it, and git keeps it.
# stages: a digest of the package's files that determine each stage's result.
# templates: one of each pipeline as pdpipe writes it, by which an edited one is known.
"""


class Package(Section):
    """What package.yaml says."""

    version: str
    stages: dict[str, str]  # by the stages' names before the @
    templates: dict[str, str]


def installed(templates: dict[str, str]) -> Package:
    """What it says of a project made with the installed package.

    Args:
        templates: digests of the files that the package writes, by their names.
    """
    stages = {name: short(pipeline.code_digest(code)) for name, code in pipeline.CODE.items()}
    return Package(version=pdpipe.__version__, stages=stages, templates=templates)


def short(digest: str) -> str:
    """A digest as package.yaml has it."""
    return digest[:_DIGITS]


def package_text(package: Package) -> str:
    """The text of package.yaml; digests are quoted, since some look like numbers."""
    lines = [f"version: '{package.version}'"]
    for section, digests in (("stages", package.stages), ("templates", package.templates)):
        lines += [f"{section}:", *(f"  {name}: '{found}'" for name, found in digests.items())]
    return _HEAD + "\n".join(lines) + "\n"


def write_package(folder: Path, package: Package) -> None:
    """Write a project's package.yaml."""
    write_text(folder / PATH, package_text(package))


def read_package() -> Package | None:
    """The package that this project is for; None in a folder whose stages depend on files.

    Raises:
        ParamsError: package.yaml is damaged.
    """
    if not PATH.exists():
        return None
    return read_section(PATH, Package, "take it back from git, or run `pdpipe upgrade --force`")


def check_package() -> None:
    """Refuse to run a stage with another package than the project's.

    Its result would stand in dvc.lock as that of the project's.

    Raises:
        ProjectError: the installed package has another version, or other code.
    """
    wanted = read_package()
    if wanted is None:
        return
    here = installed({})
    if wanted.version != here.version:
        raise ProjectError(
            f"pdpipe {here.version} is installed, and this project is for {wanted.version}: run "
            f"`pdpipe upgrade`, which says what that makes stale, or install {wanted.version}"
        )
    if wanted.stages != here.stages:
        raise ProjectError(
            f"the installed pdpipe {here.version} has other code than the one that this project "
            f"is for, which is of the same version ({PATH}): run `pdpipe upgrade`, which says what "
            "that makes stale, or install that one"
        )
