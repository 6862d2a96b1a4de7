"""One file: held back, or written without what identifies its patient."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from isocenter.io.dicom.deidentify.actions import Cleaner, Tally
from isocenter.io.dicom.deidentify.files import Source, TooLargeError, read_source, write_file
from isocenter.io.dicom.deidentify.held import face_risk, held_reason, pixel_reason
from isocenter.io.dicom.deidentify.marks import file_meta, mark
from isocenter.io.dicom.deidentify.residue import Identifiers
from isocenter.io.dicom.deidentify.uids import is_uid

if TYPE_CHECKING:
    from isocenter.io.dicom.deidentify.keys import Secret
    from isocenter.io.dicom.deidentify.options import DeidentifyOptions
    from isocenter.io.dicom.deidentify.patients import Patients
    from isocenter.io.dicom.header import Header

__all__ = ["Outcome", "Plan", "deidentify_file"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What holds for all files.

    Attributes:
        options: Which options are in force.
        secret: What replacements are derived from.
        patients: Pseudonyms.
    """

    options: DeidentifyOptions
    secret: Secret
    patients: Patients

    def uid(self, uid: str) -> str:
        """What a UID becomes in the output; also as a name of a folder."""
        return uid if self.options.keep_uids and is_uid(uid) else self.secret.uid(uid)

    def days(self, patient: str) -> int:
        """How far the dates of a patient are shifted."""
        shift = self.options.shift_dates
        return self.secret.days(patient) if shift == "auto" else shift or 0


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        number: Place of the file among all, from 1, in the order of their paths.
        source: Its path within the input; for the owner of the originals only.
        patient: Pseudonym, ``""`` where there is none; study, series and instance as new UIDs.
        study: See ``patient``.
        series: See ``patient``.
        instance: See ``patient``.
        held: Code of the reason why it was not written, ``""`` where it was.
        order: Instance Number.
        file: Where it was written.
        flagged: Code of what may be seen in its pixels though it was written, or ``""``.
        face: A face might be drawn from its volume.
        tally: What was done to its attributes.
    """

    number: int
    source: str
    patient: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    held: str = ""
    order: float = 0.0
    file: Path | None = None
    flagged: str = ""
    face: bool = False
    tally: Tally = field(default_factory=Tally, repr=False)


def deidentify_file(header: Header, known: Outcome, plan: Plan, folder: Path) -> Outcome:
    """De-identify one file.

    Args:
        header: From `isocenter.io.dicom.header.read_header`, which has refused what is not safe to parse.
        known: Number, pseudonym and new UIDs of the file.
        plan: What holds for all files.
        folder: Where the folder of its patient is to be.

    Returns:
        ``known`` with what was done.
    """
    try:
        return _deidentified(header, known, plan, folder)
    except TooLargeError:
        return _held(known, "too-large")
    except OSError:
        raise  # the place to write to
    except Exception as error:  # what pydicom makes of damaged values is of no one kind; one file stops no others
        _LOG.debug("file %d: %s", known.number, type(error).__name__)
        return _held(known, "damaged")


def _held(known: Outcome, reason: str) -> Outcome:
    return replace(known, held=reason)


def _deidentified(header: Header, known: Outcome, plan: Plan, folder: Path) -> Outcome:
    source = read_source(Path(header.file), header.text("TransferSyntaxUID"), header.pixels_at)
    dataset = source.dataset
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not dataset.get(keyword):  # blanked by a careless anonymiser; the header took it from elsewhere
            setattr(dataset, keyword, header.text(keyword))
    if not is_uid(str(dataset.SOPClassUID)) or not str(dataset.SOPInstanceUID):
        return _held(known, "damaged")
    reason = held_reason(dataset)
    flagged = pixel_reason(dataset) or ""
    if reason or (flagged and not plan.options.keep_burned_in):
        return _held(known, reason or flagged)
    face, who = face_risk(dataset), Identifiers.of(dataset)
    tally = _clean(source, known, plan, who, header)
    target = folder / known.patient / known.study / known.series / f".{known.number}.dcm"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        unseen = write_file(target, source, who)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    if not unseen:
        target.unlink()
        return _held(known, "pixel-comment")
    return replace(known, file=target, flagged=flagged, face=face, tally=tally)


def _clean(source: Source, known: Outcome, plan: Plan, who: Identifiers, header: Header) -> Tally:
    days = plan.days(header.text("PatientID") or header.text("StudyInstanceUID"))
    dataset = source.dataset
    cleaner = Cleaner(plan.options, plan.secret, known.patient, days, who, str(dataset.SOPClassUID))
    cleaner.clean(dataset)
    mark(dataset, plan.options, known.patient)
    dataset.file_meta = file_meta(dataset, source.transfer_syntax)
    return cleaner.tally
