"""Functional groups of a segmentation (PS3.3 C.7.6.16): where each frame lies, and what it was drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import SeriesError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

    from isocenter.io.dicom.header import Header
    from isocenter.io.dicom.seg.source import Source

__all__ = ["frame_groups", "reference", "set_references", "shared_groups", "stub_of"]

# elements of type 2 that sources lack at times, though the standard asks for them
_ALWAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_REGULAR_MM = 0.01


def stub_of(source: Source) -> tuple[Dataset, dict[str, Any]]:
    """One image of the source without pixels, and place, orientation and spacing of the first plane, for highdicom."""
    from highdicom import PlanePositionSequence
    from pydicom import dcmread
    from pydicom.dataset import Dataset

    image = dcmread(source.stack.headers[0].file, stop_before_pixels=True, force=True)
    for keyword in _ALWAYS:
        if keyword not in image:
            setattr(image, keyword, "")
    if not (image.get("DeidentificationMethod") or image.get("DeidentificationMethodCodeSequence")):
        # one of them has to say how identity was removed, if it was, and neither may be there and empty
        for keyword in ("DeidentificationMethod", "DeidentificationMethodCodeSequence"):
            if keyword in image:
                delattr(image, keyword)
        if image.get("PatientIdentityRemoved") == "YES":
            image.DeidentificationMethod = "Not stated by the source"
    for keyword in ("StudyID", "AccessionNumber"):
        setattr(image, keyword, str(image.get(keyword) or "")[:16])  # a longer SH is not legal in ours
    groups = shared_groups(source)
    position = PlanePositionSequence("PATIENT", source.planes.position[0].tolist())
    if "SharedFunctionalGroupsSequence" in image:
        # highdicom wants one orientation and spacing for all frames, which multi-frame images need not have
        item = Dataset()
        item.PlanePositionSequence = position
        image.SharedFunctionalGroupsSequence = [groups]
        image.PerFrameFunctionalGroupsSequence = [item]
        image.NumberOfFrames = 1
    else:
        image.ImageOrientationPatient = groups.PlaneOrientationSequence[0].ImageOrientationPatient
        image.ImagePositionPatient = position[0].ImagePositionPatient
        image.PixelSpacing = groups.PixelMeasuresSequence[0].PixelSpacing
        image.SliceThickness = groups.PixelMeasuresSequence[0].SliceThickness
    return image, {
        "plane_positions": [position],
        "plane_orientation": groups.PlaneOrientationSequence,
        "pixel_measures": groups.PixelMeasuresSequence,
    }


def shared_groups(source: Source) -> Dataset:
    """What all frames share: orientation and spacing."""
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence
    from pydicom.dataset import Dataset

    planes, header = source.planes, source.stack.headers[0]
    gaps = np.diff(planes.depth)
    regular = len(gaps) > 0 and np.ptp(gaps) <= _REGULAR_MM
    step = float(gaps.mean()) if len(gaps) else 0.0
    thickness = header.number("SliceThickness", 0.0) if source.headers[0] is not None else 0.0
    shared = Dataset()
    shared.PlaneOrientationSequence = PlaneOrientationSequence("PATIENT", [*planes.across[0], *planes.down[0]])
    shared.PixelMeasuresSequence = PixelMeasuresSequence(
        pixel_spacing=planes.spacing[0].tolist(),
        slice_thickness=thickness or step or 1.0,
        spacing_between_slices=step if regular else None,
    )
    return shared


def frame_groups(source: Source, frames: Sequence[tuple[int, int]]) -> list[Dataset]:
    """What each frame states: its place, its segment (0: a label map, which has none), the image it was drawn on."""
    from highdicom import PlanePositionSequence
    from pydicom.dataset import Dataset

    places = [PlanePositionSequence("PATIENT", position.tolist()) for position in source.planes.position]
    derivations = [_derivation(header) for header in source.headers]
    groups = []
    for number, plane in frames:
        content, item = Dataset(), Dataset()
        content.DimensionIndexValues = [number, plane + 1] if number else plane + 1
        item.FrameContentSequence = [content]
        item.PlanePositionSequence = places[plane]
        item.DerivationImageSequence = derivations[plane]
        if number:
            segment = Dataset()
            segment.ReferencedSegmentNumber = number
            item.SegmentIdentificationSequence = [segment]
        groups.append(item)
    return groups


def _derivation(header: Header | None) -> list[Dataset]:
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset

    if header is None:
        return []
    source, item = reference(header), Dataset()
    if header.frame is not None:
        source.ReferencedFrameNumber = header.frame + 1
    source.SpatialLocationsPreserved = "YES" if header.tile is None else "NO"
    source.PurposeOfReferenceCodeSequence = [
        CodedConcept("121322", "DCM", "Source image for image processing operation")
    ]
    item.SourceImageSequence = [source]
    item.DerivationCodeSequence = [CodedConcept("113076", "DCM", "Segmentation")]
    return [item]


def reference(header: Header) -> Dataset:
    """Class and instance of an image.

    Raises:
        SeriesError: It does not state them.
    """
    from pydicom.dataset import Dataset

    if not header.text("SOPClassUID"):
        raise SeriesError(f"{header.file}: SOPClassUID (0008,0016) is absent, so nothing can refer to it")
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.text("SOPClassUID")
    reference.ReferencedSOPInstanceUID = header.text("SOPInstanceUID")
    return reference


def set_references(segmentation: Dataset, source: Source) -> None:
    """Refer to every image of the source."""
    from pydicom.dataset import Dataset

    each = {header.text("SOPInstanceUID"): header for header in source.stack.headers}
    series = Dataset()
    series.ReferencedInstanceSequence = [reference(header) for header in each.values()]
    series.SeriesInstanceUID = source.stack.headers[0].text("SeriesInstanceUID")
    segmentation.ReferencedSeriesSequence = [series]
    segmentation.SourceImageSequence = [reference(header) for header in each.values()]
