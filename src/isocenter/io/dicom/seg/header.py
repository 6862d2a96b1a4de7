"""What a segmentation says without its pixels: kind, source, segments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from isocenter.errors import FileFormatError, IsocenterError, LabelError, SeriesError
from isocenter.io.dicom.header import NotDicomError, read_header
from isocenter.io.dicom.seg.frames import items
from isocenter.records import Code, LabelSchema, Structure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from isocenter.io.dicom.header import Header

__all__ = ["SegHeader", "opened", "seg_header", "typed"]

_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
_BACKGROUND = ("125040", "DCM")


@dataclass(frozen=True)
class SegHeader:
    """What a segmentation says without its pixels.

    Attributes:
        file: Its path.
        kind: ``"BINARY"``, ``"LABELMAP"`` or ``"FRACTIONAL"``.
        series: Series Instance UID of the images it was drawn on; ``""`` where it names none.
        instances: SOP Instance UIDs of those images that it names.
        schema: Its segments, value = segment number. Exclusive where it says that segments do not overlap.
        fractional: What a fraction means: ``"PROBABILITY"``, or ``"OCCUPANCY"`` (which part of the voxel is in the
            segment); ``""`` for other kinds, and where it is not said.
    """

    file: str
    kind: str
    series: str
    instances: tuple[str, ...]
    schema: LabelSchema
    fractional: str = ""


def seg_header(path: str | Path) -> SegHeader:
    """Segments and source of a segmentation, without its pixels.

    Raises:
        FileFormatError: The file is missing or damaged.
        SeriesError: It is not a segmentation.
    """
    with typed(path):
        return opened(path)[0]


@contextmanager
def typed(path: str | Path, kind: str = "segmentation") -> Iterator[None]:
    """What elements of a damaged file do to the code that uses them is of no one kind."""
    try:
        yield
    except IsocenterError:
        raise
    except Exception as error:
        raise FileFormatError(f"{path}: damaged {kind} ({type(error).__name__}); export it again") from error


def opened(path: str | Path) -> tuple[SegHeader, Header]:
    """What a segmentation says, and all elements of its file.

    Raises:
        FileFormatError: The file is missing or damaged.
        SeriesError: It is not a segmentation.
        LabelError: Its segments contradict each other.
    """
    try:
        header = read_header(path)
    except NotDicomError:
        raise FileFormatError(f"{path}: not a DICOM file; give a DICOM segmentation") from None
    if header.text("SOPClassUID") not in _CLASSES:
        shown = header.text("Modality", "unknown")
        raise SeriesError(f"{path}: Modality (0008,0060) is {shown}, not a segmentation; choose another file")
    kind = header.text("SegmentationType")
    if kind not in _KINDS:
        raise SeriesError(
            f"{path}: SegmentationType (0062,0001) is {kind or 'absent'}; {', '.join(_KINDS)} are read: export it again"
        )
    series = items(header.tags, "ReferencedSeriesSequence")
    instances = [i.get("ReferencedSOPInstanceUID", "") for s in series for i in items(s, "ReferencedInstanceSequence")]
    referenced = str(series[0].get("SeriesInstanceUID", "")) if series else ""
    try:
        schema = _schema(header, exclusive=kind == "LABELMAP" or header.text("SegmentsOverlap") == "NO")
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from None
    fractional = header.text("SegmentationFractionalType") if kind == "FRACTIONAL" else ""
    return SegHeader(str(path), kind, referenced, tuple(instances), schema, fractional), header


def _schema(header: Header, *, exclusive: bool) -> LabelSchema:
    found: dict[str, Structure] = {}
    numbers: set[int] = set()
    for item in items(header.tags, "SegmentSequence"):
        number, code = int(item["SegmentNumber"]), _code(item)
        if code is not None and (code.value, code.scheme) == _BACKGROUND:
            continue  # a label map may describe its background
        label = re.sub(r"[^\w-]+", "_", str(item.get("SegmentLabel", ""))).strip("_") or f"segment_{number}"
        if number == 0 and label.lower() == "background":
            continue
        if number < 1 or number in numbers:
            said = "twice" if number in numbers else "though 0 is the background"
            raise LabelError(f"SegmentNumber (0062,0004) {number} is described {said}; export it again")
        numbers.add(number)
        name = label if label not in found else f"{label}_{number}"
        found[name] = Structure(name, (number,), code=code, colour=_colour(item))
    # finds mirror partners, and leaves out a segment called background
    plain = LabelSchema.of({name: s.values for name, s in found.items()}, exclusive=exclusive)
    coded = tuple(replace(s, code=found[s.name].code, colour=found[s.name].colour) for s in plain.structures)
    return replace(plain, structures=coded)


def _code(item: Mapping[str, Any]) -> Code | None:
    types = items(item, "SegmentedPropertyTypeCodeSequence")
    if not types:
        return None
    value = types[0].get("CodeValue") or types[0].get("LongCodeValue") or ""
    return Code(str(value), str(types[0].get("CodingSchemeDesignator", "")), str(types[0].get("CodeMeaning", "")))


def _colour(item: Mapping[str, Any]) -> tuple[int, int, int] | None:
    from highdicom.color import CIELabColor

    stored = item.get("RecommendedDisplayCIELabValue")
    if not isinstance(stored, tuple) or len(stored) != 3:
        return None
    red, green, blue = CIELabColor.from_dicom_value(tuple(int(v) for v in stored)).to_rgb()
    return int(red), int(green), int(blue)
