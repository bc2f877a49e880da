"""The commands beside the stages: check, preset, sample, toy, bench, precision."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pdpipe import layout
from pdpipe.cli.checking import check_here, say_notes
from pdpipe.errors import DataError, ModelError, ParamsError, counted
from pdpipe.files import replacing, write_text
from pdpipe.params import environment_runtime, read_params, settings_of
from pdpipe.presets import left_out, preset_files, preset_names


def check(done: Path | None) -> None:
    """Validate params.yaml, against the data and this machine too, and print the chain.

    Then write `done`, which has the same content whatever the settings: stages that wait for it do
    not run again because it was written again.
    """
    params = read_params(layout.PARAMS)
    if done is not None:
        _check_dependency(params.data.path)
    notes = check_here(params)
    rungs = " -> ".join(str(n) for n in params.student_steps())
    if done is not None:
        write_text(done, f"{layout.PARAMS} was valid\n")
    else:  # in a run, `prepare` says it
        say_notes(notes)
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


def preset(name: str, out: Path, force: bool) -> None:
    """Write a preset to `out`, and its studies' params beside it.

    Unless forced, one file with edits of its own keeps all of them as they are.

    Raises:
        ParamsError: no such preset, or a file would be lost: no preset has its contents.
    """
    files = preset_files(name, out)
    _check_replaceable(list(files), out, force)
    for path, text in reversed(files.items()):  # the chain's last: where it is, all are
        with _writing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    params = read_params(out)
    _, *studies = (path.parent.name for path in files)
    print(f"wrote {out}: the {name} preset")
    print(f"wrote {out.parent / layout.study_params('<study>')}: {', '.join(studies)}")
    if left_out(name):
        print(
            f"note: these data have no labels, so {name} leaves out the studies "
            f"{', '.join(left_out(name))}; their params, if there are any, stay as they are",
            file=sys.stderr,
        )
    if params.data.source not in ("digits", "folder"):
        print(
            f"note: source {params.data.source} arrives in a later release; until then put its "
            f"images in {params.data.path}/<class>/ and set data.source to folder",
            file=sys.stderr,
        )


def _check_replaceable(paths: list[Path], out: Path, force: bool) -> None:
    """Refuse to write where a folder is or, unless forced, in place of what no preset wrote."""
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


def sample(
    model_path: Path,
    out: Path,
    labels: str | None,
    steps: int | None,
    w: float,
    seed: int,
    rows: int,
    device: str | None,
    *,
    sampler: str | None,
    **settings: Any,
) -> None:
    """Make images and write them as one PNG: a column for each label, `rows` images of each.

    Without `labels`, of each class, ten at most. `settings` are those of `make_sampler`.
    """
    columns = None if labels is None else parse_labels(labels)
    _check_picture(out, (".png",))
    runtime = environment_runtime()
    if device is not None:
        runtime = runtime.model_copy(update={"device": device})
    from PIL import Image

    from pdpipe.data import to_uint8
    from pdpipe.models import load_model, make_sampler
    from pdpipe.runtime import configure

    model = load_model(model_path, device=str(configure(runtime)))
    if columns is None:
        columns = list(range(min(model.network.config.num_classes or 10, 10)))
    own = model.info.sampler
    chosen = make_sampler(sampler or own, model.schedule, **settings)
    trained = model.info.steps
    num_steps = model.resolve_steps(steps)
    if trained is not None and num_steps != trained:
        print(
            f"note: {model.info.name} was distilled for {counted(trained, 'step')}; with "
            f"{num_steps} its images will be worse",
            file=sys.stderr,
        )
    if trained is not None and sampler not in (None, own):
        print(
            f"note: {model.info.name} was distilled for {own}: it predicts one step of that, which "
            f"{sampler} takes for something else",
            file=sys.stderr,
        )
    taken = []  # network evaluations of each image, for each batch
    x = model.sample(
        columns * rows,
        w=w,
        steps=num_steps,
        seed=seed,
        sampler=chosen,
        on_batch=lambda _, evaluations: taken.append(evaluations),
    )
    images = to_uint8(x).view(rows, len(columns), *model.info.image_shape)
    # rows x columns tiles of (C, H, W) -> one (rows H, columns W, C)
    picture = images.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2).numpy()
    scale = max(1, 64 // model.info.image_shape[-1])
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    with _writing(out) as temporary:
        image.save(temporary, format="PNG")
    print(
        f"wrote {out}: {counted(len(x), 'image')} by {model.info.name}, "
        f"{counted(num_steps, 'step')}, w = {w:g}, {counted(max(taken), 'network evaluation')} each"
    )


def _check_picture(out: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a place where no picture can be, before it is made."""
    if not out.parent.is_dir():
        raise ParamsError(f"the folder {out.parent} for --out does not exist: make it first")
    if out.is_dir():
        raise ParamsError(f"--out {out} is a folder: give the name of the picture to write")
    if out.suffix not in suffixes:
        raise ParamsError(f"--out {out} does not end in {' or '.join(suffixes)}: let it")


def toy(out: Path, seed: int) -> None:
    """Distil the exact teacher of the toy, print its distances and write its picture."""
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


def bench(repeats: int, waiting: bool) -> None:
    """Print the cost of updates and samplers as ratios to their network evaluations.

    Or, of `waiting`, the time of updates by how threads wait, in a tenth as many rounds.
    """
    params = read_params(layout.PARAMS)
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


def precision(model_path: Path) -> None:
    """Print the noise of bfloat16 in a model beside the signal of a halving, for every N."""
    params = read_params(layout.PARAMS)
    from pdpipe.bench import image_noise, rung_noise
    from pdpipe.cli.run import load_images
    from pdpipe.models import load_model
    from pdpipe.runtime import configure, machine

    model = load_model(model_path, device=str(configure(params.runtime)))
    about = machine(model.device)
    print(
        f"{model.info.name} predicts {model.info.parameterization}; on {about['name']} "
        f"({about['device']}), torch {about['torch']}; root mean squares"
    )
    for found in rung_noise(model, load_images(params, "heldout"), NOISE_STEPS):
        print(found)
    if model.info.kind != "encoder":
        steps, error, largest = image_noise(model)
        print(
            f"images of {steps} steps: bfloat16 moves them by {error:.2f} of 255 grey levels, "
            f"{largest:.1f} at most"
        )
