"""The head of one DICOM file as plain values: what sorting and geometry need, and nothing about the person."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from isocenter.errors import SeriesError
from isocenter.io.dicom.parsing import UNREADABLE, DamagedHeadError, NotDicomError, parse
from isocenter.io.dicom.parsing.wanted import TAGS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Header", "NotDicomError", "read_header", "tag_name"]

# captures and palettes, which at times state neither modality nor series and are sound
_NO_SERIES = ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.39.")


@dataclass(frozen=True)
class Header:
    """Chosen elements of one file, or of one image in it, by keyword, as plain numbers, strings and tuples.

    Attributes:
        file: Its path.
        size: Its length in bytes.
        tags: Values by DICOM keyword; an element that is absent or empty is not in it. Several values are a tuple, a
            sequence is a tuple of mappings of the same kind. Private elements stand under group, low byte and creator,
            such as ``"0029,10:SIEMENS CSA HEADER"``. A value that is there and makes no sense is
            `isocenter.io.dicom.parsing.UNREADABLE`.
        pixels_at: Byte at which the pixel data element begins, of a deflated file counted as if it were not deflated;
            the size of the file where it has none.
        frame: Index of the frame in a multi-frame file that this is about.
        tile: First row, last row + 1, first column, last column + 1: the part of a mosaic that this is about.
    """

    file: str
    size: int
    tags: Mapping[str, Any] = field(repr=False)
    pixels_at: int = 0
    frame: int | None = None
    tile: tuple[int, int, int, int] | None = None

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.tags

    def text(self, keyword: str, default: str = "") -> str:
        """Value as a string; several are joined with a backslash."""
        value = self.tags.get(keyword, default)
        if value is UNREADABLE:
            return default
        return "\\".join(str(v) for v in value) if isinstance(value, tuple) else str(value)

    def numbers(self, keyword: str, count: int) -> tuple[float, ...]:
        """Exactly ``count`` finite numbers.

        Raises:
            SeriesError: The element is absent, or is something else.
        """
        value = self.tags.get(keyword)
        if value is None:
            raise SeriesError(f"{self.file}: {tag_name(keyword)} is absent")
        values = value if isinstance(value, tuple) else (value,)
        try:
            found = tuple(float(v) for v in values)
        except (TypeError, ValueError):
            found = ()
        if len(found) != count or not all(math.isfinite(v) for v in found):
            shown = "unreadable" if value is UNREADABLE else self.text(keyword)
            raise SeriesError(f"{self.file}: {tag_name(keyword)} is {shown}, not {count} finite number(s)")
        return found

    def number(self, keyword: str, default: float | None = None) -> float:
        """One finite number; ``default`` where the element is absent."""
        if default is not None and keyword not in self.tags:
            return default
        return self.numbers(keyword, 1)[0]

    def integer(self, keyword: str, default: int | None = None) -> int:
        """One whole number; ``default`` where the element is absent."""
        return int(self.number(keyword, default))

    @property
    def image_type(self) -> tuple[str, ...]:
        """Image Type (0008,0008), upper case."""
        return tuple(part.strip().upper() for part in self.text("ImageType").split("\\"))


def tag_name(keyword: str) -> str:
    """Keyword with its number, e.g. ``"PixelSpacing (0028,0030)"``."""
    if keyword in TAGS:
        group, element = TAGS[keyword]
        return f"{keyword} ({group:04X},{element:04X})"
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def read_header(path: str | Path) -> Header:
    """Parse a file up to its pixels, under the limits of `isocenter.io.dicom.parsing`.

    Raises:
        NotDicomError: The file is something else.
        FileFormatError: It says that it is DICOM and cannot be parsed.
    """
    parsed = parse(path)
    tags = parsed.tags
    lost = tags.get("Modality", UNREADABLE) is UNREADABLE or not tags.keys() & {"SeriesInstanceUID", "Rows"}
    if lost and not str(tags.get("SOPClassUID", "")).startswith(_NO_SERIES):
        # what is missing was cut off, or was never an image; neither is passed over in silence
        text = f"{path}: damaged DICOM header (Modality or SeriesInstanceUID is lost); export it again"
        raise DamagedHeadError(text, str(tags.get("SeriesInstanceUID", "")))
    return Header(parsed.file, parsed.size, tags, parsed.pixels.at if parsed.pixels else parsed.size)
