"""The verb `convert` on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import typer

from isocenter.cli.options import Annotated, Json, Overwrite, Path, Quiet, start_logging
from isocenter.cli.progress import bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isocenter.workflow.converting import Conversion, NotConverted

__all__ = ["command"]

SHOWN = 20
"""Reasons that are printed; convert.json has them all."""


def command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder, disc, .zip or file of DICOM.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to make.")],
    series: Annotated[
        list[str] | None,
        typer.Option("--series", metavar="UID|NUMBER", help="Only this series; repeatable, all by default."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="TEMPLATE", help="Of files, e.g. '{patient}/{number}_{protocol}'."),
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="No UIDs, times, places and free text in names and JSON files.")
    ] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="DICOM SEG and RTSTRUCT too, as label maps on their images.")
    ] = False,
    suv: Annotated[bool, typer.Option("--suv", help="PET as SUVbw.")] = False,
    tilt: Annotated[
        Literal["shear", "rectify", "refuse"],
        typer.Option("--tilt", help="Tilted gantry: keep as a sheared affine, or resample upright."),
    ] = "shear",
    spacing: Annotated[
        Literal["refuse", "resample"], typer.Option("--spacing", help="Slices at varying distances.")
    ] = "refuse",
    missing: Annotated[
        Literal["refuse", "fill"], typer.Option("--missing", help="Missing slices: fill interpolates them.")
    ] = "refuse",
    as_json: Json = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Convert DICOM to NIfTI; what cannot be is named with the reason."""
    from isocenter.io.dicom import GeometryPolicy
    from isocenter.workflow.converting import convert

    # what could not be converted is part of what is shown here, so it is not logged as well
    start_logging(quiet=True)
    policy = GeometryPolicy(tilt=tilt, spacing=spacing, missing=missing)
    with bars(quiet) as progress:
        done = convert(
            path,
            out=out,
            policy=policy,
            overwrite=overwrite,
            progress=progress,
            series=series or (),
            suv=suv,
            labels=labels,
            name=name,
            anonymous=anonymous,
        )
    if as_json:
        typer.echo(json.dumps(done.to_dict(), indent=2))
    elif not quiet:
        _show(done, out)


def _show(done: Conversion, out: Path) -> None:
    for image in done.images:
        spacing = " x ".join(f"{step:.4g}" for step in image.spacing_mm)
        shape = " x ".join(map(str, image.shape))
        typer.echo(f"{image.files[0]}: {image.modality} {shape}, {spacing} mm, {image.unit}")
        for flag in image.flags:
            typer.echo(f"  note: {flag}")
    expected = [n for n in done.not_converted if n.expected]
    _list("not converted", done.refused, out)
    _list("set aside", expected, out)
    others = f", {len(expected)} set aside" if expected else ""
    ignored = f", {done.ignored} files that are not DICOM" if done.ignored else ""
    typer.echo(f"written: {len(done.images)} images in {out}; not converted: {len(done.refused)}{others}{ignored}")


def _list(what: str, found: Sequence[NotConverted], out: Path) -> None:
    for lost in found[:SHOWN]:
        typer.echo(f"{what}: {lost.what}: {lost.reason}")
    if len(found) > SHOWN:
        typer.echo(f"... and {len(found) - SHOWN} more; {out / 'convert.json'} names them all")
