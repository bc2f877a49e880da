"""The layers: imports go downwards only, and each heavy dependency has one owner."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pdpipe"

TOUR = ROOT / "docs/how-it-is-built.md"


def rooms() -> list[list[str]]:
    """The lines of the picture in the tour, the uppermost first."""
    picture = TOUR.read_text(encoding="utf-8").partition("<!-- rooms -->\n```\n")[2]
    return [line.split() for line in picture.partition("```")[0].splitlines()]


# A room imports from those in lower lines, so not from those in its own.
LAYERS = {room: -line for line, names in enumerate(rooms()) for room in names}
OWNERS = {
    "typer": {"cli"},
    "mlflow": {"tracking"},
    "safetensors": {"tensor_files"},
    "webdataset": {"data", "sources"},
    "sklearn": {"sources"},
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
    # a solver; the best pairing; Student's t
    "scipy": {"diffusion", "evaluation", "toy", "reporting", "metrics"},
    "pytest": set(),
}
MODULES = sorted(PACKAGE.rglob("*.py"))
FACADE = PACKAGE / "__init__.py"  # `pdpipe.load`


def is_module(name: str) -> bool:
    """Whether that is a file or a folder of the package."""
    place = ROOT / name.replace(".", "/")
    return place.is_dir() or place.with_name(f"{place.name}.py").is_file()


def imports(path: Path, *, types: bool = True) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; names imported from pdpipe are modules.

    Without `types`, what only the type checker imports is left out.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not types:
        tree.body = [n for n in tree.body if not ast.unparse(n).startswith("if TYPE_CHECKING:")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if node.module == "pdpipe" or is_module(inner) else node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield str(name.value)


def part(path: Path) -> str:
    """The package or module of pdpipe that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def identifier(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_part_has_a_place_in_the_picture_and_a_line_in_the_table() -> None:
    parts = {part(path) for path in MODULES if path != FACADE}
    assert parts == set(LAYERS)
    assert sum(len(line) for line in rooms()) == len(LAYERS), "each stands there once"
    rows = re.findall(r"^\| (`.*?) \|", TOUR.read_text(encoding="utf-8"), re.MULTILINE)
    assert parts <= {
        name.removesuffix(".py") for row in rows for name in re.findall(r"`(.+?)`", row)
    }


def test_every_place_that_the_tour_names_exists() -> None:
    """`room/file.py`, `room/`, and `file.py::name`, whose name is defined there."""
    named = re.findall(r"`((?:\w+/)*\w+(?:/|\.py)(?:::[\w.]+)?)`", TOUR.read_text(encoding="utf-8"))
    assert len(named) > 40
    for place in named:
        path, _, name = place.partition("::")
        found = next(p for p in (PACKAGE / path, ROOT / path) if p.exists())
        if name:
            last = name.rpartition(".")[2]
            assert re.search(rf"\b(def|class) {last}\b", found.read_text(encoding="utf-8")), place


@pytest.mark.parametrize("path", [p for p in MODULES if p != FACADE], ids=identifier)
def test_imports_go_downwards(path: Path) -> None:
    own = part(path)
    used = {name.split(".")[1] for name in imports(path) if name.startswith("pdpipe.")}
    wrong = [name for name in used - {own, "__version__"} if LAYERS[name] >= LAYERS[own]]
    assert not wrong, f"{identifier(path)} imports upwards or sideways: {wrong}"


def test_no_two_files_import_each_other() -> None:
    """Within a room too; a package's `__init__` stands for all that it takes from its files."""
    files = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in MODULES}
    named = {name.removesuffix("/__init__").replace("/", "."): path for name, path in files.items()}
    graph = {
        path: {named[n] for n in imports(path, types=False) if n in named} - {path}
        for path in MODULES
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function; its docstring aside, which may hold arguments and examples."""
    assert node.end_lineno
    said = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
    spoken = said.end_lineno - said.lineno + 1 if said and said.end_lineno else 0
    return node.end_lineno - node.lineno + 1 - spoken


def test_functions_are_short() -> None:
    nodes = [
        (path, node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = {
        f"{path.relative_to(PACKAGE)}::{node.name}:{node.lineno}": length(node)
        for path, node in nodes
    }
    assert {name: count for name, count in lines.items() if count > 60} == {}
    assert statistics.median(lines.values()) <= 8


def test_a_name_is_of_one_class() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(PACKAGE).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_dependencies_have_one_owner(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    wrong = {name for name in used & set(OWNERS) if part(path) not in OWNERS[name]}
    assert not wrong, f"{identifier(path)} imports {wrong}"


def test_diffusion_knows_numerics_and_nothing_else() -> None:
    used = {
        name.split(".")[0]
        for path in (PACKAGE / "diffusion").rglob("*.py")
        for name in imports(path)
    }
    assert used <= {"torch", "scipy", "pdpipe", *sys.stdlib_module_names}


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
