"""Images of a series that are no slices of it: scout views, captures, copies."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isocenter.io.dicom.content import SINGLE_FRAME, is_radiograph
from isocenter.io.dicom.frames import FUNCTIONAL

if TYPE_CHECKING:
    from isocenter.io.dicom.header import Header

__all__ = ["Aside", "set_aside", "without_copies"]

_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_BLOCK = 1 << 20
_SAME = (
    *("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("RescaleSlope", "RescaleIntercept", "ImageType"),
)


@dataclass(frozen=True)
class Aside:
    """A file that belongs to no stack, and why.

    Attributes:
        file: Its path.
        reason: E.g. ``"a scout view"``, ``"an identical copy of ..."``.
    """

    file: str
    reason: str


def set_aside(headers: Sequence[Header]) -> tuple[list[Header], list[Aside]]:
    """Slices, and what lies between them that is none; nothing in either where no file is a slice."""
    slices = [h for h in headers if _reason(h) is None]
    if not slices:
        return [], []
    return slices, [Aside(h.file, reason) for h in headers if (reason := _reason(h)) is not None]


def _reason(header: Header) -> str | None:
    uid = header.text("SOPClassUID")
    if uid == _CAPTURE or uid.startswith(_CAPTURE + "."):
        return "a secondary capture"
    if "LOCALIZER" in header.image_type:
        return "a scout view (LOCALIZER in ImageType)"
    if uid and uid not in SINGLE_FRAME and uid not in FUNCTIONAL and not is_radiograph(header):
        return "no slice, by its SOPClassUID" if "Rows" in header else "no image"
    return None


def without_copies(headers: Iterable[Header], key: Callable[[Header], Hashable]) -> tuple[list[Header], list[Aside]]:
    """Images without those that repeat another one of the same ``key``, pixel for pixel.

    Two that share a key and differ both stay, for `Stack.problems` to refuse.
    """
    groups: dict[Hashable, list[Header]] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    kept, copies = [], []
    for value, members in groups.items():
        first, *others = members
        kept.append(first)
        if not others or not value:
            kept += others
            continue
        digest = _digest(first)
        for other in others:
            if _digest(other) == digest:
                copies.append(Aside(other.file, f"an identical copy of {first.file}"))
            else:
                kept.append(other)
    return kept, copies


def _digest(header: Header) -> tuple[Hashable, ...]:
    """What makes two images the same: everything from the pixel data on, and what gives it a place and a scale."""
    told = hashlib.sha256()
    with open(header.file, "rb") as file:
        file.seek(header.pixels_at)
        while block := file.read(_BLOCK):
            told.update(block)
    return (told.digest(), header.frame, header.tile, *(str(header.tags.get(k)) for k in _SAME))
