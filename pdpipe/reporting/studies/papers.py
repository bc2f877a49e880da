"""The papers whose claims pdpipe's own studies are about, as links."""

from __future__ import annotations

from pdpipe.reporting.published import PAPERS

# {study: ((paper, where in it), …)}, papers by their letters in `PAPERS`.
_ABOUT = {
    "encoder": (("GD", "Algorithm 4"),),
    "ladders": (("PD", "Figures 12 and 13"),),
    "naive": (("GD", "Algorithm 5"),),
    "parameterization": (("PD", "Table 1"),),
    "single-w": (("GD", ""),),
    "stochastic": (("GD", "Algorithm 3"),),
    "unguided": (("PD", "Figures 4 and 6"),),
}


def papers(study: str) -> tuple[tuple[str, str], ...]:
    """(label, URL) of each paper that a study is about; none for a study of one's own."""
    found = []
    for paper, where in _ABOUT.get(study, ()):
        label, _, number = PAPERS[paper].partition(", arXiv:")
        found.append((f"{label}, {where}" if where else label, f"https://arxiv.org/abs/{number}"))
    return tuple(found)
