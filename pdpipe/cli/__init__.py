"""The `pdpipe` command. Heavy imports wait inside the commands, so that `--help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pdpipe import __version__
from pdpipe.cli.failures import sentence_about, shortened
from pdpipe.cli.streams import lasting_output
from pdpipe.errors import PdpipeError
from pdpipe.waiting import share_cores

MAKE, LOOK, USE, DIAGNOSE = "Make", "Look", "Use", "Diagnose"
STAGES = "Stages of the pipeline (run by `dvc repro`)"
STUDIES = "Stages of a study (run by `pdpipe study`)"
GROUPS = (MAKE, LOOK, USE, DIAGNOSE, STAGES, STUDIES)


class Commands(TyperGroup):
    """Commands in the help by what a person does; an interrupted one says how to go on."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; here, since Typer swallows the interrupt."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("interrupted; run the same command again to go on", file=sys.stderr)
            sys.exit(130)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # the types are Click's, inside
        """Write a section for each group, in order, with the whole first sentence of each."""
        for group in GROUPS:
            rows = [
                (name, (command.help or "").partition("\n\n")[0])
                for name, command in self.commands.items()
                if getattr(command, "rich_help_panel", None) == group
            ]
            with formatter.section(group):
                formatter.write_dl(rows)


app = typer.Typer(
    name="pdpipe",
    cls=Commands,
    help="Progressive and guided distillation of diffusion models.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pdpipe {__version__}")
        raise typer.Exit


@app.callback()
def pdpipe(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Progressive and guided distillation of diffusion models."""


Steps = Annotated[int, typer.Option(help="The student's sampling steps: a key of the ladder.")]


@app.command(rich_help_panel=STAGES)
def prepare() -> None:
    """Turn the data source into webdataset shards, train and held-out, with a manifest."""
    from pdpipe.cli import stages

    stages.prepare()


@app.command(rich_help_panel=STAGES)
def extractor() -> None:
    """Train the small classifier whose features stand behind FID and IS."""
    from pdpipe.cli import stages

    stages.extractor()


@app.command(rich_help_panel=STAGES)
def reference() -> None:
    """Measure the real images once: reference statistics and the floor."""
    from pdpipe.cli import evaluations

    evaluations.reference()


@app.command(rich_help_panel=STAGES)
def teacher() -> None:
    """Train the teacher: class-conditional, ready for classifier-free guidance."""
    from pdpipe.cli import stages

    stages.teacher()


@app.command(rich_help_panel=STAGES)
def guide() -> None:
    """Stage one: distil the guided teacher, at every w, into one student."""
    from pdpipe.cli import stages

    stages.guide()


@app.command(rich_help_panel=STAGES)
def halve(steps: Steps) -> None:
    """Stage two: distil the student above this rung into one of fewer steps."""
    from pdpipe.cli import stages

    stages.halve(steps)


@app.command(rich_help_panel=STAGES)
def rungs(
    steps: Annotated[
        int | None, typer.Option(help="One rung alone, printed and not written.")
    ] = None,
) -> None:
    """Measure how far each student is from its own teacher: where quality is lost."""
    from pdpipe.cli import evaluations

    evaluations.rungs(steps)


@app.command(rich_help_panel=STAGES)
def evaluate_teacher() -> None:
    """Measure the teacher by guided DDIM at every step count of the settings."""
    from pdpipe.cli import evaluations

    evaluations.evaluate_teacher()


@app.command(rich_help_panel=STAGES)
def evaluate(steps: Steps) -> None:
    """Measure one student at every guidance weight of the settings."""
    from pdpipe.cli import evaluations

    evaluations.evaluate_student(steps)


@app.command(rich_help_panel=STAGES)
def report() -> None:
    """Write reports/: tables, curves, sample grids, one HTML page."""
    from pdpipe.cli import evaluations

    evaluations.report()


Study = Annotated[str, typer.Argument(help="A folder of stages/, such as baselines.")]


Key = Annotated[str, typer.Argument(help="A key of the study's params.")]


@app.command(name="study", rich_help_panel=MAKE)
def run_study(
    study: Study,
    pull: Annotated[
        bool, typer.Option(help="Take from DVC's remote what is there, instead of making it.")
    ] = False,
) -> None:
    """Run a study, after what it needs of the chain: what is up to date already stays."""
    from pdpipe.cli import studies

    studies.study(study, pull)


@app.command(rich_help_panel=STUDIES)
def code(study: Study) -> None:
    """Write the digests of the code that a study's other stages depend on."""
    from pdpipe.cli import studies

    studies.code(study)


@app.command(rich_help_panel=STUDIES)
def teach(study: Study, key: Key) -> None:
    """Train one of a study's own teachers."""
    from pdpipe.cli import studies

    studies.teach(study, key)


@app.command(rich_help_panel=STUDIES)
def distil(study: Study, key: Key) -> None:
    """Distil one of a study's students, by any of the papers' algorithms."""
    from pdpipe.cli import studies

    studies.distil(study, key)


@app.command(rich_help_panel=STUDIES)
def measure(
    study: Study, arm: Annotated[str, typer.Argument(help="A key of its params' arms.")]
) -> None:
    """Measure one arm of a study on the chain's models."""
    from pdpipe.cli import studies

    studies.measure(study, arm)


@app.command(rich_help_panel=STUDIES)
def reconstruct(study: Study) -> None:
    """Lead held-out images to noise and back, by a study's encoders, and across classes."""
    from pdpipe.cli import reconstruction

    reconstruction.reconstruct(study)


@app.command(rich_help_panel=STUDIES)
def conclude(study: Study) -> None:
    """Gather a study's measurements, for the report to take up."""
    from pdpipe.cli import studies

    studies.conclude(study)


@app.command(rich_help_panel=MAKE)
def check(
    done: Annotated[
        Path | None,
        typer.Option(help="A file to write when all is well: DVC's stages wait for it."),
    ] = None,
) -> None:
    """Check params.yaml, and say what the chain will do, without running anything."""
    from pdpipe.cli import tools

    tools.check(done)


@app.command(rich_help_panel=MAKE)
def preset(
    name: Annotated[str, typer.Argument(help="digits, cifar10, imagenet64 or lsun-church128.")],
    out: Annotated[
        Path, typer.Option(help="The params file to write; the studies' go to stages/ beside it.")
    ] = Path("params.yaml"),
    force: Annotated[bool, typer.Option(help="Overwrite files with edits of their own.")] = False,
) -> None:
    """Write a complete params file, and one for every study."""
    from pdpipe.cli import tools

    tools.preset(name, out, force)


@app.command(rich_help_panel=USE)
def sample(
    model: Annotated[Path, typer.Option(help="A model file, models/….safetensors.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("grid.png"),
    labels: Annotated[
        str | None,
        typer.Option(help="Class numbers, such as 0-9 or 3,3,8 [default: each, 10 at most]."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Sampling steps [default: the student's own; 64 for a teacher]."),
    ] = None,
    w: Annotated[float, typer.Option(help="Guidance weight; 0 is no guidance.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    rows: Annotated[int, typer.Option(help="Images of each label.", min=1, max=10_000)] = 1,
    clip: Annotated[bool, typer.Option(help="Clip x_hat to [-1, 1] at each step.")] = True,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="ddim, ancestral, stochastic, dpm_solver, euler, heun or rk4 [default: the one "
            "that the model was trained for, ddim as a rule]."
        ),
    ] = None,
    eta: Annotated[float | None, typer.Option(help="Of ddim, 0 to 1 [default: 0].")] = None,
    gamma: Annotated[float | None, typer.Option(help="Of ancestral, 0 to 1 [default: 0].")] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or mps [default: PDPIPE_DEVICE, or auto].")
    ] = None,
) -> None:
    """Make images with a student or the teacher, and write them as one picture."""
    from pdpipe.cli import tools

    tools.sample(
        model, out, labels, steps, w, seed, rows, device,
        sampler=sampler, clip=clip, eta=eta, gamma=gamma,
    )  # fmt: skip


@app.command(rich_help_panel=LOOK)
def toy(
    out: Annotated[Path, typer.Option(help="The picture to write, .png or .svg.")] = Path(
        "toy.png"
    ),
    seed: Annotated[
        int, typer.Option(help="Of the noise and the training.", min=0, max=2**32 - 1)
    ] = 0,
) -> None:
    """Show the method on 25 Gaussians in the plane, in under a minute, with no data."""
    from pdpipe.cli import tools

    tools.toy(out, seed)


@app.command(rich_help_panel=DIAGNOSE)
def bench(
    repeats: Annotated[int, typer.Option(help="Paired measurements.", min=3, max=10_000)] = 30,
    waiting: Annotated[
        bool, typer.Option(help="Of how threads wait instead, alone and on shared cores.")
    ] = False,
) -> None:
    """Measure what updates and samplers cost against their network evaluations alone."""
    from pdpipe.cli import tools

    tools.bench(repeats, waiting)


@app.command(rich_help_panel=DIAGNOSE)
def precision(
    model: Annotated[Path, typer.Option(help="A model file, models/….safetensors.")],
) -> None:
    """Measure bfloat16's noise in a model, beside what a student of N steps has to learn of it."""
    from pdpipe.cli import tools

    tools.precision(model)


@app.command(rich_help_panel=MAKE)
def forecast(
    budget: Annotated[
        float, typer.Option(help="Seconds of timing, start-up aside.", min=1.0, max=3600.0)
    ] = 25.0,
) -> None:
    """Predict how long each stage takes on this machine, from a few timed updates and images."""
    from pdpipe.cli import forecasting

    forecasting.forecast(budget)


@app.command(rich_help_panel=LOOK)
def compare(
    a: Annotated[str, typer.Argument(help="A revision, a DVC experiment or a report's folder.")],
    b: Annotated[str, typer.Argument(help="The same; by default the checkout.")] = "workspace",
    csv: Annotated[Path | None, typer.Option(help="A CSV to write, a row for each figure.")] = None,
    markdown: Annotated[bool, typer.Option(help="Print Markdown.")] = False,
) -> None:
    """Show which settings changed from A to B, and what that did to FID and IS."""
    from pdpipe.cli import comparing

    comparing.compare(a, b, csv, markdown)


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2.

    So is what the operating system, git, DVC or MLflow refuses. Bugs keep their traceback.
    """
    share_cores()
    with lasting_output():
        try:
            app()
        except Exception as error:
            sentence = str(error) if isinstance(error, PdpipeError) else sentence_about(error)
            if sentence is None:
                raise
            print(f"error: {shortened(sentence)}", file=sys.stderr)
            sys.exit(2)
