"""Simulated cases as DICOM studies: a CT series (PS3.3 A.3), its truth as a Segmentation, and JSON."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.io.files import atomic_folder, atomic_path, write_json
from isocenter.simulate._random import derived_uid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

    from isocenter.simulate.thorax import SimulatedCase

__all__ = ["write_study", "write_table"]

_DATE, _TIME = "20200101", "120000"
_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


def write_study(folder: str | Path, case: SimulatedCase) -> Path:
    """Write a case as ``ct/0001.dcm`` ..., ``seg.dcm`` and ``truth.json``; the folder appears whole or not at all.

    Args:
        folder: The folder of the case; it may exist when it is empty.
        case: What `thorax` gave.

    Returns:
        ``folder``.

    Raises:
        ConfigError: The folder is not empty or cannot be written.
    """
    from isocenter.io.dicom import write_seg

    target = Path(folder)
    with atomic_folder(target) as part:
        files = _write_ct(part / "ct", case)
        write_seg(
            part / "seg.dcm",
            case.labels,
            case.schema,
            files,
            algorithm_name="",
            algorithm_version="",
            series_description="Truth",
            manual=True,
        )
        _settle(part / "seg.dcm", case)
        write_json(part / "truth.json", case.truth())
    return target


def write_table(path: str | Path, rows: Sequence[dict[str, str]]) -> None:
    """Write rows as CSV, whole or not at all."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_ct(folder: Path, case: SimulatedCase) -> list[Path]:
    from pydicom.filewriter import dcmwrite

    folder.mkdir()
    intercept = case.profile.intercept
    stored = case.image.array[0].astype(np.int32) - intercept
    pixels = stored.astype("<i2" if intercept == 0 else "<u2")
    places = case.image.grid.to_world([[k, 0, 0] for k in range(len(pixels))])
    head = _head(case)
    files = []
    for k, plane in enumerate(pixels):
        head.SOPInstanceUID = _uid(case, f"image {k}")
        head.file_meta.MediaStorageSOPInstanceUID = head.SOPInstanceUID
        head.InstanceNumber = k + 1
        head.ImagePositionPatient = [_decimal(v) for v in places[k]]
        head.SliceLocation = _decimal(places[k, 2])
        head.PixelData = plane.tobytes()
        files.append(folder / f"{k + 1:04d}.dcm")
        dcmwrite(files[-1], head, enforce_file_format=True)
    return files


def _head(case: SimulatedCase) -> Dataset:
    """Everything that the images of the series share."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    head = Dataset()
    head.file_meta = FileMetaDataset()
    head.file_meta.MediaStorageSOPClassUID = UID(_CT_STORAGE)
    head.file_meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
    head.file_meta.ImplementationClassUID = UID(derived_uid(0, 0, "", "implementation"))
    head.file_meta.ImplementationVersionName = "ISOCENTER"
    for group in (_study(case), _equipment(case), _geometry(case), _values(case)):
        for keyword, value in group.items():
            setattr(head, keyword, value)
    return head


def _study(case: SimulatedCase) -> dict[str, Any]:
    return {
        "SOPClassUID": _CT_STORAGE,
        "PatientName": f"Simulated^Thorax {case.index + 1:04d}",
        "PatientID": case.patient_id,
        "PatientBirthDate": "",
        "PatientSex": case.patient.sex,
        "PatientAge": f"{case.patient.age:03d}Y",
        "StudyInstanceUID": _uid(case, "study"),
        "StudyDate": _DATE,
        "StudyTime": _TIME,
        "StudyID": f"{case.index + 1:04d}",
        "StudyDescription": "Simulated chest CT",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Modality": "CT",
        "SeriesInstanceUID": _uid(case, "series"),
        "SeriesNumber": 1,
        "SeriesDate": _DATE,
        "SeriesTime": _TIME,
        "SeriesDescription": f"Thorax {case.profile.kernel} {case.profile.thickness_mm:g} mm",
        "BodyPartExamined": "CHEST",
        "PatientPosition": "HFS",
    }


def _equipment(case: SimulatedCase) -> dict[str, Any]:
    from isocenter import __version__

    made = {
        "Manufacturer": case.profile.vendor,
        "ManufacturerModelName": case.profile.model,
        "SoftwareVersions": f"isocenter {__version__}",
        "ProtocolName": "Simulated thorax",
        "KVP": case.profile.kvp,
        "ConvolutionKernel": case.profile.kernel,
        "DataCollectionDiameter": case.profile.field_mm,
        "ReconstructionDiameter": case.profile.field_mm,
    }
    if case.patient.contrast:
        made["ContrastBolusAgent"] = "Iodine"
    return made


def _geometry(case: SimulatedCase) -> dict[str, Any]:
    grid = case.image.grid
    across, down = grid.directions[:, 2], grid.directions[:, 1]
    return {
        "FrameOfReferenceUID": grid.frame,
        "PositionReferenceIndicator": "",
        "ImageOrientationPatient": [_decimal(v) for v in (*across, *down)],
        "PixelSpacing": [_decimal(v) for v in grid.spacing_mm[1:]],
        "SliceThickness": _decimal(case.profile.thickness_mm),
        "SpacingBetweenSlices": _decimal(grid.spacing_mm[0]),
        "Rows": grid.shape[1],
        "Columns": grid.shape[2],
    }


def _values(case: SimulatedCase) -> dict[str, Any]:
    signed = case.profile.intercept == 0
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "AcquisitionNumber": 1,
        "AcquisitionDate": _DATE,
        "AcquisitionTime": _TIME,
        "ContentDate": _DATE,
        "ContentTime": _TIME,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16 if signed else 12,
        "HighBit": 15 if signed else 11,
        "PixelRepresentation": int(signed),
        "RescaleIntercept": case.profile.intercept,
        "RescaleSlope": 1,
        "RescaleType": "HU",
        "WindowCenter": [40, -500],
        "WindowWidth": [400, 1500],
        "WindowCenterWidthExplanation": ["SOFT TISSUE", "LUNG"],
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
    }


def _settle(path: Path, case: SimulatedCase) -> None:
    """Give the segmentation identifiers and times that follow from the case, so that a rerun writes the same bytes."""
    from pydicom import dcmread

    seg = dcmread(path)
    seg.SOPInstanceUID = _uid(case, "truth")
    seg.file_meta.MediaStorageSOPInstanceUID = seg.SOPInstanceUID
    seg.SeriesInstanceUID = _uid(case, "truth series")
    organisation = _uid(case, "dimensions")
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    for segment in seg.SegmentSequence:
        segment.TrackingUID = _uid(case, f"truth of {segment.SegmentLabel}")
    for item in seg.get("ContributingEquipmentSequence", []):
        item.ContributionDateTime = _DATE + _TIME
    for keyword in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
        if keyword in seg:
            setattr(seg, keyword, _DATE)
    for keyword in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
        if keyword in seg:
            setattr(seg, keyword, _TIME)
    seg.save_as(path)


def _uid(case: SimulatedCase, what: str) -> str:
    return derived_uid(case.seed, case.index, case.recipe, what)


def _decimal(value: float) -> float:
    """A number that a decimal string of 16 characters holds."""
    return round(float(value), 6) + 0.0
