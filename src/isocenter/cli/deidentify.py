"""The verb `deidentify` on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from isocenter.cli.options import Annotated, Json, Path, Quiet, start_logging
from isocenter.cli.progress import bars
from isocenter.errors import ConfigError

if TYPE_CHECKING:
    from isocenter.io.dicom.deidentify.report import Deidentification

__all__ = ["command"]


def command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder, file, .zip or disc of DICOM files.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write; new or empty.")],
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Secret: the same key gives the same UIDs; made where missing."),
    ] = None,
    patients: Annotated[
        Path | None, typer.Option("--patients", metavar="CSV", help="Pseudonyms: a table of patient,pseudonym.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="Write here who became whom; keep it safe.")
    ] = None,
    keep_uids: Annotated[bool, typer.Option("--keep-uids", help="Retain UIDs.")] = False,
    keep_dates: Annotated[bool, typer.Option("--keep-dates", help="Retain dates and times as they are.")] = False,
    shift_dates: Annotated[
        str | None,
        typer.Option(
            "--shift-dates", metavar="DAYS", help="Add whole days to all dates; auto: drawn for each patient."
        ),
    ] = None,
    keep_device: Annotated[bool, typer.Option("--keep-device", help="Retain the identity of devices.")] = False,
    keep_institution: Annotated[
        bool, typer.Option("--keep-institution", help="Retain the identity of the institution.")
    ] = False,
    keep_characteristics: Annotated[
        bool, typer.Option("--keep-characteristics", help="Retain age, sex, size, weight and the like.")
    ] = False,
    keep_safe_private: Annotated[
        bool, typer.Option("--keep-safe-private", help="Retain private numbers that are known to be safe.")
    ] = False,
    clean_descriptors: Annotated[
        bool, typer.Option("--clean-descriptors", help="Keep the known words of descriptions; removed without it.")
    ] = False,
    keep_burned_in: Annotated[
        bool, typer.Option("--keep-burned-in", help="Write images too that may show a name in their pixels.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy DICOM files without what identifies their patients."""
    from isocenter.io.dicom.deidentify import DeidentifyOptions
    from isocenter.workflow.deidentifying import deidentify

    start_logging(quiet)
    options = DeidentifyOptions(
        keep_uids=keep_uids,
        keep_dates=keep_dates,
        shift_dates="auto" if shift_dates == "auto" else _days(shift_dates),
        keep_device=keep_device,
        keep_institution=keep_institution,
        keep_characteristics=keep_characteristics,
        keep_safe_private=keep_safe_private,
        clean_descriptors=clean_descriptors,
        keep_burned_in=keep_burned_in,
    )
    with bars(quiet) as progress:
        done = deidentify(
            path, out=out, options=options, key=key, patients=patients, mapping=mapping, progress=progress
        )
    if as_json:
        typer.echo(json.dumps(done.to_dict(), indent=2, sort_keys=True))
    elif not quiet:
        _show(done, key is not None)


def _days(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--shift-dates is '{text}'; give whole days such as -400, or auto") from None


def _show(done: Deidentification, keyed: bool) -> None:
    typer.echo(
        f"{done.out}: {done.written} files in {done.series} series of {done.patients} patients;"
        f" {done.profile['standard']}"
    )
    for code in done.profile["codes"]:
        typer.echo(f"  {code['code']} {code['meaning']}")
    for reason, count in done.held_by_reason.items():
        text = next(entry["text"] for entry in done.held if entry["reason"] == reason)
        typer.echo(f"held back: {count} x {reason}: {text}")
    if done.not_dicom:
        typer.echo(f"not copied: {done.not_dicom} files that are not DICOM images or objects")
    if done.left:
        typer.echo(
            f"left as they were: {sum(done.left.values())} texts of {len(done.left)} attributes; see report.json"
        )
    for warning in done.warnings:
        typer.echo(f"note: {warning}")
    if not keyed:
        typer.echo("note: the secret is forgotten; --key FILE makes another run give the same UIDs and pseudonyms")
