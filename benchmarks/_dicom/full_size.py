"""A CT series as a scanner writes it: 512 x 512 pixels with noise, headers of some 200 elements and 10 kB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from _dicom.phantom import Layout, slice_of

__all__ = ["series", "write"]

PIXELS = 512
TEXTS = {
    "InstitutionName": "Hospital", "InstitutionAddress": "1 Street, Town", "StationName": "CT01",
    "StudyDescription": "Chest and abdomen with contrast", "SeriesDescription": "Thin 1.0 soft tissue",
    "InstitutionalDepartmentName": "Radiology", "PhysiciansOfRecord": "A^B", "PerformingPhysicianName": "C^D",
    "OperatorsName": "E^F", "ManufacturerModelName": "Scanner 128", "DerivationDescription": "none",
    "PatientAge": "060Y", "PatientSize": "1.75", "PatientWeight": "80", "AdditionalPatientHistory": "none stated",
    "ContrastBolusAgent": "Iodine 300", "BodyPartExamined": "CHEST", "ScanOptions": "HELICAL MODE",
    "DataCollectionDiameter": "500", "DeviceSerialNumber": "123456", "SoftwareVersions": "syngo 1.2.3",
    "ProtocolName": "Chest Abdomen Pelvis", "ContrastBolusRoute": "IV", "ContrastBolusVolume": "90",
    "ContrastBolusStartTime": "115900.000", "ContrastFlowRate": "3", "SpatialResolution": "0.35",
    "ReconstructionDiameter": "360", "DistanceSourceToDetector": "1085.6", "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0", "TableHeight": "154.5", "RotationDirection": "CW", "ExposureTime": "500",
    "XRayTubeCurrent": "280", "Exposure": "140", "FilterType": "BODY FILTER", "GeneratorPower": "33600",
    "FocalSpots": "1.2", "DateOfLastCalibration": "20200101", "TimeOfLastCalibration": "073635",
    "StudyStatusID": "COMPLETED", "ImageComments": "none", "RequestingPhysician": "G^H", "RequestingService": "ONC",
    "RequestedProcedureDescription": "CT chest", "PerformedProcedureStepID": "1", "PositionReferenceIndicator": "SN",
    "WindowCenter": "40", "WindowWidth": "400", "LossyImageCompression": "00", "TemporalResolution": "250",
    "AcquisitionDate": "20200101", "AcquisitionTime": "120001.5", "SeriesDate": "20200101", "SeriesTime": "120000",
    "PerformedProcedureStepStartDate": "20200101", "PerformedProcedureStepStartTime": "120000",
}  # fmt: skip
NUMBERS = {
    "SingleCollimationWidth": 0.6, "TotalCollimationWidth": 38.4, "TableSpeed": 46.0, "TableFeedPerRotation": 23.0,
    "SpiralPitchFactor": 0.6, "CTDIvol": 8.4, "ExposureTimeInms": 500.0, "XRayTubeCurrentInmA": 280.0,
    "EstimatedDoseSaving": 29.7, "RevolutionTime": 0.5,
}  # fmt: skip
SEQUENCES = (
    "ReferencedStudySequence", "ReferencedPerformedProcedureStepSequence", "ReferencedImageSequence",
    "SourceImageSequence",
)  # fmt: skip


def series(count: int) -> Layout:
    """Where ``count`` slices of 1 mm lie."""
    return Layout(
        count, (PIXELS, PIXELS), (0.7, 0.7), origin=(-180.0, -180.0, 0.0), steps=[float(k) for k in range(count)]
    )


def write(folder: Path, layout: Layout, syntax: UID = ExplicitVRLittleEndian) -> None:
    """Its files, compressed where ``syntax`` says so."""
    folder.mkdir(parents=True)
    shared = generate_uid()
    for k, position in enumerate(layout.positions()):
        ds = _header(layout, position, k + 1, shared)
        ds.PixelData = _pixels(k).tobytes()
        if syntax != ExplicitVRLittleEndian:
            ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(folder / f"IM{k:05d}.dcm", enforce_file_format=True)


def _pixels(k: int) -> NDArray[np.int16]:
    """A body with a spine and lungs in air, and the noise of a scan."""
    rng = np.random.default_rng(k)
    y, x = np.mgrid[-1 : 1 : PIXELS * 1j, -1 : 1 : PIXELS * 1j]
    body = (x / 0.85) ** 2 + (y / 0.6) ** 2 < 1
    lungs = ((np.abs(x) - 0.4) / 0.25) ** 2 + (y / 0.4) ** 2 < 1
    hu = np.where(body, np.where(lungs, -850.0, 40.0 + 30 * np.sin(6 * x + k / 40)), -1000.0)
    hu[(x / 0.12) ** 2 + ((y - 0.35) / 0.12) ** 2 < 1] = 500
    hu += rng.normal(0, 1, hu.shape) * np.where(body, 12, 4)
    found: NDArray[np.int16] = np.clip(np.rint(hu), -1024, 3071).astype("<i2")
    return found


def _header(layout: Layout, position: NDArray[np.float64], number: int, shared: UID) -> Dataset:
    ds = slice_of(layout, position, number, pixels=False)
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 16, 15, 1, "0"
    for keyword, value in (TEXTS | NUMBERS).items():
        setattr(ds, keyword, value)
    ds.SliceThickness, ds.SliceLocation = "1", f"{position[2]:g}"
    ds.ExposureModulationType, ds.DataCollectionCenterPatient = "XYZ_EC", [0.0, -188.0, float(position[2])]
    for keyword in SEQUENCES:
        items = []
        for _ in range(2):
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, shared
            items.append(item)
        setattr(ds, keyword, items)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113691", "DCM", "IEC Body Dosimetry Phantom"
    ds.CTDIPhantomTypeCodeSequence = [code]
    for group, creator in ((0x0009, "VENDOR IDEN"), (0x0019, "VENDOR ACQU"), (0x0043, "VENDOR PARM")):
        block = ds.private_block(group, creator, create=True)
        for k in range(24):
            block.add_new(k, ("DS", "SH", "US", "FL")[k % 4], (f"{k}.5", f"TEXT {k}", k, k / 3)[k % 4])
        block.add_new(0x80, "OB", bytes(range(256)) * 8)
    return ds
