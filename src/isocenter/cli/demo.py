"""The verb `demo` on the command line."""

from __future__ import annotations

import typer

from isocenter.cli.evaluate import show
from isocenter.cli.options import Annotated, Overwrite, Path, Quiet, start_logging
from isocenter.cli.progress import bars

__all__ = ["command"]


def command(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for all of it.")] = Path("demo"),
    cases: Annotated[int, typer.Option("--cases", min=4, help="Simulated studies.")] = 12,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Training steps.")] = 300,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the simulated patients and of the fit.")] = 7,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole line on simulated studies: minutes."""
    from isocenter.workflow import demo

    start_logging(quiet)
    with bars(quiet) as progress:
        figures = demo(out, cases=cases, steps=steps, seed=seed, overwrite=overwrite, progress=progress)
    if quiet:
        return
    show(figures)
    typer.echo(f"""
open      {out / "result" / "report.html"}    slices with the segmentation on them
          {out / "result" / "segmentation.dcm"}    DICOM SEG on the study, for any viewer that shows it
          {out / "metrics.json"}    how good the model is on studies it never saw
try next  isocenter inspect {out / "studies"}
          isocenter plan {out / "studies"} --out plan.yaml
          isocenter predict {out / "model"} YOUR_DICOM_FOLDER --out yours
          isocenter fit YOUR_DATASET --out model""")
