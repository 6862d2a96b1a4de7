"""The verb `inspect` on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from isocenter.cli.options import Annotated, Json, Path, Quiet, start_logging
from isocenter.cli.progress import bars
from isocenter.cli.tree import tree_lines

if TYPE_CHECKING:
    from rich.console import Console

    from isocenter.workflow.inspecting import Inspection
    from isocenter.workflow.summaries import Spread

__all__ = ["command"]

SHOWN = 20
"""Problems that are printed; --json has them all."""


def command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Dataset, DICOM folder or .zip, or NIfTI files.")],
    layout: Annotated[
        str | None, typer.Option("--layout", help="table, nnunet, msd, dicom, or a registered one.")
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every voxel too: values, volumes, undeclared labels.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell what a path holds, and what is wrong with it."""
    from isocenter.workflow import inspect

    # problems are part of what is shown here, so they are not logged as well
    start_logging(quiet=True)
    with bars(quiet) as progress:
        found = inspect(path, layout=layout, deep=deep, progress=progress)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, default=str))
    else:
        from rich.console import Console

        _show(Console(soft_wrap=True, highlight=False), found)


def _show(console: Console, found: Inspection) -> None:
    console.print(f"{found.path}: {_counted(found)}", markup=False)
    for line in tree_lines(found):
        console.print(line, markup=False)
    _tables(console, found)
    for question, counts in found.classes.items():
        console.print(f"class {question}: {_counts(counts)}", markup=False)
    if found.scanners:
        console.print(f"scanners: {_counts(found.scanners)}", markup=False)
    for name, counts in found.attributes.items():
        if len(counts) <= 12:
            console.print(f"{name}: {_counts(counts)}", markup=False)
    for name, part in found.splits.items():
        console.print(f"split {name}: {_counts(part)}", markup=False)
    for fault in found.faults:
        console.print(f"wrong: {fault}", markup=False)
    for problem in found.problems[:SHOWN]:
        console.print(f"wrong: {problem}", markup=False)
    if len(found.problems) > SHOWN:
        console.print(f"... and {len(found.problems) - SHOWN} more; --json names them all")


def _counted(found: Inspection) -> str:
    lost = f", {found.unusable} cases cannot be used" if found.unusable else ""
    if not found.cases and not lost and found.series:
        return f"{found.kind}, {len(found.series)} series of {found.patients} patients"
    return f"{found.kind}, {len(found.cases)} cases of {found.patients} patients{lost}"


def _tables(console: Console, found: Inspection) -> None:
    from rich.table import Table

    if found.images:
        table = Table("image", "modality", "cases", "slices", "rows x columns", "spacing mm")
        for image in found.images:
            z, y, x = image.shape
            sizes = f"{_range(y)} x {_range(x)}"
            steps = " x ".join(_range(s) for s in image.spacing_mm)
            table.add_row(image.name, image.modality or "?", str(image.cases), _range(z), sizes, steps)
        console.print(table)
    if found.structures:
        table = Table("structure", "values", "cases", "volume ml")
        for s in found.structures:
            volume = _range(s.volume_ml) if s.volume_ml else "-" if found.deep else "(--deep tells)"
            cases = "-" if s.cases is None else str(s.cases)
            table.add_row(s.name, ", ".join(map(str, s.values)), cases, volume)
        console.print(table)


def _range(spread: Spread) -> str:
    low, high = f"{spread.low:.4g}", f"{spread.high:.4g}"
    return low if low == high else f"{low}-{high}"


def _counts(counts: object) -> str:
    return ", ".join(f"{name} {count}" for name, count in dict(counts).items())  # type: ignore[call-overload]
