"""A DICOM file up to its pixels, under limits (PS3.5, PS3.10).

Files come from anywhere: every length is compared with what is left of the file, sequences are entered to a bounded
depth, what is kept and what is inflated is bounded, and a file that asks for more is refused by name. This is ours and
not left to a library because the head of a slice has to be read in a fraction of a millisecond, and because nothing
that a file says may cost more memory than its own size explains.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from isocenter.errors import FileFormatError
from isocenter.io.dicom.parsing.cursor import Cursor, Encoding, encoding
from isocenter.io.dicom.parsing.elements import UNREADABLE
from isocenter.io.dicom.parsing.source import Limits, Source
from isocenter.io.dicom.parsing.walk import Pixels, Walk

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["LIMITS", "UNREADABLE", "DamagedHeadError", "Limits", "NotDicomError", "Parsed", "Pixels", "parse"]

LIMITS = Limits()
"""What the head of a file may ask for unless the caller says otherwise."""

_MAGIC = b"DICM"
_RAW_STARTS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")  # group 0008 or 0002 of a data set without preamble
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95")  # the second one for pixels that are elsewhere
_SYNTAX_OF = {  # of files without file meta information
    (True, False): "1.2.840.10008.1.2",
    (False, False): "1.2.840.10008.1.2.1",
    (False, True): _BIG_ENDIAN,
}
_PLAIN = encoding()
_DICOMDIR = "1.2.840.10008.1.3.10"
_META = {
    0x00100002: "TransferSyntaxUID",
    0x00020002: "SOPClassUID",
    0x00030002: "SOPInstanceUID",
}


class NotDicomError(Exception):
    """The file is not DICOM at all; it is counted, not complained about."""


class DamagedHeadError(FileFormatError):
    """The file says that it is DICOM and cannot be parsed.

    Attributes:
        series: Series Instance UID that was read before the damage; ``""`` where there was none. It may be damaged too.
    """

    def __init__(self, text: str, series: str = "") -> None:
        super().__init__(text)
        self.series = series


@dataclass(frozen=True)
class Parsed:
    """What the head of a file says.

    Attributes:
        file: Its path.
        size: Its length in bytes.
        tags: Values of the elements that are kept, by keyword.
        pixels: Where the pixels are; ``None`` where there are none.
    """

    file: str
    size: int
    tags: Mapping[str, Any] = field(repr=False)
    pixels: Pixels | None


def parse(path: str | Path, limits: Limits = LIMITS) -> Parsed:
    """Read a file up to its pixels.

    Raises:
        NotDicomError: The file is something else, or a directory of other files (DICOMDIR), which is not followed.
        DamagedHeadError: It says that it is DICOM and cannot be parsed, or asks for more than ``limits``.
        FileFormatError: It cannot be opened.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> parsed = parse(get_testdata_file("CT_small.dcm"))
        >>> parsed.tags["Modality"], parsed.tags["PixelSpacing"]
        ('CT', (0.661468, 0.661468))
        >>> parsed.pixels
        Pixels(at=6288, value_at=6300, element=16, length=32768, vr='OW')
    """
    name = str(path)
    try:
        with open(name, "rb", buffering=0) as file:
            return _parsed(Source(file, name, limits))
    except OSError as error:
        raise FileFormatError(f"{name}: cannot be read ({error.strerror}); check the file") from error


def _parsed(source: Source) -> Parsed:
    plain = source.data[128:132] != _MAGIC
    if plain and source.data[:2] not in _RAW_STARTS:
        raise NotDicomError(source.name)
    kept: dict[str, Any] = {}
    try:
        pixels = _walk(source, 0 if plain else 132, kept)
    except FileFormatError as error:
        if not plain or _looks_like_dicom(kept):
            raise DamagedHeadError(str(error), str(kept.get("SeriesInstanceUID", ""))) from error
    if plain and not _looks_like_dicom(kept):
        raise NotDicomError(source.name)
    return Parsed(source.name, source.file_size, kept, pixels)


def _looks_like_dicom(tags: Mapping[str, Any]) -> bool:
    """Of a file without preamble, whose first two bytes may stand in any other."""
    return {"Modality", "SOPInstanceUID"} <= tags.keys()


def _walk(source: Source, at: int, kept: dict[str, Any]) -> Pixels | None:
    """Place of the pixels; values go to ``kept``, also those before an error."""
    meta, at = _meta(source, at)
    if meta.get("SOPClassUID") == _DICOMDIR:
        raise NotDicomError(source.name)
    if meta.get("TransferSyntaxUID") in _DEFLATED:
        source.inflate(at)
    written = _encoding(source, at, meta.get("TransferSyntaxUID"))
    # identifiers that were blanked by careless anonymisers are in the file meta information too
    kept |= {"TransferSyntaxUID": _SYNTAX_OF.get((written.implicit, written.big), ""), **meta}
    walk = Walk(source, at, written)
    try:
        walk.run()
    finally:
        kept |= walk.tags
    return walk.pixels


def _meta(source: Source, at: int) -> tuple[dict[str, str], int]:
    """File meta information, group 0002, and where it ends; its stated length is often wrong and not looked at."""
    cursor = Cursor(source, at)
    found: dict[str, str] = {}
    while source.value(cursor.at, 2) == b"\2\0":
        tag, _, length = cursor.head(_PLAIN, source.size)
        if tag in _META and length <= 128:
            value = _PLAIN.decoders[b"UI"](cursor.value(tag, length, source.size))
            if isinstance(value, str):
                found[_META[tag]] = value
        else:
            cursor.at = cursor.check(tag, length, source.size)
    return found, cursor.at


def _encoding(source: Source, at: int, syntax: str | None) -> Encoding:
    """As the first element shows, since a file may be written other than its meta information says."""
    start = source.value(at, 6)
    implicit = not (start[4:6].isalpha() and start[4:6].isupper())
    # groups 0004 to 00FF read in the wrong order
    looks_big = not implicit and int.from_bytes(start[:2], "little") >= 1024
    return encoding(implicit=implicit, big=looks_big if syntax is None else syntax == _BIG_ENDIAN)
