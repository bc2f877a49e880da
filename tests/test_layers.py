"""The layers: imports go downwards only, and each heavy dependency has one owner."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pdpipe"

# Of equal number: no import of each other. L0 is made of single modules, in an order of their own.
LAYERS = {
    "errors": 0.0,
    "extractors": 0.0,
    "files": 0.05,  # on errors
    "layout": 0.0,
    "progress": 0.0,
    "waiting": 0.0,
    "params": 0.1,  # on errors, files
    "seeds": 0.1,  # on files
    "tensor_files": 0.1,  # on errors, files
    "revisions": 0.1,  # on errors, layout
    "presets": 0.2,  # on params, layout
    "studies": 0.2,  # on layout, files
    "runtime": 0.2,  # on params
    "diffusion": 1,
    "networks": 2,
    "data": 2,
    "tracking": 2,
    "models": 3,
    "training": 4,
    "evaluation": 4,
    "bench": 5,
    "reporting": 5,
    "rungs": 4.5,  # on training, evaluation
    "toy": 5.5,  # on reporting
    "cli": 6,
}
OWNERS = {
    "typer": {"cli"},
    "mlflow": {"tracking"},
    "safetensors": {"tensor_files"},
    "webdataset": {"data"},
    "sklearn": {"data"},
    "torch_fidelity": {"evaluation"},
    "torchvision": {"evaluation"},
    "pandas": {"reporting"},
    "matplotlib": {"reporting"},
    "jinja2": {"reporting"},
    "tqdm": {"progress"},
    "ruamel": {"params", "presets"},
    "yaml": set(),  # its dialect is not DVC's
    "dvc": {"revisions", "studies"},
    "diffusers": set(),
    "scipy": {"diffusion", "toy", "reporting"},  # adaptive solver; best pairing; Student's t
    "pytest": set(),
}
MODULES = sorted(PACKAGE.rglob("*.py"))
FACADE = PACKAGE / "__init__.py"  # `pdpipe.load`


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; names imported from pdpipe are modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module
            if node.module == "pdpipe":
                yield from (f"pdpipe.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield str(name.value)


def part(path: Path) -> str:
    """The package or module of pdpipe that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def identifier(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_part_has_a_layer() -> None:
    assert {part(path) for path in MODULES if path != FACADE} == set(LAYERS)


@pytest.mark.parametrize("path", [p for p in MODULES if p != FACADE], ids=identifier)
def test_imports_go_downwards(path: Path) -> None:
    own = part(path)
    used = {name.split(".")[1] for name in imports(path) if name.startswith("pdpipe.")}
    wrong = [name for name in used - {own, "__version__"} if LAYERS[name] >= LAYERS[own]]
    assert not wrong, f"{identifier(path)} imports upwards or sideways: {wrong}"


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_dependencies_have_one_owner(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    wrong = {name for name in used & set(OWNERS) if part(path) not in OWNERS[name]}
    assert not wrong, f"{identifier(path)} imports {wrong}"


def test_diffusion_knows_torch_and_nothing_else() -> None:
    used = {
        name.split(".")[0]
        for path in (PACKAGE / "diffusion").glob("*.py")
        for name in imports(path)
    }
    assert used <= {"torch", "pdpipe", *sys.stdlib_module_names}


def test_the_checks_see_what_they_look_for(tmp_path: Path) -> None:
    """A probe: each kind of import, hidden in a function or behind TYPE_CHECKING."""
    probe = tmp_path / "probe.py"
    probe.write_text(
        "from typing import TYPE_CHECKING\n"
        "import importlib\n"
        "if TYPE_CHECKING:\n"
        "    from pdpipe.models import ModelInfo\n"
        "def f():\n"
        "    import mlflow.tracking\n"
        "    from pdpipe import layout, cli\n"
        "    importlib.import_module('torch_fidelity.metric_fid')\n"
    )
    assert {
        "pdpipe.models",
        "mlflow.tracking",
        "pdpipe.layout",
        "pdpipe.cli",
        "torch_fidelity.metric_fid",
    } <= set(imports(probe))


HEAVY = ("torch", "mlflow", "pandas", "numpy", "matplotlib", "sklearn", "webdataset", "PIL")


@pytest.mark.parametrize("module", ["pdpipe", "pdpipe.cli", "pdpipe.params", "pdpipe.layout"])
def test_importing_it_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([n for n in {HEAVY} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
