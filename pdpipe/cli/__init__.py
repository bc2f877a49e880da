"""The `pdpipe` command. Heavy imports wait inside the commands, so that `--help` is quick."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pdpipe import __version__
from pdpipe.cli import evaluations, forecasting, projects, stages, studies, tools
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
            members = self.of(group).items()
            with formatter.section(group):
                formatter.write_dl(
                    [(name, (command.help or "").partition("\n\n")[0]) for name, command in members]
                )

    def of(self, group: str) -> dict[str, Any]:
        """{name: command} of a group, in the order in which they were registered."""
        return {
            name: command
            for name, command in self.commands.items()
            if getattr(command, "rich_help_panel", None) == group
        }


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


COMMANDS = {  # within a group, as the help lists them
    STAGES: (
        stages.prepare, stages.extractor, evaluations.reference, stages.teacher, stages.guide,
        stages.halve, evaluations.rungs, evaluations.evaluate_teacher, evaluations.evaluate,
        evaluations.report,
    ),
    STUDIES: (
        studies.code, studies.teach, studies.distil, studies.measure, studies.reconstruct,
        studies.conclude,
    ),
    MAKE: (
        projects.new, studies.study, tools.check, tools.preset, forecasting.forecast,
        projects.upgrade,
    ),
    USE: (tools.sample,),
    LOOK: (tools.toy, tools.compare, tools.sync),
    DIAGNOSE: (tools.bench, tools.precision),
}  # fmt: skip
for group, commands in COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=group)(command)


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
