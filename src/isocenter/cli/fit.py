"""The verb `fit` on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from isocenter.cli.options import (
    Annotated,
    AnnotationName,
    BudgetTime,
    CacheFolder,
    DatasetPath,
    Device,
    Dimensions,
    Images,
    MeasuredSet,
    MemoryLimit,
    NetworkName,
    Overwrite,
    Path,
    Quiet,
    Settings,
    SplitsFile,
    Structures,
    Target,
    TaskName,
    plan_options,
    start_logging,
)
from isocenter.cli.progress import bars

if TYPE_CHECKING:
    from isocenter.workflow import TrainedModel

__all__ = ["command"]


def command(
    dataset: DatasetPath,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Model folder to write.")] = Path("model"),
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Plan; made now where none is given.")
    ] = None,
    task: TaskName = None,
    target: Target = None,
    image: Images = None,
    annotation: AnnotationName = None,
    structure: Structures = None,
    network: NetworkName = None,
    dimensions: Dimensions = None,
    measure: MeasuredSet = None,
    settings: Settings = None,
    splits: SplitsFile = None,
    budget: BudgetTime = None,
    memory: MemoryLimit = None,
    folds: Annotated[
        int, typer.Option("--folds", metavar="K", help="Cross-validate: K fits whose ensemble is the model.")
    ] = 0,
    start: Annotated[
        Path | None, typer.Option("--start", metavar="MODEL", help="Begin with the plan and weights of a model.")
    ] = None,
    cache: CacheFolder = None,
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what an interrupted fit left in <out>.fit.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Learn from a dataset and write a model folder."""
    from isocenter.plan import read_plan
    from isocenter.workflow import fit

    start_logging(quiet)
    given = read_plan(plan) if plan is not None else None
    said = plan_options(
        task=task, target=target, image=image, annotation=annotation, structure=structure,
        network=network, dimensions=dimensions, measure=measure, settings=settings, budget=budget,
        memory=memory, cache=cache,
    )  # fmt: skip
    with bars(quiet) as progress:
        model = fit(
            dataset, out=out, plan=given, splits=splits, resume=resume, overwrite=overwrite, device=device,
            folds=folds, start=start, progress=progress, **said,
        )  # fmt: skip
    if not quiet:
        used = model.manifest["trained_on"]
        lost = f", {used['left_out']} left out" if used["left_out"] else ""
        typer.echo(f"model written to {out} (trained on {used['train']} cases, watched on {used['val']}{lost})")
        if folds:
            _tell_folds(model, out)
            return
        part = " --split val" if used["val"] else ""
        typer.echo(f"next: isocenter evaluate {out} {dataset}{part} --out metrics.json")


def _tell_folds(model: TrainedModel, out: Path) -> None:
    """Figures of patients that their fold had not seen."""
    import json

    found = json.loads(model.text(out, "cross_validation.json") or "{}")
    for kind in ("raw", "nested"):
        summary = found[kind]["summary"]
        spread = summary.get("dice_interval") or []
        shown = f" ({spread[0]:.3f} to {spread[1]:.3f})" if spread else ""
        typer.echo(
            f"held-out cases, {kind}: Dice {summary['dice']:.3f}{shown}" if "dice" in summary else f"{kind}: {summary}"
        )
    typer.echo(f"all figures: {out}/cross_validation.json")
