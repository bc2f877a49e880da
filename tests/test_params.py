"""Every mistake in params.yaml gets one sentence that names the key and the mend."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pdpipe.errors import ParamsError
from pdpipe.params import Params, chain_id, chain_params, parse_params, read_params

ROOT = Path(__file__).parents[1]
PRESETS = sorted((ROOT / "pdpipe" / "presets").glob("*.yaml"))
ABSENT = object()


def edited(raw: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """The settings with the one at `section.key` replaced, added, or taken away."""
    raw = copy.deepcopy(raw)
    *parents, last = key.split(".")
    place = raw
    for part in parents:
        place = place[part]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return raw


def complaint(raw: object) -> str:
    """The sentence with which the settings are refused."""
    with pytest.raises(ParamsError) as caught:
        parse_params(raw)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 320
    return sentence


def rung(above: object, **changes: Any) -> dict[str, Any]:
    return {"from": above, "updates": 10, "learning_rate": 1e-4} | changes


SINGLE_KEYS = [
    # unknown
    ("teacher.updats", 5, "unknown key teacher.updats: did you mean 'updates'?"),
    ("techer", {}, "unknown key techer: did you mean 'teacher'?"),
    ("ladder.32.update", 5, "unknown key ladder.32.update: did you mean 'updates'?"),
    ("zzz", 1, "unknown key zzz: choose from seed, data, extractor, network, "),
    # missing
    ("teacher", ABSENT, "teacher is missing: add it"),
    ("halve.warmup", ABSENT, "halve.warmup is missing: add it"),
    ("ladder.32.from", ABSENT, "ladder.32.from is missing: add it"),
    ("runtime", ABSENT, "runtime is missing: add it"),
    ("report", ABSENT, "report is missing: add it"),
    # types
    (
        "teacher.learning_rate",
        "1e-3",
        "learning_rate is the text '1e-3': write it as 0.001 without",
    ),
    ("seed", "7", "seed is the text '7': write it as 7 without quotes"),
    ("teacher.updates", "2.5", "updates is the text '2.5': write it as 2.5 without quotes"),
    ("teacher.updates", "many", "teacher.updates: input should be a valid integer, got 'many'"),
    ("teacher.updates", 2.5, "teacher.updates: input should be a valid integer, got 2.5"),
    ("teacher.updates", True, "teacher.updates: input should be a valid integer, got true"),
    ("teacher.flip", "yes", "teacher.flip is 'yes': write true or false"),
    ("ladder.32.from", 64.0, "ladder.32.from is 64.0, a number: write it in quotes"),
    ("data.path", "a\0b", r"data.path is 'a\x00b', with characters that cannot be printed"),
    ("data.path", 7, 'data.path is 7, a number: write it in quotes, "7"'),
    ("teacher", 3, "teacher is 3: write a section of keys and values"),
    ("ladder", None, "ladder is null: write a section of keys and values"),
    # ranges
    ("teacher.updates", 0, "teacher.updates: input should be greater than or equal to 1, got 0"),
    (
        "teacher.learning_rate",
        0.0,
        "teacher.learning_rate: input should be greater than 0, got 0.0",
    ),
    (
        "teacher.learning_rate",
        float("nan"),
        "teacher.learning_rate: input should be a finite number",
    ),
    ("teacher.dropout", 1.0, "teacher.dropout: input should be less than 1, got 1.0"),
    ("teacher.ema_decay", 1.0, "teacher.ema_decay: input should be less than 1, got 1.0"),
    ("teacher.betas", [0.9, 1.0], "teacher.betas.1: input should be less than 1, got 1.0"),
    ("teacher.betas", [0.9], "teacher.betas: list should have at least 2 items"),
    ("guide.w_min", -1.0, "guide.w_min: input should be greater than or equal to 0, got -1.0"),
    ("seed", -1, "seed: input should be greater than or equal to 0, got -1"),
    ("network.base_channels", 6, "network.base_channels: input should be a multiple of 4, got 6"),
    (
        "schedule.log_snr_min",
        20.0,
        "log_snr_min: input should be less than or equal to -5, got 20.0",
    ),
    ("evaluation.seeds", 0, "evaluation.seeds: input should be greater than or equal to 1"),
    ("evaluation.w", [], "evaluation.w: list should have at least 1 item"),
    ("runtime.snapshot_seconds", 0.0, "runtime.snapshot_seconds: input should be greater than 0"),
    # choices
    ("data.channels", 2, "data.channels is 2: choose from 1, 3"),
    (
        "teacher.loss_weight",
        "snr_trunc",
        "loss_weight is 'snr_trunc': did you mean 'snr_truncated'?",
    ),
    (
        "halve.loss_weight",
        "mse",
        "loss_weight is 'mse': choose from constant, snr, snr_truncated, ",
    ),
    ("teacher.parameterization", "w", "parameterization is 'w': choose from v, x, eps, x_eps"),
    ("schedule.name", "cosin", "schedule.name is 'cosin': did you mean 'cosine'?"),
    ("schedule.name", "vp", "schedule.name is 'vp': choose from cosine, linear_beta, linear_log"),
    ("report.published", "cifar", "report.published is 'cifar': did you mean 'cifar10'?"),
    ("report.published", "lsun", "published is 'lsun': choose from none, cifar10, imagenet64"),
    ("runtime.precision", "float16", "runtime.precision is 'float16': did you mean 'bfloat16'?"),
]
COMBINATIONS = [
    ("guide.w_min", 5.0, "guide.w_min (5.0) is above guide.w_max (4.0): swap them"),
    ("data.image_size", 9, "data.image_size 9 cannot be halved at every level of "),
    ("data.source", "digit", "data.source is 'digit': did you mean 'digits'?"),
    ("data.path", "", "data.path is empty: name the folder that holds class/name.png"),
    ("evaluation.num_samples", 1501, "1501, which 10 classes cannot share equally: make it a mul"),
    ("network.channel_multipliers", [1] * 5, "there are 4: use a multiple of 16 or fewer levels"),
    ("network.attention_resolutions", [4, 3], "attention_resolutions has 3, .* are 8, 4: choose "),
    (
        "network.head_channels",
        24,
        "head_channels 24 does not divide the level width 64 .*use a div",
    ),
    (
        "network.conditional",
        False,
        "network.conditional is false, so there is nothing to guide: set",
    ),
    ("teacher.label_dropout", 0.0, "teacher.label_dropout is 0, so .* set it to about 0.1, or"),
    (
        "teacher.parameterization",
        "eps",
        "parameterization is eps, which cannot be distilled .*allow_unstable",
    ),
    ("evaluation.w", [0.0, 5.0], "evaluation.w has 5.0, outside the range .*: remove it or widen"),
    ("evaluation.w", [0.3, 0.3], "evaluation.w repeats a value: list each one once"),
    ("evaluation.teacher_steps", [1, 2, 4, 16, 32], "teacher_steps lacks 8, a rung .*: add it"),
    ("evaluation.teacher_steps", [1, 1], "evaluation.teacher_steps repeats a value"),
    ("evaluation.paired_samples", 1501, "paired_samples (1501) is above .* (1500): lower it"),
    (
        "report.published",
        "cifar10",
        "is cifar10, images of 32 x 32 pixels .* data.image_size is 8 .*: set .* none, or",
    ),
]
LADDERS = [
    ({"2": rung("64"), "1": rung("3")}, '"1".from is "3", which is neither guide.steps (64) nor'),
    ({"2": rung("64"), "1": rung("02")}, '"02", which is neither .*: choose from 2, 64'),
    (
        {"16": rung("8"), "8": rung("16")},
        "the ladder is circular (16 <- 8 <- 16): let every `from`",
    ),
    ({"16": rung("16")}, "the ladder is circular (16 <- 16)"),
    ({"24": rung("64")}, '"24".from is "64": the teacher must take a multiple of 24 steps'),
    ({"32": rung("64"), "48": rung("32")}, '"48".from is "32": the teacher must take a multiple'),
    ({"64": rung("64")}, 'ladder."64" is guide.steps, .*: remove this rung'),
    ({32: rung("64")}, 'ladder key 32 must be quoted, "32": DVC drops unquoted number keys'),
    ({"032": rung("64")}, 'ladder."032" must be a whole number of steps, 1 or more, in quotes'),
    ({"0": rung("64")}, 'ladder."0" must be a whole number of steps'),
    ({"²": rung("64")}, 'ladder."²" must be a whole number of steps'),
    ({"half": rung("64")}, 'ladder."half" must be a whole number of steps'),
    ({"32": rung("half"), "half": rung("64")}, 'ladder."half" must be a whole number of steps'),
    (
        {"32": rung("64", updates=0)},
        "ladder.32.updates: input should be greater than or equal to 1",
    ),
]


def pattern(sentence: str) -> str:
    """A regular expression for a sentence in which only `.*` is special."""
    return ".*".join(re.escape(part) for part in sentence.split(".*"))


def test_a_mistyped_key_is_named_not_the_one_that_it_leaves_missing(raw: dict[str, Any]) -> None:
    raw["teacher"]["label_dropuot"] = raw["teacher"].pop("label_dropout")
    assert "unknown key teacher.label_dropuot: did you mean 'label_dropout'?" in complaint(raw)


@pytest.mark.parametrize(("key", "value", "sentence"), SINGLE_KEYS + COMBINATIONS)
def test_a_mistake_gets_its_sentence(
    key: str, value: object, sentence: str, raw: dict[str, Any]
) -> None:
    found = complaint(edited(raw, key, value))
    assert found.startswith("params.yaml: ")
    assert re.search(pattern(sentence), found), found


@pytest.mark.parametrize(("ladder", "sentence"), LADDERS)
def test_a_wrong_ladder_gets_its_sentence(
    ladder: dict[Any, Any], sentence: str, raw: dict[str, Any]
) -> None:
    found = complaint(edited(raw, "ladder", ladder))
    assert re.search(pattern(sentence), found), found


def test_heads_must_fit_wherever_there_is_attention_the_middle_included(
    raw: dict[str, Any],
) -> None:
    raw["network"] |= {
        "base_channels": 32,
        "attention_resolutions": [],
        "channel_multipliers": [1, 2],
        "head_channels": 64,
    }
    parse_params(raw)  # 64 wide in the middle; the first level is 32 wide, without attention
    raw["network"]["head_channels"] = 48
    assert "does not divide the level width 64" in complaint(raw)
    raw["network"] |= {"head_channels": 64, "attention_resolutions": [8]}
    assert "does not divide the level width 32" in complaint(raw)


@pytest.mark.parametrize(
    ("base", "levels", "fitting"),
    [(16, [1, 4], "1, 2, 4, 8 or 16"), (12, [1, 1, 1, 1], "1, 2, 3, 4 or 6")],
)
def test_groups_must_fit_every_layer(
    base: int, levels: list[int], fitting: str, raw: dict[str, Any]
) -> None:
    """Of the last, the images of one pixel would have groups of one value."""
    raw["network"]["channel_multipliers"] = levels
    for groups in range(1, base + 2):
        raw["network"] |= {"base_channels": base, "head_channels": 4, "norm_groups": groups}
        if str(groups) in re.findall(r"\d+", fitting):
            parse_params(raw)
        else:
            assert complaint(raw).endswith(f"into groups of several values: use {fitting}")


def test_eps_without_a_ladder_or_on_purpose_and_unguided_chains_are_possible(
    raw: dict[str, Any],
) -> None:
    raw["teacher"]["parameterization"] = "eps"
    raw["ladder"] = {}
    assert parse_params(raw).student_steps() == [64]
    raw["ladder"] = {"32": rung("64")}
    raw["teacher"]["allow_unstable"] = True
    assert parse_params(raw).student_steps() == [64, 32]
    raw["ladder"] = {}
    raw["network"]["conditional"] = False
    raw["guide"]["w_max"] = 0.0
    raw["evaluation"]["w"] = [0.0]
    raw["teacher"]["label_dropout"] = 0.0
    parse_params(raw)


def test_a_ladder_may_skip_and_branch(raw: dict[str, Any]) -> None:
    raw["ladder"] = {"1": rung("4"), "16": rung("64"), "4": rung("16"), "2": rung("16")}
    params = parse_params(raw)
    assert params.rungs() == [16, 4, 2, 1]
    assert params.student_steps() == [64, 16, 4, 2, 1]


@pytest.mark.parametrize("nothing", [None, [], "text", 3])
def test_a_file_without_settings(nothing: object) -> None:
    assert "holds no settings: write one with `pdpipe preset digits`" in complaint(nothing)


@pytest.mark.parametrize("contents", [b"a: [", b"\xff\xfe\x00", b"a: 1\n\tb: 2"])
def test_a_file_that_is_not_yaml(contents: bytes, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(contents)
    with pytest.raises(ParamsError, match=r"params.yaml is not valid YAML: ") as caught:
        read_params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_a_variable_that_is_a_text_is_taken_as_it_stands(
    raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("~", "2026-11-28", "a: b #c", "[x"):
        monkeypatch.setenv("PDPIPE_WEIGHTS", value)
        assert parse_params(raw).runtime.weights == value


@pytest.mark.parametrize("section", ["  updates: 3\n  updates: 4\n", "  '2': {}\n  \"2\": {}\n"])
def test_a_key_that_comes_twice(section: str, tmp_path: Path) -> None:
    """YAML would take the last one without a word; "2" and '2' are the same rung."""
    (tmp_path / "params.yaml").write_text(f"seed: 0\nladder:\n{section}", encoding="utf-8")
    with pytest.raises(ParamsError, match=r"key (updates|2) comes twice, again in line 4"):
        read_params(tmp_path / "params.yaml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"does not exist here: change to the project's folder"):
        read_params(tmp_path / "params.yaml")


ENVIRONMENT = [
    (
        "THREADS",
        "[",
        "PDPIPE_THREADS is '[', which is not valid YAML: give a plain value such as 0",
    ),
    ("THREADS", "[" * 100_000, "PDPIPE_THREADS is '[[[[[[[[[.*…, which is not valid YAML: give a "),
    ("THREADS", "9" * 5000, "PDPIPE_THREADS is '999.*…, which is not valid YAML: give a plain"),
    ("THREADS", "!!int abc", "PDPIPE_THREADS is '!!int abc', which is not valid YAML"),
    ("THREADS", "2026-11-28", "PDPIPE_THREADS: input should be a valid integer, got 2026-11-28"),
    ("THREADS", "100000", "PDPIPE_THREADS: input should be less than or equal to 1024, got 100000"),
    ("WORKERS", "100000", "PDPIPE_WORKERS: input should be less than or equal to 1024, got 100000"),
    ("THREADS", "two", "PDPIPE_THREADS: input should be a valid integer, got 'two'"),
    ("THREADS", "-1", "PDPIPE_THREADS: input should be greater than or equal to 0, got -1"),
    ("PRECISION", "float16", "PDPIPE_PRECISION is 'float16': did you mean 'bfloat16'?"),
    ("COMPILE", "1", "PDPIPE_COMPILE is 1: write true or false"),
    ("SNAPSHOT_SECONDS", "0", "PDPIPE_SNAPSHOT_SECONDS: input should be greater than 0, got 0"),
    ("SNAPSHOT_SECONDS", "'1e-3'", "PDPIPE_SNAPSHOT_SECONDS is the text '1e-3': write it as 0.001"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), ENVIRONMENT)
def test_a_wrong_variable_is_named_not_the_file(
    name: str, value: str, sentence: str, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PDPIPE_{name}", value)
    assert re.match(pattern(f"environment variable {sentence}"), complaint(raw))


def test_the_environment_overrides_each_runtime_setting(
    raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "device": "cuda:1",
        "threads": 3,
        "workers": 5,
        "precision": "bfloat16",
        "compile": True,
        "snapshot_seconds": 2.5,
        "weights": "/somewhere/weights.pth",
    }
    before = parse_params(raw)
    for name, value in values.items():
        monkeypatch.setenv(f"PDPIPE_{name.upper()}", str(value))
    after = parse_params(raw)
    assert after.runtime.model_dump() == values
    assert chain_params(after) == chain_params(before)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_valid(path: Path) -> None:
    params = read_params(path)
    assert params.rungs()[-1] == 1
    assert params.guide.steps in params.evaluation.teacher_steps


def test_the_presets_are_the_promised_ones() -> None:
    assert [path.stem for path in PRESETS] == ["cifar10", "digits", "imagenet64", "lsun-church128"]


def test_the_projects_params_are_the_digits_preset() -> None:
    preset = ROOT / "pdpipe" / "presets" / "digits.yaml"
    assert (ROOT / "pdpipe/presets/digits.yaml").read_bytes() == preset.read_bytes()


def test_the_papers_settings_are_in_the_big_presets() -> None:
    """PD's released configurations, and GD's for the students."""
    params = {path.stem: read_params(path) for path in PRESETS}
    for name, base, batch, rate in (
        ("cifar10", 256, 128, 2e-4),
        ("imagenet64", 192, 2048, 3e-4),
        ("lsun-church128", 64, 2048, 3e-4),
    ):
        p = params[name]
        assert (p.network.base_channels, p.network.blocks_per_level) == (base, 3)
        assert (p.network.norm_groups, p.runtime.precision) == (32, "auto")
        assert (p.teacher.batch_size, p.teacher.learning_rate) == (batch, rate)
        assert (p.halve.loss_weight, p.halve.ema_decay, p.halve.anneal) == ("snr_truncated", 0, 1)
        assert p.student_steps() == [2**k for k in range(10, -1, -1)]
        for key, r in p.ladder.items():
            assert r.updates == (100_000 if key in ("1", "2") else 50_000)
            assert r.learning_rate == 1e-4
    assert params["imagenet64"].guide.learning_rate == 3e-4
    assert params["cifar10"].guide.learning_rate == 1e-3
    assert params["cifar10"].guide.ema_decay == params["imagenet64"].guide.ema_decay == 0.9999


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all settings."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    else:
        yield path


def test_chain_params_are_the_file_without_runtime_and_report(raw: dict[str, Any]) -> None:
    params = parse_params(raw)
    runtime = raw.pop("runtime")
    assert runtime
    assert raw.pop("report")
    assert raw["network"].pop("name") == "unet"  # as in chains from before there was another
    assert chain_params(params) == raw


def test_the_chains_id_changes_with_each_setting_and_the_data_but_not_with_runtime(
    raw: dict[str, Any],
) -> None:
    params = parse_params(raw)
    plain = chain_params(params)
    ids = {chain_id(params, "data"), chain_id(params, "other data")}
    assert len(ids) == 2
    for path in leaves(plain):
        changed = copy.deepcopy(plain)
        place = changed
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = "changed"
        ids.add(chain_id(_Stand(changed), "data"))  # type: ignore[arg-type]
    assert len(ids) == 2 + len(list(leaves(plain)))
    raw["runtime"]["threads"] = 7
    assert chain_id(parse_params(raw), "data") == chain_id(params, "data")
    assert re.fullmatch("[0-9a-f]{16}", chain_id(params, "data"))


class _Stand(BaseModel):
    """Settings that need not be valid."""

    values: dict[str, Any]

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values=values)

    def model_dump(self, **kwargs: Any) -> dict[str, Any]:
        return self.values


def test_settings_cannot_be_changed(raw: dict[str, Any]) -> None:
    params = parse_params(raw)
    with pytest.raises(ValidationError, match="frozen"):
        params.seed = 5  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        params.teacher.updates = 5  # type: ignore[misc]


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JUNK = st.recursive(SCALARS, containers, max_leaves=5)
DIGITS: dict[str, Any] = yaml.safe_load(
    (ROOT / "pdpipe/presets/digits.yaml").read_text(encoding="utf-8")
)
PLACES = [*leaves(DIGITS), *((section,) for section in DIGITS)]


@given(place=st.sampled_from(PLACES), value=JUNK)
def test_no_value_anywhere_ends_in_a_traceback(place: tuple[str, ...], value: object) -> None:
    raw = edited(DIGITS, ".".join(place), value)
    with contextlib.suppress(ParamsError):
        assert isinstance(parse_params(raw), Params)


@given(
    ladder=st.dictionaries(
        st.integers(0, 70).map(str) | st.text(max_size=3), st.integers(0, 70), max_size=5
    )
)
def test_no_ladder_ends_in_a_traceback(ladder: dict[str, int]) -> None:
    raw = edited(DIGITS, "ladder", {key: rung(str(above)) for key, above in ladder.items()})
    raw["evaluation"]["teacher_steps"] = list(range(1, 71))
    try:
        params = parse_params(raw)
    except ParamsError:
        return
    for key, r in params.ladder.items():
        path = [key]
        while path[-1] != "64":
            path.append(params.ladder[path[-1]].from_)
        assert int(r.from_) % int(key) == 0
        assert int(r.from_) > int(key)


def test_a_file_of_an_earlier_version_says_what_it_said() -> None:
    """As today's preset, but for what later versions added, which is as it was before."""
    found = read_params(Path(__file__).parent / "formats/params-2026-11.yaml")
    assert found.network.norm_groups is None  # the rule of then
    assert (found.extractor.source, found.data.sixteen_bit) == ("auto", "refuse")
    assert (found.guide.steps, found.ladder["1"].updates) == (64, 250)


def test_a_step_count_to_distil_from_may_stand_without_quotes(raw: dict[str, Any]) -> None:
    """As a shell leaves it in `dvc exp run -S ladder.16.from=64`."""
    raw["ladder"]["16"]["from"] = 64
    raw["ladder"].pop("32")
    assert parse_params(raw).ladder["16"].from_ == "64"
    raw["ladder"]["16"]["from"] = True
    with pytest.raises(ParamsError, match=r"from is true, a truth value: write it in quotes"):
        parse_params(raw)
