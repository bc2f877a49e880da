"""Where quality is lost: each student against its own teacher, and against the first of all."""

from __future__ import annotations

from pdpipe.evaluation.rung_records import RungsRecord
from pdpipe.reporting import formats
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.tables import Table


def rungs_table(record: RungsRecord) -> Table:
    """The loss of each rung on held-out images, and the drift of its images at some w."""
    protocol = record.protocol
    rows = [
        [
            rung.student,
            f"{rung.teacher}, {formats.steps(rung.teacher_steps)}",
            formats.small(rung.loss),
            *(formats.small(drift.mse) for drift in rung.drifts),
        ]
        for rung in record.rungs
    ]
    drifts = [formats.weight(drift.w) for drift in record.rungs[0].drifts]
    return Table(
        title="Each student against its own teacher",
        columns=["student", "teacher", "held-out", *drifts],
        groups=(("", 1), ("loss", 1), ("drift of images", len(drifts))),
        rows=rows,
        note=f"Loss: of the stage's own algorithm, on {formats.count(protocol.heldout_images)} "
        f"held-out images at {protocol.draws} random times and weights each; stage one (the first "
        "row) has another loss weight than the halvings. Drift: the mean squared difference of "
        f"{formats.count(protocol.samples)} final images (pixels in [-1, 1]) from the teacher's, "
        "from the same noise. Neither has an interval, so a small difference says nothing; a "
        "halving that stands out by multiples needs more updates.",
    )


def coupling_table(m: Measurements) -> Table:
    """How well the way from noise to image is kept: the students' images against the teacher's."""

    def row(kind: str, n: int) -> list[str]:
        return [formats.small(m.cell(kind, n, w)["paired_mse"]) for w in m.guidance]

    counts = sorted(set(m.select("teacher")["steps"].tolist()) - {m.full_steps}, reverse=True)
    rows = [[formats.steps(n), *row("student", n)] for n in m.student_steps]
    rows += [[f"{m.teacher_by}, {formats.steps(n)}", *row("teacher", n)] for n in counts]
    return Table(
        title="The same noise, the same image",
        columns=["", *map(formats.weight, m.guidance)],
        rows=rows,
        references=len(counts),
        note=f"Mean squared difference (pixels in [-1, 1]) from the image that the teacher makes "
        f"of the same noise in {formats.steps(m.full_steps)}. Without intervals: a small "
        "difference says nothing.",
    )
