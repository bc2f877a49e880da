"""Two chains beside each other: the settings that changed, and what they did to the figures.

Pure: two sides in, a comparison out. A difference is called separated where it is larger than the
95 % interval of the difference (`intervals.difference_margin`), and only if both figures were
measured in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pdpipe.evaluation.metrics import METRICS
from pdpipe.reporting.intervals import difference_margin, margin
from pdpipe.reporting.sides import FIGURES, MADE_WITH, MEASURED_WITH, Place, Side

BETTER = "separated: better"
WORSE = "separated: worse"
NOT_SEPARATED = "not separated"
NOT_COMPARABLE = "not comparable"
NO_ERROR = "no standard error"
ABSENT = object()  # a setting or a field that one side does not have


@dataclass(frozen=True, kw_only=True)
class Change:
    """One figure of one cell in A and in B; NaN where a side has none."""

    model: str
    steps: int
    w: float
    metric: str  # a key of `FIGURES`
    a: float
    a_se: float
    a_margin: float  # half the width of its 95 % interval
    b: float
    b_se: float
    b_margin: float
    comparable: bool

    @property
    def difference(self) -> float:
        """B's figure minus A's; NaN where they do not compare."""
        return self.b - self.a if self.comparable else math.nan

    @property
    def margin(self) -> float:
        """Half the width of the difference's 95 % interval."""
        return difference_margin(self.a_margin, self.b_margin) if self.comparable else math.nan

    @property
    def relative(self) -> float:
        """The size of the change as a log ratio, 0 for none."""
        return abs(math.log(self.b / self.a)) if self.a > 0 and self.b > 0 else math.inf

    @property
    def relative_margin(self) -> float:
        """Half the width of the log ratio's 95 % interval, to first order; NaN for no errors."""
        if not (self.comparable and self.a > 0 and self.b > 0):
            return math.nan
        return difference_margin(self.a_margin / self.a, self.b_margin / self.b)

    @property
    def verdict(self) -> str:
        """What can be said of it."""
        if math.isnan(self.b):
            return "only in A"
        if math.isnan(self.a):
            return "only in B"
        if not self.comparable:
            return NOT_COMPARABLE
        if self.difference == 0:
            return NOT_SEPARATED
        if math.isnan(self.margin):
            return NO_ERROR
        if abs(self.difference) <= self.margin:
            return NOT_SEPARATED
        higher_is_better = METRICS[self.metric].better == "higher"
        return BETTER if (self.difference > 0) == higher_is_better else WORSE


@dataclass(frozen=True)
class Edit:
    """A setting, or a field of the protocol, that is not the same; `ABSENT` where there is none."""

    key: str
    old: Any
    new: Any
    models: tuple[str, ...] = ()  # whose protocol it is


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """B against A."""

    a: Side
    b: Side
    settings: list[Edit] | None  # None: those of a side are not known
    protocol: list[Edit]  # why figures do not compare
    made_with: list[Edit]  # samplers and weights: they do not stand in the way of comparing
    changes: list[Change]  # students and teacher as the tables have them, FID before IS

    def of(self, metric: str, verdict: str | None = None) -> list[Change]:
        """The changes of a metric (with a verdict)."""
        return [
            change
            for change in self.changes
            if change.metric == metric and verdict in (None, change.verdict)
        ]


def compare(a: Side, b: Side) -> Comparison:
    """What changed from `a` to `b`."""
    protocol = _protocol_edits(a, b, MEASURED_WITH)
    unlike = {model for edit in protocol for model in edit.models}
    places = list(dict.fromkeys([*a.cells, *b.cells]))
    return Comparison(
        a=a,
        b=b,
        settings=_setting_edits(a.settings, b.settings),
        protocol=protocol,
        made_with=_protocol_edits(a, b, MADE_WITH),
        changes=[
            _change(a, b, place, metric, comparable=place[0] not in unlike)
            for metric in FIGURES
            for place in places
        ],
    )


def _change(a: Side, b: Side, place: Place, metric: str, *, comparable: bool) -> Change:
    model, steps, w = place
    old, new = a.cells.get(place, {}), b.cells.get(place, {})
    return Change(
        model=model,
        steps=steps,
        w=w,
        metric=metric,
        a=old.get(metric, math.nan),
        a_se=old.get(f"{metric}_se", math.nan),
        a_margin=_margin(old, metric),
        b=new.get(metric, math.nan),
        b_se=new.get(f"{metric}_se", math.nan),
        b_margin=_margin(new, metric),
        comparable=comparable,
    )


def _margin(cell: dict[str, float], metric: str) -> float:
    return margin(cell.get(f"{metric}_se"), cell.get("se_dof"))


def _setting_edits(a: dict[str, Any] | None, b: dict[str, Any] | None) -> list[Edit] | None:
    """The settings that differ, but for `runtime`, which no result depends on."""
    if a is None or b is None:
        return None
    edits = [Edit(key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in dict.fromkeys([*a, *b])]
    return [e for e in edits if e.old != e.new and not e.key.startswith("runtime.")]


def _protocol_edits(a: Side, b: Side, fields: tuple[str, ...]) -> list[Edit]:
    """The fields of the protocols that both sides know and that differ, each with its models."""
    found: dict[tuple[str, str], Edit] = {}
    for model in (name for name in a.protocols if name in b.protocols):
        mine, other = a.protocols[model], b.protocols[model]
        for key in (name for name in mine if name in other and name.split(".")[0] in fields):
            if mine[key] != other[key]:
                values = (key, repr((mine[key], other[key])))
                before = found[values].models if values in found else ()
                found[values] = Edit(key, mine[key], other[key], (*before, model))
    return list(found.values())
