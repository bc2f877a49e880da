"""The commands beside the stages: check, preset, sample, toy, bench, precision, compare."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdpipe import layout
from pdpipe.cli.checking import check_here, say_notes, say_source
from pdpipe.cli.run import load_images, project_params
from pdpipe.errors import DataError, ModelError, ParamsError, counted
from pdpipe.files import replacing, write_text

if TYPE_CHECKING:
    from pdpipe.models import ModelInfo


def check(
    done: Annotated[
        Path | None,
        typer.Option(help="A file to write if all is right: the other stages depend on it."),
    ] = None,
) -> None:
    """Check params.yaml, and say what the chain will do. Nothing is run."""
    params = project_params()
    if done is not None:
        from pdpipe.projects.package import check_package

        check_package()
        _check_dependency(params.data.path)
    notes = check_here(params)
    rungs = " -> ".join(str(n) for n in params.student_steps())
    if done is not None:
        # The same text whatever the settings: stages that wait for it do not run again for it.
        write_text(done, f"{layout.PARAMS} was valid\n")
    else:  # in a run, `prepare` says it
        say_notes(*notes)
    print(f"{layout.PARAMS} is valid: {params.data.source}, ladder {rungs}")


def _check_dependency(path: str) -> None:
    """What stage `prepare` depends on is there; DVC would say less."""
    if Path(path).exists():
        return
    if layout.in_experiment():
        raise DataError(
            f"data.path {path} is not in the folder of this experiment, since neither git nor DVC "
            f"holds it: run `dvc add {path}` and commit {path}.dvc, or leave out --temp and --queue"
        )
    raise DataError(
        f"data.path {path} does not exist, and DVC looks at it: put your images there, or name "
        "data/README.md where the source needs none"
    )


def sync(
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also what a server has already, such as for a new or another one."
        ),
    ] = False,
) -> None:
    """Bring MLflow up to the local records, such as after its server was away."""
    from pdpipe.tracking import sync_project

    count, where = sync_project(everything)
    what = counted(count, "record") if count else "nothing"
    print(f"sent {what} to MLflow at {where}")


def preset(
    name: Annotated[str, typer.Argument(help="digits, cifar10, imagenet64 or lsun-church128.")],
    out: Annotated[
        Path,
        typer.Option(help="The params file to write. Those of studies go to stages/ beside it."),
    ] = Path("params.yaml"),
    force: Annotated[bool, typer.Option(help="Overwrite files that were edited.")] = False,
) -> None:
    """Write a complete params.yaml with the settings for a data set, and one for every study."""
    from pdpipe.params import read_params
    from pdpipe.presets import left_out, preset_files

    files = preset_files(name, out)
    _check_replaceable(list(files), out, force)  # one that has edits keeps all as they are
    for path, text in reversed(files.items()):  # the chain's last: where it is, all are
        with _writing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    params = read_params(out)
    _, *studies = (path.parent.name for path in files)
    print(f"wrote {out}: the {name} preset")
    print(f"wrote {out.parent / layout.study_params('<study>')}: {', '.join(studies)}")
    if left_out(name):
        say_notes(
            f"these data have no labels, so {name} leaves out the studies "
            f"{', '.join(left_out(name))}; their params, if there are any, stay as they are"
        )
    say_source(params.data)


def _check_replaceable(paths: list[Path], out: Path, force: bool) -> None:
    """Refuse to write where a folder is or, unless forced, in place of what no preset wrote."""
    from pdpipe.presets import preset_files, preset_names

    folders = [path for path in paths if path.is_dir()]
    if folders:
        raise ParamsError(f"{folders[0]} is a folder, where a file is to be written: move it away")
    written = [preset_files(name, out) for name in preset_names()]
    edited = [
        str(path)
        for path in paths
        if path.exists()
        and not any(_says_the_same(path, files[path]) for files in written if path in files)
    ]
    if edited and not force:
        raise ParamsError(
            f"{' and '.join(edited)} {'has' if len(edited) == 1 else 'have'} edits that this would "
            "lose: add --force, or give --out in another folder"
        )


def _says_the_same(path: Path, text: str) -> bool:
    """Whether a params file has the values of a preset's text, and no comments of its own.

    So a preset that an older version wrote, or that DVC wrote anew, has no edits.
    """
    from pdpipe.params import settings_of

    written = path.read_bytes()
    if written == text.encode():
        return True
    try:
        found = written.decode()
        same = settings_of(found, str(path)) == settings_of(text, str(path))
    except (UnicodeDecodeError, ParamsError):
        return False
    return same and set(_COMMENT.findall(found)) <= set(_COMMENT.findall(text))


_COMMENT = re.compile(r"(?m)(?:^|\s)#.*$")


@contextmanager
def _writing(out: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `out` in the end, or a ParamsError says why not."""
    try:
        with replacing(out) as temporary:
            yield temporary
    except OSError as error:
        raise ParamsError(
            f"{out} cannot be written ({error.strerror}): name another place"
        ) from None


_CLASS = re.compile("[0-9]{1,6}")  # a range of labels is not written out beyond


def parse_labels(text: str) -> list[int]:
    """The class numbers of a text such as `0-9` or `3,3,8`; raises ModelError."""
    labels: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        last = last or first
        number = _CLASS.fullmatch(first) and _CLASS.fullmatch(last)
        if not number or int(first) > int(last):
            raise ModelError(
                f"--labels {text[:40]!r} has {part.strip()[:40]!r}: give class numbers and ranges, "
                "such as 0-9 or 3,3,8"
            )
        labels += range(int(first), int(last) + 1)
    return labels


Model = Annotated[Path, typer.Option(help="A model file, models/….safetensors.")]


def sample(
    model: Model,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("grid.png"),
    labels: Annotated[
        str | None,
        typer.Option(help="Class numbers, such as 0-9 or 3,3,8 [default: all, 10 at most]."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Sampling steps [default: the student's own; 64 for a teacher]."),
    ] = None,
    w: Annotated[float, typer.Option(help="Guidance weight; 0 is no guidance.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    rows: Annotated[int, typer.Option(help="Images for each label.", min=1, max=10_000)] = 1,
    clip: Annotated[
        bool, typer.Option(help="Clip predictions of x to [-1, 1] at each step.")
    ] = True,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="ddim, ancestral, stochastic, dpm_solver, euler, heun or rk4 [default: the one "
            "that the model was trained for, ddim as a rule]."
        ),
    ] = None,
    eta: Annotated[float | None, typer.Option(help="For ddim: 0 to 1 [default: 0].")] = None,
    gamma: Annotated[float | None, typer.Option(help="For ancestral: 0 to 1 [default: 0].")] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or mps [default: PDPIPE_DEVICE, or auto].")
    ] = None,
) -> None:
    """Make images with a student or the teacher, and save them as one picture."""
    columns = None if labels is None else parse_labels(labels)
    _check_picture(out, (".png",))
    from pdpipe.params import environment_runtime

    given = {} if device is None else {"device": device}
    runtime = environment_runtime().model_copy(update=given)
    from pdpipe.models import load_model, make_sampler  # torch, after all that may be wrong
    from pdpipe.pictures import grid
    from pdpipe.runtime import configure

    loaded = load_model(model, device=str(configure(runtime)))
    shown = min(loaded.network.config.num_classes or 10, 10) if columns is None else None
    name = sampler or loaded.info.sampler
    chosen = make_sampler(name, loaded.schedule, clip=clip, eta=eta, gamma=gamma)
    num_steps = loaded.resolve_steps(steps)
    _say_what_is_worse(loaded.info, num_steps, name)
    taken = []  # network evaluations of each image, for each batch
    x = loaded.sample(
        loaded.choose_labels(columns, shown).repeat(rows),
        w=w,
        steps=num_steps,
        seed=seed,
        sampler=chosen,
        on_batch=lambda _, evaluations: taken.append(evaluations),
    )
    with _writing(out) as temporary:
        grid(x, rows=rows).save(temporary, format="PNG")
    how = f"{counted(num_steps, 'step')}, w = {w:g}, {counted(max(taken), 'network evaluation')}"
    print(f"wrote {out}: {counted(len(x), 'image')} by {loaded.info.name}, {how} each")


def _say_what_is_worse(info: ModelInfo, steps: int, sampler: str) -> None:
    """Note where a student is asked for something else than what it was distilled for."""
    if info.steps is None:
        return
    if steps != info.steps:
        say_notes(
            f"{info.name} was distilled for {counted(info.steps, 'step')}; with "
            f"{steps} its images will be worse"
        )
    if sampler != info.sampler:
        say_notes(
            f"{info.name} was distilled for {info.sampler}: it predicts one step of that, "
            f"which {sampler} takes for something else"
        )


def _check_picture(out: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a place where no picture can be, before it is made."""
    if not out.parent.is_dir():
        raise ParamsError(f"the folder {out.parent} for --out does not exist: make it first")
    if out.is_dir():
        raise ParamsError(f"--out {out} is a folder: give the name of the picture to write")
    if out.suffix not in suffixes:
        raise ParamsError(f"--out {out} does not end in {' or '.join(suffixes)}: let it")


def toy(
    out: Annotated[Path, typer.Option(help="The picture to write, .png or .svg.")] = Path(
        "toy.png"
    ),
    seed: Annotated[
        int, typer.Option(help="Seed of the noise and the training.", min=0, max=2**32 - 1)
    ] = 0,
) -> None:
    """Show the method on 25 Gaussians in the plane, in under a minute, without data."""
    _check_picture(out, (".png", ".svg"))
    from pdpipe.reporting import figures
    from pdpipe.reporting.clouds import clouds
    from pdpipe.runtime import keep_freed_memory
    from pdpipe.toy import ToySettings, panels, run_toy

    keep_freed_memory()
    settings = ToySettings(seed=seed)
    found = run_toy(settings)
    print(f"Wasserstein-1 distance to the truth, {settings.points} points (two draws of the truth)")
    for w, floor in found.floor.items():
        print(f"w = {w:g} ({floor:.3f})")
        for model in ("teacher", "student"):
            row = [f"{cloud.steps}: {cloud.distance:.3f}" for cloud in found.of(model, w)]
            print(f"  {model} by steps  {'  '.join(row)}")
    with figures.style():
        drawn = clouds(panels(found))
        save = figures.svg_bytes if out.suffix == ".svg" else figures.png_bytes
        with _writing(out) as temporary:
            temporary.write_bytes(save(drawn))
    print(f"wrote {out}")


def bench(
    repeats: Annotated[
        int, typer.Option(help="Number of paired measurements.", min=3, max=10_000)
    ] = 30,
    waiting: Annotated[
        bool, typer.Option(help="Measure only how threads wait, alone and on shared cores.")
    ] = False,
) -> None:
    """Measure what updates and samplers cost, beside their network evaluations alone."""
    params = project_params()
    if waiting:
        from pdpipe.bench import bench_waiting

        for found in bench_waiting(max(repeats // 10, 1)):
            print(found, flush=True)
        return
    from pdpipe.bench import bench_samplers, bench_snapshots, bench_updates
    from pdpipe.runtime import configure, machine

    device = configure(params.runtime)
    about = machine(device)
    print(f"on {about['name']} ({about['device']}, {counted(about['threads'], 'thread')})")
    for result in bench_updates(params, device, repeats):
        print(result)
    print(bench_snapshots(params, device, repeats))
    for sampled in bench_samplers(params, device, repeats):
        print(sampled)


NOISE_STEPS = (1, 4, 8, 16, 32, 64, 256, 1024, 8192)


def precision(model: Model) -> None:
    """Measure bfloat16's rounding error, beside what a student of N steps has to learn."""
    params = project_params()
    from pdpipe.bench import image_noise, rung_noise
    from pdpipe.models import load_model
    from pdpipe.runtime import configure, machine

    loaded = load_model(model, device=str(configure(params.runtime)))
    about = machine(loaded.device)
    print(
        f"{loaded.info.name} predicts {loaded.info.parameterization}; on {about['name']} "
        f"({about['device']}), torch {about['torch']}; root mean squares"
    )
    for found in rung_noise(loaded, load_images(params, "heldout"), NOISE_STEPS):
        print(found)
    if loaded.info.kind != "encoder":
        steps, error, largest = image_noise(loaded)
        print(
            f"images of {steps} steps: bfloat16 moves them by {error:.2f} of 255 grey levels, "
            f"{largest:.1f} at most"
        )


def compare(
    a: Annotated[
        str, typer.Argument(help="A git revision, a DVC experiment or a report's folder.")
    ],
    b: Annotated[
        str, typer.Argument(help="The same; by default the working folder.")
    ] = "workspace",
    csv: Annotated[Path | None, typer.Option(help="A CSV to write, a row for each value.")] = None,
    markdown: Annotated[bool, typer.Option(help="Print Markdown.")] = False,
) -> None:
    """Show which settings differ between A and B, and how FID and IS changed."""
    if csv is not None and (csv.is_dir() or not csv.parent.is_dir()):
        raise ParamsError(f"--csv {csv} cannot be written: give a file in a folder that exists")
    from pdpipe.reporting import compare_text
    from pdpipe.reporting.compare import compare
    from pdpipe.reporting.sides import read_side
    from pdpipe.revisions import open_tree

    sides = []
    for name in (a, b):
        with open_tree(name) as tree:
            sides.append(read_side(tree.name, tree.read))
    found = compare(*sides)
    print((compare_text.markdown if markdown else compare_text.plain_text)(found), end="")
    if csv is not None:
        write_text(csv, compare_text.csv_text(found))
        if not markdown:
            print(f"\nwrote {csv}: {len(found.changes)} figures")
