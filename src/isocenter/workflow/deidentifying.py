"""The verb `deidentify`: a copy of DICOM files without what identifies their patients."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from isocenter.data import map_threads
from isocenter.errors import ConfigError, FileFormatError, SeriesError
from isocenter.io.archives import opened
from isocenter.io.dicom.deidentify import DeidentifyOptions, Secret, new_secret_file, read_secret
from isocenter.io.dicom.deidentify.patients import Patients, read_patients
from isocenter.io.dicom.deidentify.process import Outcome, Plan, deidentify_file
from isocenter.io.dicom.deidentify.report import Deidentification, summary
from isocenter.io.dicom.header import Header, NotDicomError, read_header
from isocenter.io.files import atomic_folder, check_folder_target, files_below, write_json

if TYPE_CHECKING:
    from isocenter.workflow.progress import Progress

__all__ = ["deidentify"]

_BASIC = DeidentifyOptions()


def deidentify(
    path: str | Path,
    *,
    out: str | Path,
    options: DeidentifyOptions = _BASIC,
    key: str | Path | None = None,
    patients: str | Path | None = None,
    mapping: str | Path | None = None,
    progress: Progress | None = None,
) -> Deidentification:
    """Copy DICOM files without what identifies their patients, by PS3.15 Annex E.

    The files of ``out`` are named ``<pseudonym>/<study>/<series>/<number>.dcm``; beside them stands ``report.json``.
    Pixel data is copied as it is. Files that cannot be made safe by their attributes are held back: see the report.

    Args:
        path: A folder, a file, a ``.zip``, or a disc with a DICOMDIR.
        out: Folder to write; it may exist when it is empty.
        options: What is kept beside the Basic Profile.
        key: File of a secret that new UIDs, pseudonyms and shifts of dates are derived from, the same in every run; it
            is made where it is missing. Without one a secret is drawn and forgotten.
        patients: CSV table ``patient,pseudonym``; files of other patients are held back. Derived from the key without.
        mapping: JSON file to write that tells which patient, UID and file became which. Whoever reads it can undo
            the de-identification; it is readable by its owner only.
        progress: Called with what is done, how far, and of how much.

    Raises:
        ConfigError: Options, key, table or places cannot be used.
        SeriesError: There is nothing, or all of it is held back.

    Example:
        >>> import tempfile
        >>> from pydicom.data import get_testdata_file
        >>> done = deidentify(get_testdata_file("CT_small.dcm"), out=Path(tempfile.mkdtemp()) / "safe")
        >>> done.written, done.actions["U"], done.held
        (1, 5, ())
    """
    _check_places(path, out, key, mapping)
    given = read_patients(patients) if patients is not None else None
    secret = _secret(key)
    plan = Plan(options, secret, Patients(secret, given))
    with opened(path) as root:
        files = list(files_below(Path(root)))
        headers, outcomes, ignored = _headers(Path(root), files, plan, progress)
        with atomic_folder(out) as part:
            tell = (lambda done, total: progress("de-identifying", done, total)) if progress is not None else None
            work: Callable[[int], Outcome] = lambda n: deidentify_file(headers[n], outcomes[n], plan, part)  # noqa: E731
            todo = [n for n in headers if not outcomes[n].held]
            while todo:
                for outcome in map_threads(work, todo, progress=tell):
                    outcomes[outcome.number] = outcome
                todo = _promoted(outcomes)
            done = summary(Path(out), [outcomes[n] for n in sorted(outcomes)], options, ignored)
            _check_any(path, done)
            placed = _numbered([o for o in outcomes.values() if not o.held])
            _forget_empty(part)
            write_json(part / "report.json", done.to_dict())
            if mapping is not None:
                _write_mapping(
                    Path(mapping), plan, headers, outcomes, {n: p.relative_to(part) for n, p in placed.items()}
                )
    return done


def _check_places(path: str | Path, out: str | Path, key: str | Path | None, mapping: str | Path | None) -> None:
    check_folder_target(out)
    source, target = Path(path).resolve(), Path(out).resolve()
    if not source.exists():
        raise ConfigError(f"{path}: no such folder or file; check the path")
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise ConfigError(f"{out}: lies within the input, or the input within it; give a place apart from it")
    for option, place in (("key", key), ("mapping", mapping)):
        if place is not None and Path(place).resolve().is_relative_to(target):
            raise ConfigError(f"{option}: {place} lies within {out}, which is to be shared; give a place apart from it")
    if mapping is not None and Path(mapping).exists():
        raise ConfigError(f"mapping: {mapping} is there already, and is not overwritten; give another name")


def _secret(key: str | Path | None) -> Secret:
    if key is None:
        return Secret.random()
    return read_secret(key) if Path(key).exists() else new_secret_file(key)


def _headers(
    root: Path, files: Sequence[Path], plan: Plan, progress: Progress | None
) -> tuple[dict[int, Header], dict[int, Outcome], int]:
    """Heads of the DICOM files by number, what is known of each, and how many are no DICOM."""
    tell = (lambda done, total: progress("reading headers", done, total)) if progress is not None else None
    found = map_threads(_header, files, progress=tell)
    headers: dict[int, Header] = {}
    outcomes: dict[int, Outcome] = {}
    seen: set[str] = set()
    for number, (file, header) in enumerate(zip(files, found, strict=True), start=1):
        if header is None:
            continue
        # of an archive the folder is gone afterwards
        source = file.relative_to(root).as_posix() if file != root else file.name
        if isinstance(header, str):
            outcomes[number] = Outcome(number, source, held=header)
            continue
        outcome = _known(number, source, header, plan)
        if not outcome.held and outcome.instance in seen:
            outcome = replace(outcome, held="duplicate")
        seen.add(outcome.instance)
        headers[number], outcomes[number] = header, outcome
    return headers, outcomes, sum(header is None for header in found)


def _header(file: Path) -> Header | str | None:
    try:
        return read_header(file)
    except NotDicomError:
        return None
    except FileFormatError:  # its text may quote the path, and so is not passed on
        return "damaged"


def _known(number: int, source: str, header: Header, plan: Plan) -> Outcome:
    pseudonym = plan.patients.pseudonym(header.text("PatientID") or header.text("StudyInstanceUID"))
    # files whose UIDs were blanked are told apart by their folders
    blank = f"{os.path.dirname(source)} {header.text('SeriesNumber')}"
    study, series, instance = (plan.uid(header.text(f"{k}InstanceUID") or blank) for k in ("Study", "Series", "SOP"))
    try:
        order = header.number("InstanceNumber", 0.0)
    except SeriesError:
        order = 0.0
    held = "unlisted-patient" if pseudonym is None else "" if header.text("SOPInstanceUID") else "damaged"
    return Outcome(number, source, pseudonym or "", study, series, instance, held=held, order=order)


def _promoted(outcomes: dict[int, Outcome]) -> list[int]:
    """Duplicates of files that turned out not to be usable: one of each takes its place."""
    written = {o.instance for o in outcomes.values() if not o.held}
    chosen: dict[str, int] = {}
    for number, outcome in sorted(outcomes.items()):
        if outcome.held == "duplicate" and outcome.instance not in written:
            chosen.setdefault(outcome.instance, number)
    for number in chosen.values():
        outcomes[number] = replace(outcomes[number], held="")
    return list(chosen.values())


def _check_any(path: str | Path, done: Deidentification) -> None:
    if done.written:
        return
    if not done.held:
        raise SeriesError(f"{path}: no DICOM file is in it; give a folder of DICOM files")
    reasons = ", ".join(f"{count} {reason}" for reason, count in done.held_by_reason.items())
    raise SeriesError(
        f"{path}: nothing was written, since every file is held back ({reasons}); see docs/how-to/deidentify"
    )


def _numbered(done: Sequence[Outcome]) -> dict[int, Path]:
    """Name the files of each series 0001.dcm and so on by Instance Number; where each one is by its number."""
    placed: dict[int, Path] = {}
    counts: Counter[Path] = Counter()
    for outcome in sorted(done, key=lambda o: (o.order, o.instance)):
        if outcome.file is not None:
            counts[outcome.file.parent] += 1
            target = outcome.file.with_name(f"{counts[outcome.file.parent]:04d}.dcm")
            os.replace(outcome.file, target)
            placed[outcome.number] = target
    return placed


def _forget_empty(root: Path) -> None:
    """Remove folders of files that were held back while they were written."""
    for folder, _, _ in os.walk(root, topdown=False):
        if folder != str(root) and not os.listdir(folder):
            os.rmdir(folder)


def _write_mapping(
    path: Path, plan: Plan, headers: dict[int, Header], outcomes: dict[int, Outcome], placed: dict[int, Path]
) -> None:
    """Write who became whom, readable by the owner only from the first byte on."""
    patients = {}
    for number, header in headers.items():
        patient = header.text("PatientID") or header.text("StudyInstanceUID")
        patients[patient] = {"pseudonym": outcomes[number].patient, "days": plan.days(patient)}
    uids = {
        header.text(keyword): plan.uid(header.text(keyword))
        for header in headers.values()
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
        if keyword in header
    }
    files = [
        {"number": n, "source": o.source, "held": o.held, "file": placed[n].as_posix() if n in placed else ""}
        for n, o in sorted(outcomes.items())
    ]
    text = json.dumps({"patients": patients, "uids": uids, "files": files}, indent=2, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"mapping: {path} cannot be written ({error.strerror}); give another place") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "\n")
