"""The stage of a study of encoders that measures: images to noise and back, and across classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pdpipe import layout, pipeline
from pdpipe.cli.run import StageRun, load_images, stage_run
from pdpipe.cli.studies import read_settings
from pdpipe.errors import ParamsError
from pdpipe.files import digest_file
from pdpipe.params import models_of

if TYPE_CHECKING:
    from pdpipe.data import ImageSet
    from pdpipe.params import TransferParams
    from pdpipe.studies.coding import Rig
    from pdpipe.studies.reconstruction import Row


def reconstruct(study: str) -> None:
    """Stage `reconstruct` of a study."""
    params, settings = read_settings(study)
    asked, transfer = settings.reconstruction, settings.transfer
    if asked is None:
        raise ParamsError(
            f"study {study} reconstructs nothing: add a section `reconstruction` to "
            f"{layout.study_params(study)}, or measure its arms with `pdpipe measure`"
        )
    from pdpipe.evaluation.records import write_record
    from pdpipe.studies.reconstruction import (
        ReconstructionRecord,
        check_transfer,
        measure_reconstruction,
    )

    heldout = load_images(params, "heldout")
    files = [*map(Path, dict.fromkeys(models_of(asked, transfer).values()))]
    used = {
        "study": settings.model_dump(include={"baseline", "reconstruction", "transfer"}),
        "evaluation": params.evaluation.model_dump(),
    }
    with stage_run(pipeline.reconstruct(study, settings), params, used) as run:
        rig = _rig(run, files)
        if transfer is not None:
            check_transfer(rig, transfer)  # before what takes long
        rows = measure_reconstruction(rig, heldout, asked, settings.baseline)
        if transfer is not None:
            rows += _transfer(run, rig, heldout, transfer, layout.study_images(study))
        record = ReconstructionRecord(
            baseline=settings.baseline,
            judge=rig.judge.name,
            judge_sha256=rig.judge.sha256,
            clip=params.evaluation.clip,
            seed=params.evaluation.seed,
            rows=rows,
        )
        out = layout.study_reconstruction(study)
        write_record(out, record)
        run.outputs = {"metrics": out, **run.outputs}
        run.final["lowest_mse"] = min(row.mse for row in rows if row.part == "reconstruction")


def _rig(run: StageRun, files: list[Path]) -> Rig:
    from pdpipe.models import load_classifier
    from pdpipe.studies.coding import Judge, Rig

    classifier, info = load_classifier(layout.EXTRACTOR, device=str(run.device))
    return Rig(
        models={path.as_posix(): run.load(path, exact=True) for path in files},
        judge=Judge(classifier, info.name, digest_file(layout.EXTRACTOR)),
        settings=run.params.evaluation,
    )


def _transfer(
    run: StageRun, rig: Rig, heldout: ImageSet, transfer: TransferParams, out: Path
) -> list[Row]:
    """The rows of the style transfer, whose picture is written to `out`."""
    from pdpipe.studies.reconstruction import measure_transfer, save_pictures

    rows, blocks = measure_transfer(rig, heldout, transfer)
    named = [[heldout.classes[label] for label in pair] for pair in transfer.pairs]
    save_pictures(
        out,
        blocks,
        title="Style transfer",
        shows=f"the same images, encoded by {rig.name(transfer.encoder)}, and decoded as another "
        f"class by {rig.name(transfer.decoder)}",
        rows=[f"{source} → {target}" for source, target in named],
        columns=["source", *(f"w = {w:g}" for w in transfer.w)],
    )
    run.outputs["images"] = out
    return rows
