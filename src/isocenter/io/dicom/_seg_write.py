"""Masks to a binary DICOM Segmentation on their source series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import ConfigError, GeometryError, LabelError, SeriesError
from isocenter.io.dicom.codes import category_of, type_of
from isocenter.io.dicom.header import NotDicomError, read_header
from isocenter.io.dicom.stack import Stack
from isocenter.io.files import atomic_path
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from isocenter.records import LabelSchema, Structure

__all__ = ["reindexed", "write_seg"]

_MANUFACTURER = "Isocenter"
# elements of type 2 that sources lack at times, though the standard asks for them
_ALWAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def write_seg(
    path: str | Path,
    masks: Volume,
    schema: LabelSchema,
    source_files: Sequence[str | Path],
    *,
    algorithm_name: str,
    algorithm_version: str,
    series_description: str = "Segmentation",
    manual: bool = False,
) -> None:
    """Write masks as a binary DICOM Segmentation that refers to the series they were drawn on.

    A structure without voxels stays in the object as a segment without frames, so that "looked for and not found"
    can be told from "not looked for". Patient, study and frame of reference are those of the source.

    Args:
        path: The ``.dcm`` file; appears whole or not at all.
        masks: ``(structure, slice, row, column)`` bool or 0/1 in the order of ``schema``, or one channel of encoded
            values (0 background, ``k`` the k-th structure) for an exclusive schema, as `LabelSchema.encode` gives;
            255 (not annotated) is left out. On the voxels of the source, its axes in any order and direction.
        schema: Names, codes and colours of the structures.
        source_files: The files of the source series, in any order.
        algorithm_name: What drew them, e.g. the model's name.
        algorithm_version: Its version.
        series_description: Shown by viewers.
        manual: A person drew them, or they are known truth: no algorithm is named.

    Raises:
        GeometryError: The masks are not on the voxels of the source, or the source is not one regular volume.
        SeriesError: The source files are not one readable series.
        LabelError: Channels or values do not fit the schema.
        ConfigError: The place cannot be written to.

    Example:
        >>> import tempfile
        >>> from pydicom.data import get_testdata_file
        >>> from isocenter.io.dicom import find_series, read_seg
        >>> from isocenter.records import LabelSchema
        >>> (series,) = find_series(get_testdata_file("CT_small.dcm"))
        >>> ct = series.stack().volume()
        >>> bone = Volume(ct.array > 200, ct.grid, "label")
        >>> path = tempfile.mkdtemp() + "/bone.dcm"
        >>> schema = LabelSchema.of({"bone": 1})
        >>> write_seg(path, bone, schema, series.files, algorithm_name="threshold", algorithm_version="1")
        >>> masks, schema, source = read_seg(path, grid=ct.grid)
        >>> schema.names, source == series.uid, bool((masks.array == bone.array).all())
        (('bone',), True, True)
    """
    stack = _source_stack(source_files)
    grid = stack.grid()
    pixels = _pixels(reindexed(masks, grid), schema)
    algorithm = None if manual else (algorithm_name, algorithm_version)
    try:
        segmentation = _segmentation(_datasets(stack), pixels, schema, algorithm, series_description)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # only an AttributeError is sure to quote no value of the source
        why = str(error) if isinstance(error, AttributeError) else type(error).__name__
        raise SeriesError(f"series {stack.uid}: a segmentation cannot refer to it ({why}); export it again") from error
    with atomic_path(path) as part:
        segmentation.save_as(part)


def _source_stack(files: Sequence[str | Path]) -> Stack:
    if not files:
        raise ConfigError("a segmentation needs the files of its source series; none are given")
    try:
        headers = tuple(read_header(file) for file in files)
    except NotDicomError as error:
        raise SeriesError(f"{error}: not a DICOM file; give the files of the source series") from None
    uids = sorted({h.text("SeriesInstanceUID") for h in headers})
    if len(uids) > 1:
        raise SeriesError(f"source files are of {len(uids)} series ({uids[0]}, {uids[1]} ...); give those of one")
    if not uids[0]:
        raise SeriesError(f"{files[0]}: SeriesInstanceUID (0020,000E) is absent, so nothing can refer to it")
    return Stack.of(uids[0], headers)


def _datasets(stack: Stack) -> list[Dataset]:
    from pydicom import dcmread

    sources: list[Dataset] = [dcmread(h.file, stop_before_pixels=True, force=True) for h in stack.headers]
    for source in sources:
        for keyword in _ALWAYS:
            if keyword not in source:
                setattr(source, keyword, "")
        for keyword in ("StudyID", "AccessionNumber"):
            setattr(source, keyword, str(source.get(keyword) or "")[:16])  # a longer SH is not legal in ours
    return sources


def reindexed(volume: Volume, grid: Grid) -> Volume:
    """``volume`` with its axes ordered and directed as those of ``grid``, on exactly the same voxels.

    Raises:
        GeometryError: The voxels are not the same.
    """
    matrix = volume.grid.index_map_to(grid)[:3, :3]
    turn = np.rint(matrix)
    if (np.abs(turn).sum(axis=0) == 1).all() and (np.abs(turn).sum(axis=1) == 1).all():
        order = [int(np.abs(turn[axis]).argmax()) for axis in range(3)]
        flips = [axis for axis in range(3) if turn[axis].sum() < 0]
        volume = volume.permute(order).flip(flips)
    difference = volume.grid.difference(grid)
    if difference:
        raise GeometryError(f"masks are not on the voxels of the source series ({difference}); resample them first")
    return volume


def _pixels(masks: Volume, schema: LabelSchema) -> NDArray[np.uint8]:
    """As highdicom takes them: a label map for exclusive schemas, else structures along the last axis."""
    array = masks.array
    count = len(schema)
    if array.dtype.kind not in "bui":
        raise LabelError(f"masks are {array.dtype}, boolean or whole numbers are needed; threshold them first")
    encoded = len(array) == 1 and (count > 1 or schema.exclusive)
    if not encoded and len(array) != count:
        raise LabelError(f"masks have {len(array)} channels, the schema has {count} structures; give one a structure")
    if encoded and not schema.exclusive:
        raise LabelError(f"one channel is given for {count} structures that may overlap; give one channel a structure")
    top = int(array.max(initial=0, where=array != 255))
    allowed = count if encoded else 1
    if top > allowed or int(array.min()) < 0:
        raise LabelError(f"masks hold the value {top}, at most {allowed} is expected; encode them with the schema")
    clean: NDArray[np.uint8] = np.where(array == 255, 0, array).astype(np.uint8)
    return clean[0] if encoded else np.moveaxis(clean, 0, -1)


def _segmentation(
    sources: list[Dataset],
    pixels: NDArray[np.uint8],
    schema: LabelSchema,
    algorithm: tuple[str, str] | None,
    description: str,
) -> Any:
    import highdicom as hd

    from isocenter import __version__

    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(k, s, algorithm) for k, s in enumerate(schema.structures, start=1)],
        series_instance_uid=hd.UID(),
        series_number=300,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name=_MANUFACTURER,
        software_versions=__version__,
        device_serial_number="0",
        series_description=description[:64],
        content_label="SEGMENTATION",
    )


def _segment(number: int, structure: Structure, algorithm: tuple[str, str] | None) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    identification = None
    if algorithm:
        name, version = algorithm
        identification = hd.AlgorithmIdentificationSequence(
            name=name[:64], version=version[:64], family=codes.DCM.ArtificialIntelligence
        )
    colour = structure.colour
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=structure.name[:64],
        segmented_property_category=_coded(category_of(structure)),
        segmented_property_type=_coded(type_of(structure)),
        algorithm_type="AUTOMATIC" if algorithm else "MANUAL",
        algorithm_identification=identification,
        tracking_uid=hd.UID(),
        tracking_id=structure.name[:64],
        display_color=None if colour is None else hd.color.CIELabColor.from_rgb(*colour),
    )


def _coded(code: Any) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)
