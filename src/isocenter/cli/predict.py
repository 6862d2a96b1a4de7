"""The verb `predict` on the command line."""

from __future__ import annotations

import typer

from isocenter.cli.options import Annotated, Overwrite, Path, Quiet, start_logging
from isocenter.cli.progress import bars

__all__ = ["command"]


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    study: Annotated[
        list[str],
        typer.Argument(metavar="STUDY...", help="DICOM folder, NIfTI file(s) as name=path, or <dataset>/<case>."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Result folder.")] = Path("result"),
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="dicom-seg, nifti, json, html, rtstruct, dicom-labelmap; repeatable; by default all that fit but the"
            " last two.",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Predict one study and write the result."""
    from isocenter.workflow import predict

    start_logging(quiet)
    with bars(quiet) as progress:
        tell = (lambda done, total: progress("predicting", done, total)) if progress else None
        result = predict(
            model, study, out=out, formats=formats or (), overwrite=overwrite, device=device, progress=tell
        )
    if quiet:
        return
    for finding in result.findings:
        numbers = ", ".join(f"{m.name} {m.value:.4g} {m.unit}".removesuffix(" 1") for m in finding.measurements)
        sure = f" (probability {finding.probability:.2f})" if finding.probability is not None else ""
        typer.echo(f"{finding.name}{sure}: {numbers}" if numbers else f"{finding.name}{sure}")
    for flag in result.prediction.flags:
        typer.echo(f"note: {flag.text}")
    typer.echo("written: " + ", ".join(sorted(str(p) for p in out.iterdir())))
