"""Synthetic images whose value is known at every place: what mutations are made from where no real CT is at hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

__all__ = ["CT", "ENHANCED_CT", "ENHANCED_MR", "MR", "Layout", "anatomy", "enhanced", "mosaic", "slice_of", "slices"]

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
INTERCEPT = -1024

Vectors = NDArray[np.float64]


def anatomy(place: Vectors) -> Vectors:
    """HU at places in mm, ``(..., 3)``: smooth, from -600 to 600, and nowhere flat for long."""
    x, y, z = np.moveaxis(place, -1, 0)
    values: Vectors = (
        250 * np.sin(x / 7) * np.cos(y / 9) + 200 * np.sin(z / 11 + x / 30) + 150 * np.cos(y / 13 - z / 17)
    )
    return values


@dataclass(frozen=True)
class Layout:
    """Where slices lie: one axial series unless said otherwise.

    Attributes:
        count: Of slices.
        shape: Rows, columns.
        spacing: Between rows, between columns, mm.
        across: Direction of increasing column index.
        down: Direction of increasing row index.
        origin: Centre of the first pixel of the first slice, mm.
        steps: From the first slice to each, mm along ``way``.
        way: Direction in which slices follow each other; along the normal by default.
    """

    count: int = 28
    shape: tuple[int, int] = (48, 64)
    spacing: tuple[float, float] = (0.9, 0.7)
    across: Sequence[float] = (1.0, 0.0, 0.0)
    down: Sequence[float] = (0.0, 1.0, 0.0)
    origin: Sequence[float] = (-22.4, -21.6, -30.0)
    steps: Sequence[float] | None = None
    way: Sequence[float] | None = None
    uids: tuple[str, str, str] = field(default_factory=lambda: (generate_uid(), generate_uid(), generate_uid()))

    def positions(self) -> Vectors:
        """``(count, 3)``, mm."""
        steps = np.arange(self.count) * 2.5 if self.steps is None else np.asarray(self.steps, float)
        way = np.cross(self.across, self.down) if self.way is None else np.asarray(self.way, float)
        found: Vectors = np.asarray(self.origin, float) + steps[:, None] * way
        return found

    def places(self, position: Vectors) -> Vectors:
        """Places of all pixels of the slice at ``position``, ``(rows, columns, 3)``."""
        rows, columns = np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij")
        down, across = np.asarray(self.down, float) * self.spacing[0], np.asarray(self.across, float) * self.spacing[1]
        found: Vectors = position + rows[..., None] * down + columns[..., None] * across
        return found

    def stored(self, position: Vectors) -> NDArray[np.uint16]:
        """Pixels as stored: HU, rounded, less the intercept."""
        return (np.rint(anatomy(self.places(position))) - INTERCEPT).astype(np.uint16)


def numbers(values: Sequence[float] | Vectors) -> list[str]:
    """Decimal strings of at most 16 characters."""
    return [f"{float(v):.10g}" for v in values]


def _plain(layout: Layout, sop_class: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class), generate_uid()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = UID(sop_class), ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = layout.uids
    ds.Modality = "CT" if sop_class in (CT, ENHANCED_CT) else "MR"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom", "phantom", "", ""
    ds.StudyDate, ds.StudyTime, ds.ContentDate, ds.ContentTime = "20200101", "120000", "20200101", "120000"
    ds.StudyID, ds.SeriesNumber, ds.AccessionNumber, ds.ReferringPhysicianName = "1", 3, "", ""
    ds.Manufacturer, ds.ManufacturerModelName, ds.PatientPosition = "Phantom", "Sines", "HFS"
    ds.SeriesDescription = "phantom"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if ds.Modality == "CT" else ["ORIGINAL", "PRIMARY", "M", "ND"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.Rows, ds.Columns = layout.shape
    return ds


def slice_of(layout: Layout, position: Vectors, number: int, sop_class: str = CT, *, pixels: bool = True) -> Dataset:
    """One single-frame image; its pixels too unless they come from elsewhere."""
    ds = _plain(layout, sop_class)
    ds.InstanceNumber, ds.AcquisitionNumber = number, 1
    ds.ImagePositionPatient = numbers(position)
    ds.ImageOrientationPatient = numbers([*layout.across, *layout.down])
    ds.PixelSpacing, ds.SliceThickness = numbers(layout.spacing), "2.5"
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", str(INTERCEPT), "HU"
    if sop_class == MR:
        ds.ScanningSequence, ds.SequenceVariant, ds.EchoTime, ds.RepetitionTime = "SE", "NONE", "30", "2000"
        del ds.RescaleType
    else:
        ds.KVP, ds.ConvolutionKernel = "120", "B30f"
    if pixels:
        ds.PixelData = layout.stored(position).astype("<u2").tobytes()
    return ds


def slices(layout: Layout, sop_class: str = CT) -> list[Dataset]:
    """One series of single-frame images."""
    return [slice_of(layout, p, k + 1, sop_class) for k, p in enumerate(layout.positions())]


def _item(**elements: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def enhanced(layout: Layout, order: Sequence[tuple[int, int]], sop_class: str) -> Dataset:
    """One multi-frame image: ``order`` gives slice and time (from 0) of each frame; each has its own slope."""
    ds = _plain(layout, sop_class)
    ds.InstanceNumber, ds.NumberOfFrames = 1, len(order)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[_item(PixelSpacing=numbers(layout.spacing), SliceThickness="2.5")],
            PlaneOrientationSequence=[_item(ImageOrientationPatient=numbers([*layout.across, *layout.down]))],
        )
    ]
    positions, frames, pixels = layout.positions(), [], []
    kind = "CTImageFrameTypeSequence" if sop_class == ENHANCED_CT else "MRImageFrameTypeSequence"
    for k, time in order:
        content = {"StackID": "1", "InStackPositionNumber": k + 1, "DimensionIndexValues": [1, k + 1, time + 1]}
        transform = _item(RescaleSlope=f"{1 + k / 8:g}", RescaleIntercept=str(INTERCEPT + 10 * time), RescaleType="HU")
        frame = _item(
            FrameContentSequence=[_item(TemporalPositionIndex=time + 1, FrameAcquisitionNumber=time + 1, **content)],
            PlanePositionSequence=[_item(ImagePositionPatient=numbers(positions[k]))],
            PixelValueTransformationSequence=[transform],
        )
        setattr(frame, kind, [_item(FrameType=ds.ImageType)])
        frames.append(frame)
        pixels.append(layout.stored(positions[k]) + np.uint16(7 * time))
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.DimensionIndexSequence = [
        _item(DimensionIndexPointer=tag, FunctionalGroupPointer=0x00209111)
        for tag in (0x00209056, 0x00209057, 0x00209128)
    ]
    ds.PixelData = np.stack(pixels).astype("<u2").tobytes()
    return ds


def mosaic(layout: Layout, step_mm: float) -> Dataset:
    """All slices tiled into one image as Siemens scanners do, with the entries of the CSA header that tell how."""
    side = int(np.ceil(np.sqrt(layout.count)))
    rows, columns = layout.shape
    sheet = np.zeros((rows * side, columns * side), np.uint16)
    positions = layout.positions()
    for k, position in enumerate(positions):
        top, left = k // side * rows, k % side * columns
        sheet[top : top + rows, left : left + columns] = layout.stored(position)
    ds = slice_of(layout, positions[0], 1, MR)
    ds.Manufacturer, ds.ImageType = "SIEMENS", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    ds.Rows, ds.Columns = sheet.shape
    # the position is that of an image of this size about the centre of the first slice
    out = np.asarray(layout.down, float) * layout.spacing[0] * (sheet.shape[0] - rows) / 2
    out += np.asarray(layout.across, float) * layout.spacing[1] * (sheet.shape[1] - columns) / 2
    ds.ImagePositionPatient, ds.SpacingBetweenSlices = numbers(positions[0] - out), f"{step_mm:g}"
    way = (positions[1] - positions[0]) / step_mm
    entries = {"NumberOfImagesInMosaic": [str(layout.count)], "SliceNormalVector": [f"{v:.8f}" for v in way]}
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", _csa(entries))
    ds.PixelData = sheet.astype("<u2").tobytes()
    return ds


def _csa(entries: dict[str, list[str]]) -> bytes:
    parts = [b"SV10\4\3\2\1", struct.pack("<2I", len(entries), 77)]
    for name, values in entries.items():
        parts.append(struct.pack("<64si4s3i", name.encode(), len(values), b"FD\0\0", 4, len(values), 77))
        for value in values:
            text = value.encode() + b"\0"
            parts.append(struct.pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4))
    return b"".join(parts) + b"\0" * (sum(map(len, parts)) % 2)
