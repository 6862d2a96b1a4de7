"""The images in one file: a slice is one, a multi-frame file has one a frame, a Siemens mosaic one a tile.

Everything after this sees single images: a `Header` whose elements are those of the frame. Functional groups (PS3.3
C.7.6.16) are laid over the elements of the file, the shared ones first, under the names that single-frame images use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from isocenter.errors import SeriesError
from isocenter.io.dicom.header import tag_name
from isocenter.io.dicom.mosaic import is_mosaic, tiles_of

if TYPE_CHECKING:
    from isocenter.io.dicom.header import Header

__all__ = ["FUNCTIONAL", "frames_of"]

FUNCTIONAL = {
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",  # legacy converted
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "MR",  # legacy converted
    "1.2.840.10008.5.1.4.1.1.130": "PET",
    "1.2.840.10008.5.1.4.1.1.128.1": "PET",  # legacy converted
    "1.2.840.10008.5.1.4.1.1.30": "parametric map",
}
"""SOP classes whose frames state their own places, with what they are."""

_SHARED, _EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_SINGLE_NAMES = {
    "FrameType": "ImageType",
    "EffectiveEchoTime": "EchoTime",
    "NominalCardiacTriggerDelayTime": "TriggerTime",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "FrameAcquisitionDuration": "ActualFrameDuration",
}
_KEPT_WHOLE = {"RealWorldValueMappingSequence", "RadiopharmaceuticalInformationSequence", "ModalityLUTSequence"}
_REFERENCES = ("Referenced", "Source", "Derivation", "Purpose")  # to other images: nothing about this one


def frames_of(header: Header) -> tuple[Header, ...]:
    """Every single image in a file, in the order in which the file has them.

    A file of a class that has no functional groups comes back as it is; whether it can be used, `Stack.problems` says.

    Raises:
        SeriesError: Its frames or tiles are not described as their number asks for.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> from isocenter.io.dicom.header import read_header
        >>> header = read_header(get_testdata_file("CT_small.dcm"))
        >>> frames_of(header) == (header,)
        True
    """
    for keyword in ("Rows", "Columns"):
        if keyword not in header:
            raise SeriesError(f"{header.file}: {tag_name(keyword)} is absent, it has no image; remove the file")
    if header.text("SOPClassUID") in FUNCTIONAL:
        return _functional(header)
    if is_mosaic(header):
        return tiles_of(header)
    return (header,)


def _functional(header: Header) -> tuple[Header, ...]:
    each = _items(header, _EACH)
    count = header.integer("NumberOfFrames", 1)
    if len(each) != count:
        raise SeriesError(
            f"{header.file}: NumberOfFrames (0028,0008) is {count}, {_EACH} (5200,9230) describes {len(each)};"
            " export it again"
        )
    base = {k: v for k, v in header.tags.items() if k not in (_SHARED, _EACH)}
    for item in _items(header, _SHARED)[:1]:
        _lay_over(base, item)
    frames = []
    for index, item in enumerate(each):
        tags = dict(base)
        _lay_over(tags, item)
        frames.append(replace(header, tags=tags, frame=index))
    return tuple(frames)


def _items(header: Header, keyword: str) -> Sequence[Mapping[str, Any]]:
    value = header.tags.get(keyword, ())
    return value if _is_sequence(value) else ()


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, Mapping) for v in value)


def _lay_over(tags: dict[str, Any], group: Mapping[str, Any], depth: int = 0) -> None:
    """Elements of the groups, and of the first item of what they hold, under the names of single-frame images."""
    for keyword, value in group.items():
        if keyword.startswith(_REFERENCES):
            continue
        if not _is_sequence(value) or keyword in _KEPT_WHOLE:
            tags[_SINGLE_NAMES.get(keyword, keyword)] = value
        elif value and depth < 3:
            _lay_over(tags, value[0], depth + 1)
