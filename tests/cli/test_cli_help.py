"""What the command says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import pdpipe
from pdpipe.cli import GROUPS, STAGES, STUDIES, app, main

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def printed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pdpipe", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    return capfd.readouterr().out


def test_the_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(capfd, "--version") == f"pdpipe {pdpipe.__version__}\n"


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_short_and_long_and_fits_into_80_columns(
    command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    text = printed(capfd, *command, "-h")
    assert text == printed(capfd, *command, "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.replace("[ARGS]...", "")  # nothing is cut


def test_commands_are_grouped_by_what_a_person_does_stages_last(
    capfd: pytest.CaptureFixture[str],
) -> None:
    text = printed(capfd, "-h")
    places = [text.index(f"\n{group}:\n") for group in GROUPS]
    assert places == sorted(places)
    assert GROUPS[-2:] == (STAGES, STUDIES)
    whole = " ".join(text.split())
    for name, command in COMMANDS.items():
        assert f" {name} {' '.join(command.help.split())}" in whole  # so each is in a group


def test_completion_knows_commands_and_options(tmp_path: Path) -> None:
    def completed(words: str) -> list[str]:
        script = "from pdpipe.cli import app; app(prog_name='pdpipe')"
        environment = {
            "_PDPIPE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True
        )
        return done.stdout.split()

    assert completed("pdpipe pre") == ["prepare", "preset", "precision"]
    assert completed("pdpipe sample --sam") == ["--sampler"]
