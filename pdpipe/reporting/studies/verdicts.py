"""What a study found, in words: where a method is better than its baseline, and by how much.

A study measures its methods in settings: each a number of steps, or of network evaluations, and
a w. A verdict is one of `WORDS`; what is not separated is neither better nor worse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pdpipe.reporting import formats, intervals
from pdpipe.reporting.studies.section import grouped
from pdpipe.reporting.tables import Table

Place = tuple[int, float]
"""(steps or network evaluations, w)."""

LOWER, ALIKE, HIGHER = WORDS = ("lower", "not separated", "higher")
_WORD = dict(zip(intervals.VERDICTS, WORDS, strict=True))
SPOKEN = 2  # so many methods at most have a clause each; of more, those of one verdict share one
_RARE = 0.25  # the largest share of the settings that "nearly all" leaves out
_MOST = 0.8  # a verdict of so many settings is not told by where it holds


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a figure of a method, of which less is better, lies to that of its baseline.

    `found` has for each setting the verdict and the ratio of the figures, method : baseline.
    `unit` writes the first number of a setting: `4 steps`.
    """

    found: Mapping[Place, tuple[str, float]]
    unit: Callable[[int], str] = formats.steps

    def at(self, word: str) -> list[Place]:
        """The settings of a verdict."""
        return [place for place, (its, _) in self.found.items() if its == word]

    def ratios(self, word: str | None = None) -> list[float]:
        """The ratios in the settings of a verdict; of None, in all."""
        return [ratio for its, ratio in self.found.values() if word in (None, its)]

    def exactly(self, word: str) -> str | None:
        """Where a verdict holds, if a range or a list of N and of w tells it; else None."""
        its = set(self.at(word))
        counts, weights = {n for n, _ in its}, {w for _, w in its}
        within = {place for place in self.found if place[0] in counts and place[1] in weights}
        if its == within:
            return self._words(counts, weights)
        places = [joined([self.unit(n), formats.weight(w)]) for n, w in sorted(its, reverse=True)]
        return f"at {joined(places, ' and at')}" if len(its) <= 2 else None

    def mostly(self, word: str) -> str | None:
        """A range of N and w that has this verdict alone, and most of it; None if there is none."""
        its = set(self.at(word))
        counts, weights = (_values(self.found, axis) for axis in (0, 1))
        ranges = [(ns, ws) for ns in _ranges(counts) for ws in _ranges(weights)]
        inside = [{(n, w) for n, w in self.found if n in ns and w in ws} for ns, ws in ranges]
        pure = [(len(cells), k) for k, cells in enumerate(inside) if cells and cells <= its]
        size, best = max(pure, key=lambda one: (one[0], -one[1]), default=(0, 0))
        return self._words(*ranges[best]) if 2 * size > len(its) else None

    def combinations(self) -> str:
        """What its settings are counted in: `combinations of steps and w`."""
        several = [len(_values(self.found, axis)) > 1 for axis in (0, 1)]
        counted = self.unit(2).partition(" ")[2]
        if all(several):
            return f"combinations of {counted} and w"
        return "values of w" if several[1] else f"{counted.removesuffix('s')} counts"

    @property
    def preposition(self) -> str:
        """What stands before a number of `combinations`."""
        return "in" if self.combinations().startswith("combinations") else "at"

    def _words(self, counts: Collection[int], weights: Collection[float]) -> str:
        """`at 8 steps or more and w ≥ 1`; an axis that is taken whole is left out."""
        every = _values(self.found, 0)
        found = []
        if len(counts) < len(every):
            more, fewer = _ends(counts, every)
            if len(counts) > 1 and more is not None:
                found.append(f"{self.unit(more)} or more")
            elif len(counts) > 1 and fewer is not None:
                found.append(f"{self.unit(fewer)} or fewer")
            else:
                *others, last = sorted(counts, reverse=True)
                found.append(joined([*map(str, others), self.unit(int(last))]))
        every = _values(self.found, 1)
        if len(weights) < len(every):
            least, most = _ends(weights, every)
            if len(weights) > 1 and least is not None:
                found.append(f"w ≥ {least:g}")
            elif len(weights) > 1 and most is not None:
                found.append(f"w ≤ {most:g}")
            else:
                found.append(f"w = {joined([f'{w:g}' for w in sorted(weights)])}")
        if not found:  # of both axes everything
            return self._everywhere()
        return f"at {joined(found)}"

    def _everywhere(self) -> str:
        if len(self.found) > 1:
            every = "both" if len(self.found) == 2 else f"all {len(self.found)}"
            return f"{self.preposition} {every} {self.combinations()}"
        ((n, w),) = self.found
        return f"at {self.unit(n)} and {formats.weight(w)}"


def standing(
    own: Mapping[Any, pd.Series[Any]],
    baseline: Mapping[Any, pd.Series[Any]],
    unit: Callable[[int], str] = formats.steps,
) -> Standing:
    """The FID of a method beside that of its baseline, in the settings that both have."""
    both = {place: (row, baseline[place]) for place, row in own.items() if place in baseline}
    found = {
        place: (_WORD[intervals.verdict(row, other)], float(row["fid"] / other["fid"]))
        for place, (row, other) in both.items()
        if row["fid"] > 0 and other["fid"] > 0
    }
    return Standing(found=found, unit=unit)


def spoken(name: str) -> str:
    """A method's name inside a sentence: `the teacher by DDIM`, `TRACT (64 to 1)`."""
    head, comma, rest = name.partition(", ")
    if comma and not re.search(r"[(\[]", head):
        name = f"{head} ({rest})"
    bare = re.match(r"(?!(?:an?|the|one|every|each) )(?:\w+ )?(?:student|teacher)\b", name)
    return f"the {name}" if bare else name.replace(": ", " ")


def sentence(found: Mapping[str, Standing], baseline: str) -> str:
    """How the methods stand against the baseline, as one sentence without its full stop.

    Args:
        found: {method: its standing}, each with a setting at least. Methods of less than half as
            many settings as another are left to the table.
        baseline: its name.
    """
    most = max(len(one.found) for one in found.values())
    told = {spoken(name): one for name, one in found.items() if 2 * len(one.found) >= most}
    if len(told) > SPOKEN:
        return _shared(told, spoken(baseline))
    clauses = [
        f"with {name}, {_clause(one, '' if k else spoken(baseline))}"
        for k, (name, one) in enumerate(told.items())
    ]
    return capitalized("; ".join(clauses))


def capitalized(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


def uncapitalized(text: str) -> str:
    """The text with a small letter at its start."""
    return text[:1].lower() + text[1:]


def typical(ratios: Sequence[float]) -> str:
    """`typically 1.12 times, 1.09 to 1.16`: the geometric mean, the lowest and the highest."""
    return together([ratios])


def times(ratios: Sequence[float], what: str = "") -> str:
    """`typically 1.12 times that of … (1.09 to 1.16)`."""
    ends = f"({factor(min(ratios))} to {factor(max(ratios))})"
    mean = f"typically {factor(geometric_mean(ratios))} times"
    return " ".join(filter(None, [mean, what, ends]))


def together(several: Sequence[Sequence[float]]) -> str:
    """`typically 1.73 and 1.61 times, 1.14 to 2.68`: of several methods, and the ends of all."""
    means = f"{joined([factor(geometric_mean(ratios)) for ratios in several])} times"
    every = [ratio for ratios in several for ratio in ratios]
    if len(every) == len(several):
        return means
    return f"typically {means}, {factor(min(every))} to {factor(max(every))}"


def factor(ratio: float) -> str:
    """A ratio with two decimals, or three digits above 10."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.3g}"


def geometric_mean(ratios: Sequence[float]) -> float:
    """exp of the mean logarithm."""
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios))


def _clause(one: Standing, baseline: str) -> str:
    """`FID is lower than with … at … (…), higher at … (…) and not separated elsewhere`.

    Without a baseline, which an earlier clause has named: `it is lower at …`.
    """
    words = [word for word in (LOWER, HIGHER, ALIKE) if one.at(word)]
    if 2 * len(one.at(ALIKE)) > len(one.found):
        words.sort(key=lambda word: word != ALIKE)  # what most settings say comes first
    counted = False
    told = []
    for k, word in enumerate(words):
        beside = "from that" if word == ALIKE else "than"
        beside = f"{word} {beside} with {baseline}" if baseline and not k else word
        where, counted = _where(one, word, counted, last=k > 0 and k == len(words) - 1)
        size = "" if word == ALIKE and len(words) > 1 else f" ({typical(one.ratios(word))})"
        told.append(f"{beside} {where}{size}")
    return f"{'FID' if baseline else 'it'} is {joined(told, ', and')}"


def _where(one: Standing, word: str, counted: bool, last: bool) -> tuple[str, bool]:
    """Where a verdict holds, and whether its settings, or those of another, are counted by it."""
    share = len(one.at(word)) / len(one.found)
    exact = one.exactly(word)
    if share == 1 and exact:
        if word == ALIKE:  # "not separated in both" could be read as "not in both"
            exact = exact.replace(" all ", " any of the ").replace(" both ", " any of the 2 ")
        return exact, True
    if last and word == ALIKE and not counted:
        return "elsewhere", counted
    if exact and not (word == ALIKE and share > 0.5):
        return exact, counted
    of = "" if counted else f" of the {len(one.found)} {one.combinations()}"
    region = None if word == ALIKE or share >= _MOST else one.mostly(word)
    some = f"{one.preposition} {len(one.at(word))}{of}"
    return f"{some}, most of them {region}" if region else some, True


def _shared(found: Mapping[str, Standing], baseline: str) -> str:
    """A clause for each verdict and where it holds, with the methods of it."""
    leads = grouped(((_lead(one), name) for name, one in found.items()), _LEADS)
    any_of_them = next(iter(found.values()))
    of = f" {any_of_them.combinations()}"
    clauses: list[str] = []
    for (word, where), names in leads.items():
        told = [found[name] for name in names]
        first, at = not clauses, where
        if where in _VAGUE:
            at, of = f"{any_of_them.preposition} {where}{of}", ""
        beside = f" {'from that' if word == ALIKE else 'than'} with {baseline}" if first else ""
        size = "" if word == ALIKE else f" ({together([one.ratios(word) for one in told])})"
        rest = " and not separated elsewhere" if _only(word, where, told) else ""
        it = "FID" if first else "it"
        clauses.append(f"with {joined(names)}, {it} is {word}{beside} {at}{size}{rest}")
    return capitalized("; ".join(clauses))


_ANY, _NEARLY, _IN_MOST, _IN_SOME = _VAGUE = ("any of the", "nearly all", "most", "some")
_LEADS = [(ALIKE, _ANY), (ALIKE, _NEARLY)]  # these come first


def _lead(one: Standing) -> tuple[str, str]:
    """The verdict that a method is told by, and where it holds."""
    apart = len(one.found) - len(one.at(ALIKE))
    if not apart:
        return ALIKE, _ANY
    if apart <= _RARE * len(one.found):
        return ALIKE, _NEARLY
    word = max((LOWER, HIGHER), key=lambda word: len(one.at(word)))
    most = 2 * len(one.at(word)) > len(one.found)
    return word, one.exactly(word) or (_IN_MOST if most else _IN_SOME)


def _only(word: str, where: str, found: list[Standing]) -> bool:
    """Whether a verdict holds just there, and nothing is separated in the other settings."""
    told = {frozenset((word, ALIKE))} == {frozenset(w for w in WORDS if one.at(w)) for one in found}
    return word != ALIKE and told and all(one.exactly(word) == where for one in found)


def standings_table(found: Mapping[str, Standing], baseline: str) -> Table:
    """Every method at each N: the w at which it is better, not separated and worse, the ratio."""
    rows = []
    for name, one in found.items():
        for n in sorted(_values(one.found, 0), reverse=True):
            here = {w: its for (count, w), its in one.found.items() if count == n}
            by_word = grouped((word, f"{w:g}") for w, (word, _) in sorted(here.items()))
            cells = [", ".join(by_word.get(word, [])) or formats.DASH for word in WORDS]
            ratios = [ratio for _, ratio in here.values()]
            low, high = (f"{end(ratios):.2f}" for end in (min, max))
            span = "" if len(ratios) == 1 else f" ({low} to {high})"
            rows.append([name, one.unit(n), *cells, f"{geometric_mean(ratios):.2f}{span}"])
    counted = next(iter(found.values())).unit(2).partition(" ")[2]
    note = (
        "Better and worse: a lower and a higher FID, by more than the 95 % interval of the "
        "difference. FID ratio: to the baseline's, the geometric mean over w, with the lowest and "
        "the highest."
    )
    return Table(
        title=f"Beside the baseline, {baseline}",
        columns=["method", counted, "better", "not separated", "worse", "FID ratio"],
        rows=rows,
        groups=(("", 1), ("at these w", 3), ("", 1)),
        note=note,
    )


def _values(places: Iterable[Place], axis: int) -> list[Any]:
    return sorted({place[axis] for place in places})


def _ranges(values: list[Any]) -> list[list[Any]]:
    """All of them, then those from one upwards or downwards, the longest first."""
    cuts = range(1, len(values))
    ranges = [part for k in cuts for part in (values[k:], values[:-k])]
    return [values, *sorted(ranges, key=len, reverse=True)]


def _ends(some: Collection[Any], every: list[Any]) -> tuple[Any, Any]:
    """(a, b): `some` are those from a upwards, or those up to b; None for an end that is not."""
    ordered = sorted(some)
    return (
        ordered[0] if ordered == every[-len(ordered) :] else None,
        ordered[-1] if ordered == every[: len(ordered)] else None,
    )


def joined(parts: Sequence[str], last: str = " and") -> str:
    """`a, b and c`."""
    *others, final = parts
    return f"{', '.join(others)}{last} {final}" if others else final
