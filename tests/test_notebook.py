"""The notebook for researchers: it runs as it stands, and what is stored in it is what it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch

from pdpipe.models import DiffusionModel, save_model

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs/researchers.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


def text(part: Any) -> str:
    return part if isinstance(part, str) else "".join(part)


def test_it_runs_in_a_project_with_models(
    tmp_path: Path,
    make_model: Callable[..., DiffusionModel],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the order of its cells, on tiny models, with one short training instead of its own."""
    for name, network in (("teacher", {}), ("student-4", {"w_frequencies": 4, "w_max": 4.0})):
        model = make_model(network)
        save_model(tmp_path / f"models/{name}.safetensors", model.network, model.info)
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    mpl.use("Agg")
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        for k, cell in enumerate(CODE):
            source = text(cell["source"])
            for longer, shorter in (("range(2000)", "range(400)"), ("range(500)", "range(40)")):
                source = source.replace(longer, shorter)
            exec(compile(source, f"{NOTEBOOK.name}, code cell {k + 1}", "exec"), names)
    assert names["path"].z.shape == (5, 10, 1, 8, 8)
    assert names["loss"].isfinite()
    printed = capsys.readouterr().out
    assert "label 12 is not a class of student-4" in printed
    assert printed.count("FID-1000[digits-cnn]") == 4


def test_every_output_is_stored_and_none_has_a_path_of_a_machine() -> None:
    stored = NOTEBOOK.read_text(encoding="utf-8")
    assert len(stored) < 300_000
    here = (f"/{path.name}/" for path in Path("/").iterdir() if len(path.name) > 2)
    assert not any(place in stored for place in ("/tmp/", "/home/", "/root/", *here))
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 7
    assert sum("FID-1000[digits-cnn]" in text(o.get("text", "")) for o in outputs) >= 2


def test_its_first_cell_shows_the_models_of_the_default_chain() -> None:
    shown = text(CODE[0]["outputs"][0]["data"]["text/plain"])
    assert "<pdpipe student-4: 4 steps, 588,177 parameters>" in shown
