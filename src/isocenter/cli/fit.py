"""The verb `fit` on the command line."""

from __future__ import annotations

import typer

from isocenter.cli.options import (
    Annotated,
    AnnotationName,
    DatasetPath,
    Device,
    Images,
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
    settings: Settings = None,
    splits: SplitsFile = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in <out>.fit.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Learn from a dataset and write a model folder."""
    from isocenter.plan import read_plan
    from isocenter.workflow import fit

    start_logging(quiet)
    given = read_plan(plan) if plan is not None else None
    said = plan_options(
        task=task, target=target, image=image, annotation=annotation, structure=structure, settings=settings
    )
    with bars(quiet) as progress:
        model = fit(
            dataset, out=out, plan=given, splits=splits, resume=resume, overwrite=overwrite, device=device,
            progress=progress, **said,
        )  # fmt: skip
    if not quiet:
        used = model.manifest["trained_on"]
        lost = f", {used['left_out']} left out" if used["left_out"] else ""
        typer.echo(f"model written to {out} (trained on {used['train']} cases, watched on {used['val']}{lost})")
        part = " --split val" if used["val"] else ""
        typer.echo(f"next: isocenter evaluate {out} {dataset}{part} --out metrics.json")
