"""The verb `simulate` on the command line."""

from __future__ import annotations

import typer

from isocenter.cli.options import Annotated, Overwrite, Path, Quiet, start_logging
from isocenter.cli.progress import bars

__all__ = ["command"]


def command(
    phantom: Annotated[str, typer.Argument(metavar="PHANTOM", help="What to simulate: thorax.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of studies to write.")],
    cases: Annotated[int, typer.Option("--cases", min=1, help="Number of studies.")] = 12,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other patients.")] = 7,
    matrix: Annotated[int, typer.Option("--matrix", min=32, max=1024, help="Pixels along a side of a slice.")] = 160,
    slice_mm: Annotated[float, typer.Option("--slice-mm", min=0.5, max=20, help="Distance of slices.")] = 4.0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make DICOM studies of a digital phantom, with truth."""
    from isocenter.workflow import simulate

    start_logging(quiet)
    with bars(quiet) as progress:
        simulate(
            phantom, out=out, cases=cases, seed=seed, matrix=matrix, slice_mm=slice_mm, overwrite=overwrite,
            progress=progress,
        )  # fmt: skip
    if not quiet:
        typer.echo(f"{cases} studies written to {out}; next: isocenter inspect {out}")
