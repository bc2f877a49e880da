"""Settings are to us what they are to DVC, and what is no settings is a sentence."""

from __future__ import annotations

import datetime
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import loads_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pdpipe.errors import ParamsError
from pdpipe.params import parse_params, read_params
from pdpipe.params.dialect import load_yaml, spelled

DIGITS = Path(__file__).parents[1] / "pdpipe/presets/digits.yaml"
SPELLINGS = [
    ("5e-05", 5e-05), ("1e-3", 0.001), ("1E5", 1e5), ("1.e3", 1000.0), ("+.5", 0.5),
    ("1_000", 1000),
    ("0100", 100), ("010", 10), ("08", 8), ("0o10", 8), ("0x1F", 31), ("1:30", "1:30"),
    ("on", "on"), ("yes", "yes"), ("No", "No"), ("true", True), ("FALSE", False), ("~", None),
    ("", None), (".inf", math.inf), ("1e400", math.inf), ("1,000", "1,000"), ("'1e-3'", "1e-3"),
    ("2026-11-28", datetime.date(2026, 11, 28)), ("12:30:45.5", "12:30:45.5"),
    ("&a [1, 2]", [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("spelling", "value"), SPELLINGS)
def test_a_spelling_means_to_us_what_it_means_to_dvc(spelling: str, value: object) -> None:
    text = f"key: {spelling}"
    ours = load_yaml(text, "params.yaml")["key"]
    assert (type(ours), ours) == (type(value), value)
    assert loads_yaml(text) == {"key": ours}


@pytest.mark.parametrize(
    "text", ["", "a: 1", DIGITS.read_text(encoding="utf-8"), "a: &b {c: 1}\nd:\n  <<: *b"]
)
def test_a_file_means_to_us_what_it_means_to_dvc(text: str) -> None:
    assert load_yaml(text, "params.yaml") == loads_yaml(text)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{this}: &{this} [{','.join([f'*{last}'] * 10)}]\n"
    for last, this in itertools.pairwise("abcdefghij")
)
STRANGE = [
    ("a: [1", "not valid YAML: did not find expected .* in line"),
    ("a: 1\nb: 2\na: 3", r"not valid YAML: key a comes twice, again in line 3$"),
    ("[" * 100_000, "nests deeper than 20 levels"),
    ("{a: " * 100_000, "nests deeper than 20 levels"),
    ("- " * 100_000, "nests deeper than 20 levels"),
    ("a: " + "9" * 5000, r"has a value that cannot be read \(Exceeds the limit \(4300 digits\)"),
    ("a: !!int abc", "has a value that cannot be read"),
    ("a: !!float abc", "has a value that cannot be read"),
    ("a: !!timestamp abc", "failed to construct timestamp"),
    ("a: 2026-13-45", r"cannot be read \(month must be in 1..12\)"),
    ("a: !!python/object/apply:os.system [id]", "could not determine a constructor for the tag"),
    ("a: !name b", "could not determine a constructor for the tag"),
    ("a: &a [*a]", "nests deeper than 20 levels"),
    ("a: *nothing", "undefined alias"),
    ("a: 1\n---\nb: 2", "single document"),
    ("? {a: 1}\n: 2", "unhashable"),
    ("a: \0", "control characters are not allowed"),
    ("a: '\ud800'", "surrogates not allowed"),
    ("- a\n" * 400_000, "longer than 1,048,576 characters"),
    ("[" + "1," * 200_000 + "]", "more than 20,000 values"),
    (BOMB, "more than 20,000 values"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), STRANGE, ids=[s[:30] for _, s in STRANGE])
def test_what_is_strange_is_one_short_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ParamsError, match=sentence) as caught:
        load_yaml(text, "params.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_file_without_end_is_not_read_to_it() -> None:
    with pytest.raises(ParamsError, match=r"/dev/zero is longer than 1,048,576 characters"):
        read_params(Path("/dev/zero"))


@pytest.mark.parametrize("value", [5e-05, 1e300, -0.5, 3, True, None, math.inf, -math.inf, "1e-3"])
def test_what_a_sentence_shows_can_be_typed_back(value: object) -> None:
    assert load_yaml(f"a: {spelled(value)}", "params.yaml") == {"a": value}


def test_a_sentence_shows_no_more_than_can_be_read() -> None:
    for value in ("x" * 10_000, [0] * 10_000, 10**5000, {"a" * 1000: list(range(1000))}):
        assert len(spelled(value)) < 90


def test_what_dvc_writes_for_a_small_number_is_taken(tmp_path: Path) -> None:
    """`dvc exp run -S teacher.learning_rate=0.00005` writes 5e-05."""
    from dvc.utils.serialize import modify_yaml

    path = tmp_path / "params.yaml"
    path.write_bytes(DIGITS.read_bytes())
    with modify_yaml(path) as found:
        found["teacher"]["learning_rate"] = 0.00005
    assert "learning_rate: 5e-05" in path.read_text(encoding="utf-8")
    assert read_params(path).teacher.learning_rate == 0.00005


def test_the_reader_waits_until_there_is_a_file() -> None:
    code = "import sys, pdpipe.cli; print('ruamel.yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(scalars, inner), max_leaves=5
)
SECTIONS = ["seed", "data", "network", "teacher", "guide", "ladder", "evaluation", "runtime"]


@settings(max_examples=10, deadline=None)
@given(section=st.sampled_from(SECTIONS), key=st.text(max_size=3), value=values)
def test_any_value_is_taken_or_refused_in_a_sentence(section: str, key: str, value: object) -> None:
    raw: Any = load_yaml(DIGITS.read_text(encoding="utf-8"), "digits")
    inside = raw[section]
    name = sorted(inside)[len(key) % len(inside)] if isinstance(inside, dict) else key
    within = {**inside, name: value} if isinstance(inside, dict) else value
    for changed in ({section: within}, {section: value}, {key: value}):
        assert "\n" not in answer(parse_params, {**raw, **changed})


@settings(max_examples=10, deadline=None)
@given(text=st.text(alphabet="ab:-[]{}!&*?|>'\"%@#, \n\t0123456789.e+_~<="))
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    assert "\n" not in answer(load_yaml, text, "text")


def answer(read: Callable[..., object], *arguments: object) -> str:
    """The sentence with which a reader refuses, or nothing."""
    try:
        read(*arguments)
    except ParamsError as error:
        return str(error)
    return ""
