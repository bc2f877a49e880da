"""The files of a new project: those of pdpipe's own repository, which stand there once."""

from __future__ import annotations

import re
from pathlib import Path

from pdpipe.files import digest
from pdpipe.pipeline import PACKAGE
from pdpipe.projects.files import FILES
from pdpipe.projects.package import PATH, short
from pdpipe.studies import pipeline as study_pipeline

_COPIED = Path(__file__).parent / "template"  # in a wheel; see setup.py
PIPELINE = Path("dvc.yaml")
README = Path("README.md")


def project_files() -> dict[Path, str]:
    """{path: text} of a project, all but its params and package.yaml."""
    root = _COPIED if _COPIED.is_dir() else PACKAGE.parent
    files = {Path(name): (root / name).read_text(encoding="utf-8") for name in FILES}
    files[PIPELINE] = project_pipeline(files[PIPELINE])
    files[Path("stages/studies.json")] = "{}\n"
    return files


def readme(title: str, version: str) -> str:
    """The text of a project's own README."""
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    return text.replace("$TITLE", title).replace("$VERSION", version)


def project_pipeline(text: str) -> str:
    """dvc.yaml with the package's digests as settings, in the place of its files as dependencies.

    Args:
        text: the dvc.yaml of pdpipe's own repository.
    """
    head, stages, rest = re.split(r"(?ms)^(stages:\n.*?)(?=^\S)", text)
    blocks = re.split(r"(?m)^(?=  [\w-]+:)", stages)
    return head + "".join(map(_with_digest, blocks)) + rest


def _with_digest(block: str) -> str:
    """A stage's lines in dvc.yaml, if it depends on the package's files."""
    found, count = re.subn(r"(?m)^ +- pdpipe/.*\n", "", block)
    if not count:
        return block
    name = block.split(":")[0].strip()
    key = f"{PATH}: [stages.{name}]"
    found, flow = re.subn(r"(?m)^( +params: \[.*)\]$", rf"\1, {key}]", found)
    return found if flow else re.sub(r"(?m)^( +)params:\n", rf"\g<0>\1  - {key}\n", found)


def template_digests() -> dict[str, str]:
    """Digests of the pipelines that pdpipe writes, by which an edited one is known."""
    texts = {PIPELINE.name: project_files()[PIPELINE]}
    for name, encoders in (("arms", False), ("encoders", True)):
        texts[f"stages/{name}"] = study_pipeline("STUDY", encoders=encoders)
    return {name: short(digest(text)) for name, text in texts.items()}


def digest_of(path: Path, text: str) -> str:
    """The digest of a pipeline's text, comparable with `template_digests`."""
    if path != PIPELINE:
        text = text.replace(f"- study: {path.parent.name}\n", "- study: STUDY\n", 1)
    return short(digest(text))
