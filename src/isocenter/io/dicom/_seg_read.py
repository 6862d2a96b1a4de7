"""DICOM Segmentations to masks: binary and label map, bit by bit, on the source's grid."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import FileFormatError, IsocenterError, LabelError, SeriesError
from isocenter.io.dicom._seg_frames import Frames
from isocenter.records import Code, LabelSchema, Structure
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom.dataset import Dataset

__all__ = ["SegHeader", "read_seg", "read_seg_labels", "seg_header"]

_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


@dataclass(frozen=True)
class SegHeader:
    """What a segmentation says without its pixels.

    Attributes:
        file: Its path.
        kind: ``"BINARY"``, ``"LABELMAP"`` or ``"FRACTIONAL"``.
        series: Series Instance UID of the images it was drawn on; ``""`` where it names none.
        instances: SOP Instance UIDs of those images that it names.
        schema: Its segments, value = segment number. Exclusive where it says that segments do not overlap.
    """

    file: str
    kind: str
    series: str
    instances: tuple[str, ...]
    schema: LabelSchema


def seg_header(path: str | Path) -> SegHeader:
    """Segments and source of a segmentation, without its pixels.

    Raises:
        FileFormatError: The file is missing or damaged.
        SeriesError: It is not a segmentation.
    """
    with _typed(path):
        return _header(path, _parse(path, pixels=False))


def read_seg(path: str | Path, *, grid: Grid | None = None) -> tuple[Volume, LabelSchema, str]:
    """Masks of a binary or label-map segmentation.

    Args:
        path: The file.
        grid: Voxels of the source images: masks are placed on them. A segmentation may leave out slices without
            foreground and does not say where they were, so without ``grid`` the masks cover only the slices from the
            first to the last frame.

    Returns:
        Masks, uint8 0 or 1, ``(structure, slice, row, column)``; their schema, value = segment number; and the
        Series Instance UID of the source (``""`` where it names none).

    Raises:
        FileFormatError: The file is missing or damaged.
        SeriesError: It is not a segmentation, or fractional, or has no places in space.
        GeometryError: Its frames do not lie on the voxels of ``grid``, or on no regular grid.
    """
    with _typed(path):
        header, frames, target = _opened(path, grid)
        rows = {structure.values[0]: i for i, structure in enumerate(header.schema.structures)}
        out = np.zeros((len(rows), *target.shape), np.uint8)
        for number, mask, place in frames.placed(target):
            if number not in rows:
                continue  # the background
            view = place.view(out[rows[number]])
            view |= mask.astype(np.uint8)
    return Volume(out, target, "label"), header.schema, header.series


def read_seg_labels(path: str | Path, *, grid: Grid | None = None) -> tuple[Volume, LabelSchema, str]:
    """Like `read_seg`, as one label map of segment numbers: far less memory where there are many structures.

    Raises:
        LabelError: Segments overlap; use `read_seg`.
        FileFormatError: See `read_seg`.
        SeriesError: See `read_seg`.
        GeometryError: See `read_seg`.
    """
    with _typed(path):
        header, frames, target = _opened(path, grid)
        highest = max(header.schema.values, default=0)
        out = np.zeros(target.shape, np.uint8 if highest < 256 else np.uint16)
        for number, mask, place in frames.placed(target):
            if number not in header.schema.values:
                continue  # the background
            view = place.view(out)
            if view[mask].any():
                raise LabelError(f"{path}: segment {number} overlaps another; read it as masks")
            view[mask] = number
    return Volume(out, target, "label"), header.schema, header.series


def _parse(path: str | Path, *, pixels: bool) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        dataset = dcmread(path, stop_before_pixels=not pixels)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except InvalidDicomError as error:
        raise FileFormatError(f"{path}: not a DICOM file; give a DICOM segmentation") from error
    except Exception as error:  # a damaged file may fail anywhere in the parser
        raise FileFormatError(f"{path}: damaged DICOM file ({type(error).__name__}); export it again") from error
    if str(dataset.get("SOPClassUID", "")) not in _CLASSES:
        shown = dataset.get("Modality", "unknown")
        raise SeriesError(f"{path}: Modality (0008,0060) is {shown}, not a segmentation; choose another file")
    return dataset


@contextmanager
def _typed(path: str | Path) -> Iterator[None]:
    """Elements are converted when they are first looked at, so damage may show anywhere."""
    try:
        yield
    except IsocenterError:
        raise
    except Exception as error:  # what pydicom raises of damaged elements is of no one kind
        raise FileFormatError(f"{path}: damaged segmentation ({type(error).__name__}); export it again") from error


def _opened(path: str | Path, grid: Grid | None) -> tuple[SegHeader, Frames, Grid]:
    dataset = _parse(path, pixels=True)
    header = _header(path, dataset)
    if header.kind not in ("BINARY", "LABELMAP"):
        raise SeriesError(
            f"{header.file}: SegmentationType (0062,0001) is {header.kind}, which is not read yet; export it as BINARY"
        )
    frames = Frames(header.file, dataset)
    return header, frames, grid or frames.own_grid()


def _header(path: str | Path, dataset: Dataset) -> SegHeader:
    series = dataset.get("ReferencedSeriesSequence") or []
    instances = [str(i.ReferencedSOPInstanceUID) for s in series for i in s.get("ReferencedInstanceSequence") or []]
    kind = str(dataset.get("SegmentationType", "BINARY"))
    referenced = str(series[0].SeriesInstanceUID) if series else ""
    try:
        schema = _schema(dataset, exclusive=kind == "LABELMAP" or str(dataset.get("SegmentsOverlap", "")) == "NO")
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from None
    return SegHeader(str(path), kind, referenced, tuple(instances), schema)


def _schema(dataset: Dataset, *, exclusive: bool) -> LabelSchema:
    found: dict[str, Structure] = {}
    for item in dataset.SegmentSequence:
        number = int(item.SegmentNumber)
        if number == 0:
            continue  # a label map may describe its background
        label = re.sub(r"[^\w-]+", "_", str(item.get("SegmentLabel", ""))).strip("_") or f"segment_{number}"
        name = label if label not in found else f"{label}_{number}"
        found[name] = Structure(name, (number,), code=_code(item), colour=_colour(item))
    # finds mirror partners, and leaves out a segment called background
    plain = LabelSchema.of({name: s.values for name, s in found.items()}, exclusive=exclusive)
    coded = tuple(replace(s, code=found[s.name].code, colour=found[s.name].colour) for s in plain.structures)
    return replace(plain, structures=coded)


def _code(item: Dataset) -> Code | None:
    types = item.get("SegmentedPropertyTypeCodeSequence")
    if not types:
        return None
    value = types[0].get("CodeValue") or types[0].get("LongCodeValue") or ""
    return Code(str(value), str(types[0].get("CodingSchemeDesignator", "")), str(types[0].get("CodeMeaning", "")))


def _colour(item: Dataset) -> tuple[int, int, int] | None:
    from highdicom.color import CIELabColor

    stored = item.get("RecommendedDisplayCIELabValue")
    if not stored or len(stored) != 3:
        return None
    red, green, blue = CIELabColor.from_dicom_value(tuple(int(v) for v in stored)).to_rgb()
    return int(red), int(green), int(blue)
