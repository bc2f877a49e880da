"""The commands that make a project, and bring it to the installed version."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import pdpipe
from pdpipe import layout
from pdpipe.cli.checking import check_name, say_notes, say_source
from pdpipe.cli.run import project_params
from pdpipe.errors import ParamsError, did_you_mean

if TYPE_CHECKING:
    from pdpipe.bench import StartUp
    from pdpipe.projects.survey import Survey


def new(
    folder: Annotated[Path, typer.Argument(help="A new or an empty folder.")],
    preset: Annotated[
        str | None,
        typer.Option(help="digits, cifar10, imagenet64 or lsun-church128.", show_default="digits"),
    ] = None,
    studies: Annotated[
        str, typer.Option(help="Studies to bring along: names such as baselines,ladders, or all.")
    ] = "none",
    images: Annotated[
        Path | None,
        typer.Option(help="Instead of a preset: your images, in a folder for each class."),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            help="With --images: what a run may take here; 1 unless given.", min=0.01, max=10_000
        ),
    ] = None,
    trial: Annotated[
        bool,
        typer.Option(help="With --images: next to no training, to see it all in a few minutes."),
    ] = False,
    copy: Annotated[
        bool, typer.Option(help="With --images: copy them into the project, instead of linking.")
    ] = False,
) -> None:
    """Make a project: settings, pipeline and a git repository, in a folder of its own."""
    from pdpipe.params import read_params
    from pdpipe.projects.making import check_place, make_project
    from pdpipe.projects.survey import place

    check_name(folder.resolve())
    check_place(folder)
    if images is None and (hours is not None or trial or copy):
        raise ParamsError("--hours, --trial and --copy are about --images: add that, too")
    if (images and preset) or (trial and hours):
        both = "--preset and --images" if preset else "--hours and --trial"
        raise ParamsError(f"{both} both choose the settings: leave one of them out")
    preset = preset or "digits"
    texts, chosen = _of_preset(preset, studies)
    found = None if images is None else _look_at(folder, images)
    if found is not None:
        texts[layout.PARAMS] = _for_trial(found) if trial else _fitted(found, hours or 1.0)
    made = make_project(folder, texts)
    git = "a git repository of its own" if made else "in the git repository around it"
    what = f"the {preset} preset" if found is None else f"settings for {images}"
    print(f"made {folder}: {what}, for pdpipe {pdpipe.__version__}, {git}")
    if chosen:
        print(f"studies, with the settings of the {preset} preset: {', '.join(chosen)}")
    data = read_params(folder / layout.PARAMS).data
    if found is None:
        say_source(data, folder)
    else:
        target = folder / data.path
        print(f"{target}: {place(found, data.image_size, target, copy=copy)}")
    enter = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    print(f"next: {enter}{'pdpipe forecast && ' if found is None else ''}dvc repro")


def _of_preset(preset: str, studies: str) -> tuple[dict[Path, str], list[str]]:
    """({path: text} of a preset's params files, the studies of which were asked for)."""
    from pdpipe.presets import preset_files

    texts = preset_files(preset)
    known = {path.parent.name: path for path in texts if path != layout.PARAMS}
    given = {"all": [*known], "none": []}
    chosen = given.get(studies, [name.strip() for name in studies.split(",")])
    for name in chosen:
        if name not in known:
            raise ParamsError(
                f"--studies has {name!r}, which is no study of this preset: "
                f"{did_you_mean(name, [*known, *given])}"
            )
    paths = [layout.PARAMS, *(known[name] for name in chosen)]
    return {path: texts[path] for path in paths}, chosen


def _look_at(folder: Path, images: Path) -> Survey:
    """What the images are like; prints what is left out."""
    from pdpipe.projects.survey import survey

    if folder.resolve().is_relative_to(images.resolve()):
        raise ParamsError(
            f"{folder} lies in --images {images}, whose folders are classes: name a place outside"
        )
    found = survey(images)
    say_notes(*found.notes)
    if found.looked_at < found.total:
        say_notes(f"looked at {found.looked_at:,} of {found.total:,} images, for the time it takes")
    return found


def _for_trial(found: Survey) -> str:
    """The text of params.yaml for a trial."""
    from pdpipe.projects.choices import trial
    from pdpipe.projects.settings import params_text

    return params_text(found, trial(found), note=": a trial, with next to no training.")


def _fitted(found: Survey, hours: float) -> str:
    """The text of params.yaml for images, fitted into the hours."""
    from pdpipe.cli.forecasting import duration, start_up
    from pdpipe.projects.fitting import fit
    from pdpipe.projects.settings import params_text

    def start(text: str) -> StartUp:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / layout.PARAMS
            path.write_text(text, encoding="utf-8")
            return start_up(path)

    fitted, bound = fit(found, hours, start)
    time = (
        f"{duration(fitted.seconds)} of {duration(fitted.allowed)} by the forecast on this machine"
    )
    print(f"a run takes {time}")
    if not fitted.fits:
        say_notes(
            f"the least that makes sense takes {duration(fitted.seconds - fitted.allowed)} longer "
            "than --hours: params.yaml has that least"
        )
    return params_text(found, fitted.choice, bound, f": {time}.")


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
