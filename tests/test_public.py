"""What is public: every name has a docstring with an example, and the examples run."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import pdpipe
from pdpipe.errors import ModelError
from pdpipe.models import DiffusionModel, save_model

ROOT = Path(__file__).parents[1]
MODULES = ("pdpipe", "pdpipe.metrics", "pdpipe.diffusion", "pdpipe.errors")
NAMES = [
    (module, name)
    for module in MODULES
    for name in import_module(module).__all__
    if not name.startswith("__")
]
METHODS = [("pdpipe.models", f"DiffusionModel.{name}") for name in ("sample", "denoiser")]
# `(B, C, H, W)`, `[-1, 1]`, `0 or more`, `-> v_hat`: a shape, a range, or a signature.
SAYS_WHAT = re.compile(
    r"\([-+\w ]+,[-\w ,+]*\)|[([][-\d.]+, [-\w./]+\]|0 or more|from 1|around 0|float64, of|->"
)


def value(module: str, name: str) -> Any:
    found = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def is_plain(found: object) -> bool:
    """Whether it is a dictionary or an alias of a type, whose docstring only its source has."""
    return not (inspect.isclass(found) or inspect.isfunction(found) or inspect.ismodule(found))


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., DiffusionModel]
) -> Path:
    """A folder with a tiny teacher and a tiny student, random ones, where a chain has its own."""
    root = tmp_path_factory.mktemp("public")
    for name, network in (("teacher", {}), ("student-4", {"w_frequencies": 4, "w_max": 4.0})):
        model = make_model(network)
        save_model(root / f"models/{name}.safetensors", model.network, model.info)
    return root


def complaint(found: Any, name: str) -> str | None:
    """What the docstring of something public lacks."""
    text = inspect.getdoc(found) or ""
    if ">>> " not in text:
        return f"{name} has no example"
    if inspect.isfunction(found):
        source = inspect.getsource(found)
        arguments = inspect.signature(found).parameters.keys() - {"self"}
        words = text.partition("Examples:")[0]
        if not SAYS_WHAT.search(words):
            return f"{name} says no shape or range"
        told = "Args:" in text or re.search(r"rguments (and errors )?are those of `", words)
        if not told and not all(re.search(rf"\b{a}\b", words) for a in arguments):
            return f"{name} does not tell its arguments"
        if re.search(r"^    raise \w+Error", source, re.MULTILINE) and "Raises:" not in text:
            return f"{name} does not tell its errors"
    return None


@pytest.mark.parametrize(("module", "name"), NAMES + METHODS, ids=lambda part: part)
def test_what_is_public_is_explained(module: str, name: str) -> None:
    found = value(module, name)
    if is_plain(found):
        assert explained_in_source(name), f"{name} has no docstring below it"
    elif not inspect.ismodule(found):
        assert complaint(found, name) is None
    else:
        assert f"{module}.{name}" in MODULES


def explained_in_source(name: str) -> bool:
    """Whether a string stands below the assignment to that name, somewhere in `diffusion`."""
    for path in (ROOT / "pdpipe/diffusion").rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node, after in pairwise(body):
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            named = any(isinstance(t, ast.Name) and t.id == name for t in targets)
            if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                return True
    return False


@pytest.mark.parametrize(
    ("module", "name"),
    [*((m, n) for m, n in NAMES + METHODS if not is_plain(value(m, n))), ("pdpipe", "")],
    ids=lambda part: part,
)
def test_its_example_runs(
    module: str, name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    torch.manual_seed(0)
    found = value(module, name) if name else import_module(module)
    text = inspect.getdoc(found) or ""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    names = {"pdpipe": pdpipe, "torch": torch}
    test = doctest.DocTestParser().get_doctest(text, names, f"{module}.{name}", None, None)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=said.append)
    assert result.failed == 0, "".join(said)


def test_the_check_sees_what_is_missing() -> None:
    def bare(x: int) -> int:
        """Nothing said."""
        return x

    def vague(x: int) -> int:
        """Some x.

        >>> 1 + 1
        2
        """
        return x

    assert complaint(bare, "bare") == "bare has no example"
    assert complaint(vague, "vague") == "vague says no shape or range"


def test_the_first_import_is_light_and_the_rest_comes_when_asked_for() -> None:
    code = (
        "import sys, pdpipe\n"
        "assert 'torch' not in sys.modules\n"
        "assert {'load', 'metrics', 'grid', 'DiffusionModel'} <= set(dir(pdpipe))\n"
        "assert 'torch' not in sys.modules\n"
        "pdpipe.metrics.fid, pdpipe.grid\n"
        "from pdpipe import diffusion, to_pil\n"
        "assert 'torch' in sys.modules\n"
        "assert not {'mlflow', 'matplotlib', 'pandas', 'torch_fidelity'} & set(sys.modules)\n"
        "assert not hasattr(pdpipe, 'nothing')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_error_of_load_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^there is no model at .*: run `dvc repro` to train it"):
        pdpipe.load(tmp_path / "no.safetensors")


def test_the_package_says_that_it_is_typed() -> None:
    """For the type checkers of those who install it: in the package, and in what a wheel takes."""
    assert (ROOT / "pdpipe/py.typed").is_file()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "py.typed" in settings["tool"]["setuptools"]["package-data"]["pdpipe"]
