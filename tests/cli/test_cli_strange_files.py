"""Files and arguments that no hand would write: one sentence of the command that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from conftest import Typed

STRANGE = {
    "deep list": "[" * 100_000,
    "deep mapping": '{"a":' * 100_000,
    "long number": '{"format": ' + "9" * 5000 + "}",
    "list": "[1, 2]",
    "null": "null",
    "text": '"text"',
    "date": "2026-11-28",
    "not finite": '{"format": NaN}',
    "nothing": "",
    "not UTF-8": "\udcff",
}
READERS = [
    (["check"], "params.yaml"),
    (["teacher"], "params.yaml"),
    (["teacher"], "data/shards/manifest.json"),
    (["report"], "results/metrics/teacher.json"),
    (["report"], "results/metrics/rungs.json"),
    (["report"], "results/cost/teacher.json"),
    (["report"], "stages/studies.json"),
    (["compare", "workspace", "workspace"], "params.yaml"),
    (["compare", "workspace", "workspace"], "results/metrics/teacher.json"),
    (["compare", "workspace", "workspace"], "reports/table.csv"),
    (["measure", "mine", "a"], "stages/mine/params.yaml"),
]


@pytest.mark.parametrize(("command", "file"), READERS)
def test_a_strange_file_is_one_sentence(typed: Typed, command: list[str], file: str) -> None:
    path = typed.root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    late = file == "stages/studies.json"  # is read when the report is half done: a few will do
    for name, text in list(STRANGE.items())[: 3 if late else None]:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        if file == "params.yaml" and name == "not finite" and command[0] == "compare":
            continue  # which compares any settings
        printed = typed.run(*command)
        assert printed.code == 2, (name, printed)
        line = printed.err.splitlines()[-1]
        assert line.startswith("error: "), name
        assert "Traceback" not in printed.err
        assert file.rpartition("/")[2] in line, name
        assert len(line) < 500, name


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_strange_metadata_of_a_model_is_one_sentence(typed: Typed, text: str) -> None:
    path = typed.root / "models/student-2.safetensors"
    if text.isascii():
        save_file(load_file(path), path, {"pdpipe": text})
        assert "models/student-2.safetensors" in typed.refused("sample", "--model", str(path))


OPTIONS = ("labels", "steps", "w", "seed", "rows", "eta", "gamma", "device")
NUMBERS = ["1" + "0" * 30, "-1", "9" * 5000, "nan", "inf", "1e400", "½", "", "[", "\udcff"]


@pytest.mark.parametrize(
    "command",
    [["sample", "--model", "models/student-2.safetensors", f"--{option}"] for option in OPTIONS]
    + [["halve", "--steps"], ["evaluate", "--steps"], ["rungs", "--steps"], ["toy", "--seed"]]
    + [["bench", "--repeats"], ["forecast", "--budget"], ["preset"], ["measure", "x"], ["compare"]],
)  # fmt: skip
def test_a_strange_number_on_the_command_line_is_a_sentence(
    typed: Typed, command: list[str]
) -> None:
    for number in NUMBERS:
        if command[0] == "sample" and command[-1] == "--seed" and number in NUMBERS[:2]:
            continue  # any whole number is a seed there
        printed = typed.run(*command, number)
        assert printed.code == 2, (number, printed)
        assert "Traceback" not in printed.err
