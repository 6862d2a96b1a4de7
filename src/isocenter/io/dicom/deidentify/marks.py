"""What a de-identified file says of itself, and its new file meta information (PS3.15 E.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isocenter.io.dicom.deidentify.options import METHOD_CODES
from isocenter.io.dicom.deidentify.table import EDITION

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

    from isocenter.io.dicom.deidentify.options import DeidentifyOptions

__all__ = ["IMPLEMENTATION_UID", "file_meta", "mark"]

IMPLEMENTATION_UID = "2.25.47791528052982487213348074082475831716"
_MEANINGS = dict(METHOD_CODES.values()) | {
    # options that another de-identifier may have applied before
    "113101": "Clean Pixel Data Option",
    "113102": "Clean Recognizable Visual Features Option",
    "113103": "Clean Graphics Option",
    "113104": "Clean Structured Content Option",
}


def mark(dataset: Dataset, options: DeidentifyOptions, patient: str) -> None:
    """Say that, how and by what the data set was de-identified.

    Codes of the profile that an earlier de-identification left are kept; its texts are not.
    """
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    from isocenter import __version__

    dataset.PatientID = dataset.PatientName = patient
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [f"Isocenter {__version__}", f"DICOM PS3.15 {EDITION} Annex E"]
    earlier = [str(item.get("CodeValue", "")) for item in dataset.get("DeidentificationMethodCodeSequence") or ()]
    codes = [code for code, _ in options.method_codes]
    items = []
    for code in dict.fromkeys([*codes, *(c for c in earlier if c in _MEANINGS)]):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", _MEANINGS[code]
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = Sequence(items)
    dataset.LongitudinalTemporalInformationModified = options.temporal


def file_meta(dataset: Dataset, transfer_syntax: str) -> FileMetaDataset:
    """File meta information made anew: nothing of the old one but the transfer syntax is in it."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = "ISOCENTER"
    return meta
