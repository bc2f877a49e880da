"""What makes a metric: one file, and one line in the registry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pdpipe.evaluation.metrics import METRICS
from pdpipe.evaluation.records import Cell, Floor
from pdpipe.reporting.measurements import COLUMNS
from pdpipe.reporting.metrics import METRICS as SHOWN

SPREAD = '''
"""How far features lie from their mean, against the training images': 1 if as far."""

from pdpipe.evaluation.metrics.metric import Metric


def of_real(real):
    return {"spread": real.features.double().var(dim=0).sum()}


def measure(images, real):
    from pdpipe.evaluation.intervals import with_leave_outs

    features, spread = images.features.double(), real.state["spread"]["spread"]

    def without(kept):
        return float(features[kept].var(dim=0).sum() / spread)

    return with_leave_outs(without, images.groups, len(features), numbers=features.numel())


METRIC = Metric(
    means="how far the features spread",
    key="spread",
    name="spread",
    better="higher",
    measure=measure,
    of_real=of_real,
    least=0.0,
    against_steps=True,
    new=True,
)
'''

USED = """
import json, torch
from pathlib import Path
from pdpipe import registry
registry.METRICS["spread"] = "spread"

from pdpipe.data import ImageSet
from pdpipe.evaluation import measure, observe, records, reference
from pdpipe.networks import Classifier, ClassifierConfig
from pdpipe.reporting import compare_text, measurements, metrics

g = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (80, 1, 8, 8), dtype=torch.uint8, generator=g)
labels = torch.arange(80) % 4
train, heldout = (
    ImageSet(images=images[half], labels=labels[half], classes=tuple("0123"), digest="x")
    for half in (slice(0, 40), slice(40, 80))
)
torch.manual_seed(0)
judge = Classifier(ClassifierConfig(channels=1, num_classes=4, features=16, dropout=0.0)).eval()
about = {"extractor_name": "random", "extractor_sha256": "ab" * 32}
real = reference.build_reference(train, heldout, judge, judge, **about)
path = Path("reference.safetensors")
reference.save_reference(path, real)
real = reference.load_reference(path)
seen = observe.observe(train.images, train.labels, observe.Instruments(judge, judge, real))
place = {"steps": 1, "w": 0.0, "nfe": 1, "paired_mse": 0.0}
cell = records.Cell.model_validate({**place, **measure.measure(seen, real)})
[shown] = [metric for metric in metrics.METRICS if metric.column == "spread"]
print(json.dumps({
    "cell": [cell.plain()["spread"], cell.plain()["spread_se"]],
    "floor": measure.floor_record(real).plain()["floor"]["spread"],
    "columns": [name for name in measurements.COLUMNS if "spread" in name],
    "shown": [shown.name, shown.better, shown.against_steps],
    "compared": compare_text.NAMES["spread"],
}))
"""


def test_a_new_metric_goes_from_its_file_to_records_and_report(tmp_path: Path) -> None:
    (tmp_path / "spread.py").write_text(SPREAD)
    done = subprocess.run(
        [sys.executable, "-c", USED], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    value, error = found["cell"]  # the training images, with themselves
    assert value == pytest.approx(1.0, rel=1e-6)
    assert error > 0
    assert 0.5 < found["floor"] < 2.0
    assert found["columns"] == ["spread", "spread_se"]
    assert found["shown"] == ["spread", "higher", True]
    assert found["compared"] == "spread"


def test_every_metric_has_its_field_column_and_table() -> None:
    for record in (Cell, Floor):
        names = {info.alias or name for name, info in record.model_fields.items()}
        assert {name for key in METRICS for name in (key, f"{key}_se")} <= names
    assert [key for key in COLUMNS if key in METRICS] == list(METRICS)
    assert [metric.column for metric in SHOWN][: len(METRICS)] == list(METRICS)
