"""The commands that make a project, and bring it to the installed version."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import pdpipe
from pdpipe import layout
from pdpipe.cli.checking import say_notes
from pdpipe.cli.run import project_params
from pdpipe.errors import ParamsError, did_you_mean

if TYPE_CHECKING:
    from pdpipe.bench import StartUp


def new(
    folder: Annotated[Path, typer.Argument(help="A new or an empty folder.")],
    preset: Annotated[
        str, typer.Option(help="digits, cifar10, imagenet64 or lsun-church128.")
    ] = "digits",
    studies: Annotated[
        str, typer.Option(help="Studies to bring along: names such as baselines,ladders, or all.")
    ] = "none",
    images: Annotated[
        Path | None,
        typer.Option(help="Instead of a preset: images, a folder for each class, to look at."),
    ] = None,
    hours: Annotated[
        float, typer.Option(help="With --images: what a run may take here.", min=0.01, max=10_000)
    ] = 1.0,
    copy: Annotated[
        bool, typer.Option(help="With --images: copy them into the project, instead of linking.")
    ] = False,
) -> None:
    """Make a project: settings, pipeline and a git repository, in a folder of its own."""
    from pdpipe.presets import preset_files
    from pdpipe.projects.making import check_place, make_project

    check_place(folder)
    texts = preset_files(preset)
    known = {path.parent.name: path for path in texts if path != layout.PARAMS}
    wanted = _chosen(studies, known)
    kept = {layout.PARAMS, *(known[name] for name in wanted)}
    texts = {path: text for path, text in texts.items() if path in kept}
    what = f"the {preset} preset"
    if images is not None:
        texts[layout.PARAMS], what = _for_images(folder, images, hours, copy)
    made = make_project(folder, texts)
    _say_made(folder, what, wanted, made)
    _say_source(folder)


def _for_images(folder: Path, images: Path, hours: float, copy: bool) -> tuple[str, str]:
    """The text of params.yaml for images, which are put into the project, and where they are."""
    from pdpipe.cli.forecasting import duration, start_up
    from pdpipe.projects.fitting import fit
    from pdpipe.projects.settings import params_of, params_text
    from pdpipe.projects.survey import place, survey

    found = survey(images)
    say_notes(*found.notes)
    if found.looked_at < found.total:
        say_notes(f"looked at {found.looked_at:,} of {found.total:,} images, for the time it takes")

    def start(text: str) -> StartUp:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / layout.PARAMS
            path.write_text(text, encoding="utf-8")
            return start_up(path)

    fitted, extractor = fit(found, hours, start)
    time = (
        f"{duration(fitted.seconds)} of {duration(fitted.allowed)} by the forecast on this machine"
    )
    text = params_text(found, fitted.plan, extractor, f": {time}.")
    params = params_of(text)
    where = place(found, params.data.image_size, folder / params.data.path, copy=copy)
    print(f"{folder / params.data.path}: {where}\na run takes {time}")
    if not fitted.fits:
        say_notes(
            f"the least that makes sense takes {duration(fitted.seconds - fitted.allowed)} longer "
            "than --hours: params.yaml has that least"
        )
    return text, f"settings for {images}"


def _chosen(asked: str, known: dict[str, Path]) -> list[str]:
    """The studies that were asked for."""
    if asked in ("all", "none"):
        return list(known) if asked == "all" else []
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in known:
            raise ParamsError(
                f"--studies has {name!r}, which is no study of this preset: "
                f"{did_you_mean(name, [*known, 'all', 'none'])}"
            )
    return names


def _say_made(folder: Path, what: str, studies: list[str], made: bool) -> None:
    git = "a git repository of its own" if made else "in the git repository around it"
    print(f"made {folder}: {what}, for pdpipe {pdpipe.__version__}, {git}")
    if studies:
        print(f"studies: {', '.join(studies)}")
    print(f"next: cd {folder} && pdpipe forecast && dvc repro")


def _say_source(folder: Path) -> None:
    """Note a source whose images have to be put there."""
    from pdpipe.params import read_params

    data = read_params(folder / layout.PARAMS).data
    if data.source not in ("digits", "folder"):
        say_notes(
            f"source {data.source} arrives in a later release; until then put its images in "
            f"{folder / data.path}/<class>/ and set data.source to folder"
        )


def upgrade(
    force: Annotated[
        bool, typer.Option(help="Write package.yaml even if it is missing or damaged.")
    ] = False,
) -> None:
    """Bring this project to the installed pdpipe, and say what has to run again."""
    params = project_params()
    from pdpipe.projects.upgrading import NEW_FILES, upgrade

    found = upgrade(params, force=force)
    before = "unknown" if found.before is None else found.before.version
    print(f"this project is for pdpipe {found.after.version} now (before: {before})")
    for path in found.rewritten:
        print(f"rewrote {path}")
    for path in found.edited:
        say_notes(
            f"{path} has edits of yours, and pdpipe's own text changed too: take over what you "
            f"want from {NEW_FILES / path}"
        )
    if found.stages:
        print(f"`dvc repro` runs again: {', '.join(found.stages)}")
        if found.following:
            print(f"and, where a result changes by that: {', '.join(found.following)}")
    else:
        print("no stage of the chain has to run again")
    if found.studies:
        print(f"`pdpipe study NAME` runs again what changed of: {', '.join(found.studies)}")
