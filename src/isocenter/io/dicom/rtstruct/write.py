"""Masks to the contours of a DICOM structure set on their source series."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import SeriesError
from isocenter.io.dicom.codes import ANATOMICAL, category_of
from isocenter.io.dicom.rtstruct.contours import outlines
from isocenter.io.dicom.seg.encode import MaskPlanes
from isocenter.io.dicom.seg.groups import reference
from isocenter.io.dicom.seg.source import matched, source_stacks
from isocenter.io.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from isocenter.io.dicom.seg.source import Source
    from isocenter.io.dicom.stack import Stack
    from isocenter.records import LabelSchema, Structure
    from isocenter.volume import Volume

__all__ = ["write_rtstruct"]

_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # retired, and still what a reference to a study has to state
_MANUFACTURER = "Isocenter"
_CONTOUR_DATA = 0x30060050
_COPIED = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "FrameOfReferenceUID", "PositionReferenceIndicator"),
)
_MAY_LACK = ("SpecificCharacterSet", "StudyDescription")


def write_rtstruct(
    path: str | Path,
    masks: Volume | NDArray[Any],
    schema: LabelSchema,
    source: Stack | Sequence[str | Path],
    *,
    algorithm_name: str,
    algorithm_version: str,
    series_description: str = "Structures",
    manual: bool = False,
) -> None:
    """Write masks as the contours of a DICOM structure set that refers to the series they were drawn on.

    Contours run along the borders of voxels, so that they enclose exactly the volume of the mask, and `read_rtstruct`
    gives every voxel back. Each part of a structure on a slice has one contour; holes are joined to it by a cut of no
    width ("keyhole", PS3.3 C.8.8.6.3), which is right in programs that unite contours as in those that cut inner ones
    out. A structure without voxels stays in the object as a region without contours.

    Args:
        path: The ``.dcm`` file; appears whole or not at all.
        masks: See `write_seg`: ``(structure, slice, row, column)``, or one channel of encoded values.
        schema: Names, codes and colours of the structures.
        source: The `Stack`, or the files of the source series in any order.
        algorithm_name: What drew them, e.g. the model's name.
        algorithm_version: Its version.
        series_description: Shown by viewers.
        manual: A person drew them, or they are known truth: no algorithm is named.

    Raises:
        GeometryError: The masks are not on the voxels of the source, or the source is not one volume.
        SeriesError: The source files are not one readable series.
        LabelError: Channels or values do not fit the schema.
        ConfigError: The place cannot be written to.

    Example:
        >>> import tempfile
        >>> from pydicom.data import get_testdata_file
        >>> from isocenter.io.dicom import find_series
        >>> from isocenter.io.dicom.rtstruct import read_rtstruct
        >>> from isocenter.records import LabelSchema
        >>> from isocenter.volume import Volume
        >>> (series,) = find_series(get_testdata_file("CT_small.dcm"))
        >>> ct = series.stack().volume()
        >>> bone = Volume(ct.array > 200, ct.grid, "label")
        >>> path = tempfile.mkdtemp() + "/bone.dcm"
        >>> schema = LabelSchema.of({"bone": 1})
        >>> write_rtstruct(path, bone, schema, series.files, algorithm_name="threshold", algorithm_version="1")
        >>> masks, schema, source = read_rtstruct(path, grid=ct.grid)
        >>> schema.names, source == series.uid, bool((masks.array == bone.array).all())
        (('bone',), True, True)
    """
    array, drawn_on = matched(masks, source_stacks(source))
    planes = MaskPlanes.of(array, schema, "binary")
    by = "" if manual else f"{algorithm_name} {algorithm_version}".strip()[:64]
    try:
        dataset = _head(drawn_on, series_description)
        dataset.ReferencedFrameOfReferenceSequence = [_references(drawn_on)]
        dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
        for k, structure in enumerate(schema.structures):
            dataset.StructureSetROISequence.append(_region(k + 1, structure, dataset.FrameOfReferenceUID, by, manual))
            dataset.ROIContourSequence.append(_contours(k + 1, structure, planes, drawn_on))
            dataset.RTROIObservationsSequence.append(_observation(k + 1, structure))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # only an AttributeError is sure to quote no value of the source
        why = str(error) if isinstance(error, AttributeError) else type(error).__name__
        raise SeriesError(
            f"series {drawn_on.stack.uid}: a structure set cannot refer to it ({why}); export it again"
        ) from error
    with atomic_path(path) as part:
        dataset.save_as(part, enforce_file_format=True)


def _head(source: Source, description: str) -> Dataset:
    """The object without its structures."""
    from pydicom import dcmread
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, generate_uid

    from isocenter import __version__

    image = dcmread(source.stack.headers[0].file, stop_before_pixels=True, force=True, specific_tags=[*_COPIED])
    head, now = Dataset(), datetime.now()
    for keyword in _COPIED:
        if keyword in image:
            head[keyword] = image[keyword]
        elif keyword not in _MAY_LACK:
            setattr(head, keyword, "")
    for keyword in ("StudyID", "AccessionNumber"):
        setattr(head, keyword, str(head.get(keyword) or "")[:16])  # a longer SH is not legal in ours
    head.SOPClassUID, head.SOPInstanceUID, head.InstanceNumber = _CLASS, generate_uid(prefix=None), 1
    head.Modality, head.SeriesInstanceUID, head.SeriesNumber = "RTSTRUCT", generate_uid(prefix=None), 301
    head.SeriesDescription, head.OperatorsName = description[:64], ""
    head.Manufacturer = head.ManufacturerModelName = _MANUFACTURER
    head.SoftwareVersions, head.DeviceSerialNumber = __version__, "0"
    head.StructureSetLabel, head.ApprovalStatus = description[:16], "UNAPPROVED"
    for kind in ("InstanceCreation", "Series", "StructureSet"):
        setattr(head, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(head, f"{kind}Time", now.strftime("%H%M%S"))
    head.file_meta = FileMetaDataset()
    # explicit lengths of DS have 16 bits, too few for the points of a long contour
    head.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return head


def _references(source: Source) -> Dataset:
    """Frame of reference, study, series and every image of the source."""
    from pydicom.dataset import Dataset

    first = source.stack.headers[0]
    frame, study, series = Dataset(), Dataset(), Dataset()
    each = {header.text("SOPInstanceUID"): header for header in source.stack.headers}
    series.SeriesInstanceUID = first.text("SeriesInstanceUID")
    series.ContourImageSequence = [reference(header) for header in each.values()]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, first.text("StudyInstanceUID")
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = first.text("FrameOfReferenceUID")
    frame.RTReferencedStudySequence = [study]
    return frame


def _region(number: int, structure: Structure, frame: str, by: str, manual: bool) -> Dataset:
    from pydicom.dataset import Dataset

    region = Dataset()
    region.ROINumber, region.ROIName = number, structure.name[:64]
    region.ReferencedFrameOfReferenceUID = frame
    region.ROIGenerationAlgorithm = "MANUAL" if manual else "AUTOMATIC"
    if by:
        region.ROIGenerationDescription = by
    return region


def _observation(number: int, structure: Structure) -> Dataset:
    from pydicom.dataset import Dataset

    seen = Dataset()
    seen.ObservationNumber = seen.ReferencedROINumber = number
    seen.RTROIInterpretedType = "ORGAN" if category_of(structure) == ANATOMICAL else ""
    seen.ROIInterpreter = ""
    if structure.code is not None:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = structure.code.value, structure.code.scheme
        code.CodeMeaning = structure.code.meaning[:64]
        seen.RTROIIdentificationCodeSequence = [code]
    return seen


def _contours(number: int, structure: Structure, masks: MaskPlanes, source: Source) -> Dataset:
    from pydicom.dataset import Dataset

    region, planes = Dataset(), source.planes
    region.ReferencedROINumber = number
    if structure.colour is not None:
        region.ROIDisplayColor = list(structure.colour)
    found: list[Dataset] = []
    for z in range(masks.count):
        image = source.headers[z]
        steps = np.stack([planes.down[z] * planes.spacing[z, 0], planes.across[z] * planes.spacing[z, 1]])
        for outline in outlines(masks.mask(number - 1, z)):
            item = _closed(len(found) + 1, planes.position[z] + outline @ steps)
            if image is not None:
                item.ContourImageSequence = [reference(image)]
                if image.frame is not None:
                    item.ContourImageSequence[0].ReferencedFrameNumber = image.frame + 1
            found.append(item)
    if found:
        region.ContourSequence = found
    return region


def _closed(number: int, points_mm: NDArray[np.float64]) -> Dataset:
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import Tag

    item = Dataset()
    item.ContourNumber, item.ContourGeometricType = number, "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points_mm)
    # as bytes at once: pydicom would make an object of every number, which takes seconds for a large structure
    data = "\\".join(f"{v:.10g}" for v in points_mm.ravel().tolist()).encode()
    data += b" " * (len(data) % 2)
    item[_CONTOUR_DATA] = RawDataElement(Tag(_CONTOUR_DATA), "DS", len(data), data, 0, True, True)
    return item
