"""The forecast counts as the stages do, and multiplies; no test depends on a machine's speed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pdpipe.bench import (
    DataSize,
    Rates,
    StageForecast,
    StartUp,
    Untrained,
    data_size,
    forecast,
    measure_rates,
    total,
    untrained_models,
)
from pdpipe.bench.counting import evaluations_of_chain, trainings_of
from pdpipe.bench.rates import MeasuringRate, SamplingRate
from pdpipe.bench.timing import LEAST_TIMINGS, Rate, Seconds, time_batches
from pdpipe.errors import ParamsError
from pdpipe.params import Params, parse_params, read_params

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
METRICS = 1.5  # seconds, round as all of them here
DIGITS = DataSize(classes=10, train=1581, heldout=216, known=True)


def exactly(value: float) -> Seconds:
    return Seconds(value, value, value)


# Counting.


@pytest.fixture(scope="module")
def default() -> Params:
    return read_params(ROOT / "pdpipe/presets/digits.yaml")


@pytest.fixture(scope="module")
def default_models(default: Params) -> Untrained:
    return untrained_models(default, DIGITS, CPU)


def test_evaluations_are_those_of_the_published_metrics(
    default: Params, default_models: Untrained
) -> None:
    """Every cell of the published metrics, whose network evaluations the samplers counted."""
    counted = evaluations_of_chain(default, default_models)
    assert len(counted) == 1 + len(default.ladder)
    for stage, cells in counted.items():
        name = stage.replace("evaluate-", "").replace("evaluate@", "student-")
        record = json.loads((ROOT / f"docs/results/metrics/{name}.json").read_text())
        images = record["protocol"]["num_fake"]
        assert [(c.images, c.nfe) for c in cells] == [(images, c["nfe"]) for c in record["cells"]]


def test_a_larger_ratio_counts_its_teachers_steps(raw: dict[str, Any]) -> None:
    raw["ladder"] = {"16": {"from": "64", "updates": 10, "learning_rate": 1e-3}}
    _, work = trainings_of(parse_params(raw))["halve@16"]
    assert work.network_evaluations == 10 * raw["halve"]["batch_size"] * (4 + 1)


# Multiplying.


def rates_of(params: Params, models: Untrained, **changes: Any) -> Rates:
    """Round numbers for everything."""
    rate = Rate(per_image=Seconds(1.0, 2.0, 4.0), batch=8, wanted=8)
    sampling = SamplingRate(exactly(0.5), Seconds(0.5, 1.0, 2.0), rate)
    kinds = {c.kind for cells in evaluations_of_chain(params, models).values() for c in cells}
    values: dict[str, Any] = {
        "updates": {kind: rate for kind, _ in trainings_of(params).values()},
        "sampling": dict.fromkeys(kinds, sampling),
        "measuring": MeasuringRate(exactly(0.25), exactly(0.125), exactly(1e-4)),
        "writing": exactly(0.1),
        "reading": exactly(0.01),
    }
    return Rates(**(values | changes))


def stages_of(raw: dict[str, Any], start: float = 3.0, **changes: Any) -> dict[str, StageForecast]:
    params = parse_params(raw)
    models = untrained_models(params, DIGITS, CPU)
    around = StartUp(process=exactly(start), metrics=exactly(METRICS))
    found = forecast(params, models, DIGITS, rates_of(params, models, **changes), around)
    return {stage.name: stage for stage in found}


def test_every_stage_of_the_chain_in_its_order(raw: dict[str, Any]) -> None:
    rungs = sorted(map(int, raw["ladder"]), reverse=True)
    assert list(stages_of(raw)) == [
        *("prepare", "extractor", "reference", "teacher", "guide"),
        *(f"halve@{n}" for n in rungs),
        "rungs",
        "evaluate-teacher",
        *(f"evaluate@{n}" for n in rungs),
        "report",
    ]


def test_a_training_is_its_images_times_their_rate(raw: dict[str, Any]) -> None:
    teacher = stages_of(raw)["teacher"]
    images = raw["teacher"]["updates"] * raw["teacher"]["batch_size"]
    before = 3.0 + 0.01 * DIGITS.train
    assert teacher.images == images
    assert teacher.seconds.low == pytest.approx(before + images)
    assert teacher.seconds.middle == pytest.approx(before + 2 * images)
    assert teacher.seconds.high == pytest.approx(before + 4 * images)


def test_twice_the_updates_take_twice_as_long(raw: dict[str, Any]) -> None:
    once = stages_of(raw, start=0.0, reading=exactly(0.0))
    raw["guide"]["updates"] *= 2
    twice = stages_of(raw, start=0.0, reading=exactly(0.0))
    assert twice["guide"].seconds.middle == pytest.approx(2 * once["guide"].seconds.middle)
    assert {name for name in once if once[name] != twice[name]} == {"guide"}


def test_an_evaluation_is_the_sum_of_its_cells(raw: dict[str, Any]) -> None:
    raw["evaluation"] |= {"num_samples": 100, "w": [0.0, 1.0], "paired_samples": 10}
    stages = stages_of(raw)
    measuring = 0.25 + 1e-4 * DIGITS.train
    student = 3.0 + METRICS + 2 * 100 * (0.5 + 4 * 1.0 + measuring)
    assert stages["evaluate@4"].seconds.middle == pytest.approx(student)
    assert stages["evaluate@4"].images == 200
    steps = raw["evaluation"]["teacher_steps"]
    assert stages["evaluate-teacher"].network_evaluations == 100 * 3 * sum(steps)


def test_each_seed_of_few_steps_is_generated_and_measured(raw: dict[str, Any]) -> None:
    raw["evaluation"] |= {"num_samples": 100, "w": [0.0], "paired_samples": 10, "seeds": 3}
    stages = stages_of(raw)
    steps = raw["evaluation"]["teacher_steps"]
    times = [3 if n <= 8 else 1 for n in steps]
    assert {3, 1} <= set(times)
    assert stages["evaluate@8"].images == 300
    assert stages["evaluate@16"].images == 100
    assert stages["evaluate-teacher"].images == 100 * sum(times)
    evaluations = 100 * sum(n * k for n, k in zip(steps, times, strict=True))
    assert stages["evaluate-teacher"].network_evaluations == evaluations


def test_the_real_images_are_measured_in_their_pairs(raw: dict[str, Any]) -> None:
    both = DIGITS.train + DIGITS.heldout
    expected = 3.0 + METRICS + both * (0.01 + 0.125) + 1e-4 * DIGITS.train * DIGITS.heldout
    assert stages_of(raw)["reference"].seconds.middle == pytest.approx(expected)
    assert stages_of(raw)["prepare"].seconds.middle == pytest.approx(3.0 + 0.1 * both)


def test_the_total_is_the_sum(raw: dict[str, Any]) -> None:
    stages = list(stages_of(raw).values())
    for end in ("low", "middle", "high"):
        parts = [getattr(stage.seconds, end) for stage in stages]
        assert getattr(total(stages), end) == pytest.approx(sum(parts))


# Timing.


def test_what_is_timed_is_what_the_stages_do(raw: dict[str, Any]) -> None:
    """The real objectives, samplers and metrics of chains of several kinds."""
    raw["network"] |= {"base_channels": 8, "head_channels": 8, "embedding_channels": 16}
    for section in ("teacher", "guide", "halve"):
        raw[section] |= {"batch_size": 8}
    raw["extractor"] |= {"source": "train", "batch_size": 8, "features": 16}
    raw["evaluation"] |= {"num_samples": 20, "batch_size": 10, "paired_samples": 10}
    raw["ladder"] = {
        "16": {"from": "64", "updates": 10, "learning_rate": 1e-3},
        "8": {"from": "16", "updates": 10, "learning_rate": 1e-3},
    }
    unconditional = {"network": raw["network"] | {"conditional": False}}
    unconditional["guide"] = raw["guide"] | {"w_max": 0.0}
    unconditional["evaluation"] = raw["evaluation"] | {"w": [0.0], "teacher_sampler": "heun"}
    for changes, sampled in (
        ({}, {"teacher", "teacher, guided", "student"}),
        (unconditional, {"teacher", "student"}),
    ):
        params = parse_params(raw | changes)
        size = DataSize(classes=10, train=300, heldout=40, known=False)
        models = untrained_models(params, size, CPU)
        rates = measure_rates(params, models, size, CPU, 0.01)
        assert set(rates.updates) == {"extractor", "teacher", "guide", "halve by 4", "halve by 2"}
        assert set(rates.sampling) == sampled
        for rate in rates.batched.values():
            assert 0 < rate.per_image.low <= rate.per_image.middle <= rate.per_image.high
        for part in (rates.measuring.pair, rates.writing, rates.reading):
            assert part.low > 0
        around = StartUp(process=exactly(1.0), metrics=exactly(0.0))
        stages = forecast(params, models, size, rates, around)
        assert total(stages).low > len(stages)


def test_the_batch_doubles_up_to_the_real_one() -> None:
    sizes: list[int] = []
    rate = time_batches(sizes.append, 20, CPU, 0.01, "work")
    assert sizes[:10] == [2, 2, 4, 4, 8, 8, 16, 16, 20, 20]
    assert set(sizes[10:]) == {20}
    assert len(sizes[9:]) == rate.timings >= LEAST_TIMINGS  # but for the one that warms up
    assert (rate.batch, rate.scaled) == (20, False)


def test_a_batch_that_takes_too_long_is_not_doubled() -> None:
    calls: list[int] = []

    def work(size: int) -> None:
        calls.append(size)
        sum(range(100_000))

    rate = time_batches(work, 64, CPU, 1e-6, "work")
    assert (rate.batch, rate.wanted, rate.scaled, rate.timings) == (2, 64, True, 1)
    assert calls == [2]
    assert rate.per_image.low == rate.per_image.high


def test_a_batch_that_does_not_fit_is_told() -> None:
    def work(size: int) -> None:
        if size > 8:
            raise torch.OutOfMemoryError("no")

    rate = time_batches(work, 64, CPU, 0.01, "work")
    assert (rate.batch, rate.out_of_memory) == (8, 16)
    with pytest.raises(ParamsError, match=r"^teacher: 2 images do not fit into the memory of cpu"):
        time_batches(lambda _: work(9), 64, CPU, 0.01, "teacher")


# The size of the data.


def test_the_size_is_the_manifests_or_assumed(
    default: Params, shards: Path, tmp_path: Path
) -> None:
    assert data_size(default, shards) == DIGITS
    other = default.model_copy(update={"data": default.data.model_copy(update={"image_size": 16})})
    for params, folder in ((default, tmp_path), (other, shards)):
        size = data_size(params, folder)
        assert (size.classes, size.train + size.heldout, size.known) == (10, 10_000, False)
        assert "assumed" in str(size)


def test_presets_build_their_models_from_the_assumed_size() -> None:
    """The networks of every preset, with the number of classes that a forecast assumes."""
    for path in sorted((ROOT / "pdpipe/presets").glob("*.yaml")):
        params = parse_params(yaml.safe_load(path.read_text()))
        with torch.device("meta"):
            models = untrained_models(params, DIGITS, torch.device("meta"))
        assert models.teacher.info.classes == [str(k) for k in range(10)]
        assert models.teacher.parameters < models.student.parameters
