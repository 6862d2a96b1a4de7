"""The head of one DICOM file as plain values: what sorting and geometry need, and nothing about the person."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from isocenter.errors import FileFormatError, SeriesError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom.dataset import Dataset

__all__ = ["Header", "NotDicomError", "read_header", "tag_name"]

# PatientID is read as the key of splits; no other element that identifies a person is looked at.
KEYWORDS = (
    "TransferSyntaxUID",
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PatientID", "Modality", "SeriesDescription", "SeriesNumber", "InstanceNumber", "ImageType"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("GantryDetectorTilt", "RescaleSlope", "RescaleIntercept", "RescaleType", "Units", "ModalityLUTSequence"),
    *("EchoTime", "EchoNumbers", "DiffusionBValue", "TemporalPositionIdentifier", "AcquisitionNumber"),
    *("Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "KVP", "MagneticFieldStrength"),
    *("BodyPartExamined", "ProtocolName", "SequenceName", "PatientPosition", "ContrastBolusAgent"),
)
_MAGIC = b"DICM"
_RAW_STARTS = (b"\x08\x00", b"\x02\x00")  # group 0008 or 0002, little endian, of a data set without preamble
_DICOMDIR = "1.2.840.10008.1.3.10"
# of files without file meta information: by implicit VR, little endian
_SYNTAX_OF: dict[tuple[bool | None, bool | None], str] = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}
_WRONG = object()


class NotDicomError(Exception):
    """The file is not DICOM at all; it is counted, not complained about."""


@dataclass(frozen=True)
class Header:
    """Chosen elements of one file by keyword, as plain numbers, strings and tuples.

    Attributes:
        file: Its path.
        size: Its length in bytes.
        tags: Values by DICOM keyword; an element that is absent or empty is not in it.
        pixels_at: Byte at which the pixel data element begins; the end of the file where it has none.
    """

    file: str
    size: int
    tags: Mapping[str, Any] = field(repr=False)
    pixels_at: int = 0

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.tags

    def text(self, keyword: str, default: str = "") -> str:
        """Value as a string; several are joined with a backslash."""
        value = self.tags.get(keyword, default)
        if value is _WRONG:
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
            shown = "unreadable" if value is _WRONG else self.text(keyword)
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
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def read_header(path: str | Path) -> Header:
    """Parse a file up to its pixels.

    Raises:
        NotDicomError: The file is something else.
        FileFormatError: It says that it is DICOM and cannot be parsed.
    """
    from pydicom import dcmread

    path = Path(path)
    try:
        with path.open("rb") as file:
            plain = _lacks_preamble(path, file)
            size = file.seek(0, 2)
            file.seek(0)
            dataset = dcmread(file, force=plain, stop_before_pixels=True, specific_tags=[*KEYWORDS])
            pixels_at = file.tell()
            tags = _plain_tags(dataset)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except NotDicomError:
        raise
    except Exception as error:  # what pydicom raises of damaged elements is of no one kind
        raise FileFormatError(f"{path}: damaged DICOM header ({type(error).__name__}); export it again") from error
    if tags.get("SOPClassUID") == _DICOMDIR or (plain and not {"Modality", "SOPInstanceUID"} <= tags.keys()):
        raise NotDicomError(str(path))
    if "Modality" not in tags or not tags.keys() & {"SeriesInstanceUID", "Rows"}:
        # pydicom takes a header that ends early for a short one
        raise FileFormatError(f"{path}: damaged DICOM header (Modality or SeriesInstanceUID is lost); export it again")
    return Header(str(path), size, tags, pixels_at)


def _lacks_preamble(path: Path, file: IO[bytes]) -> bool:
    start = file.read(132)
    if start[128:132] == _MAGIC:
        return False
    if start[:2] in _RAW_STARTS:
        return True
    raise NotDicomError(str(path))


def _plain_tags(dataset: Dataset) -> dict[str, Any]:
    tags: dict[str, Any] = {}
    for keyword in KEYWORDS:
        source = dataset.file_meta if keyword == "TransferSyntaxUID" else dataset
        if keyword not in source:
            continue
        try:
            value = _plain(source[keyword].value)
        except Exception:  # whatever it is, the element cannot be read; `Header.numbers` says so
            value = _WRONG
        if value is not None and value not in ("", ()):
            tags[keyword] = value
    if "TransferSyntaxUID" not in tags:
        tags["TransferSyntaxUID"] = _SYNTAX_OF.get(dataset.original_encoding, "")
    for keyword, meta in (("SOPClassUID", "MediaStorageSOPClassUID"), ("SOPInstanceUID", "MediaStorageSOPInstanceUID")):
        # blanked by careless anonymisers; the file meta information has them too
        if keyword not in tags and dataset.file_meta.get(meta):
            tags[keyword] = str(dataset.file_meta.get(meta))
    return tags


def _plain(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, (list, tuple)) or type(value).__name__ in ("MultiValue", "Sequence"):
        if type(value).__name__ == "Sequence":
            return len(value)
        return tuple(_plain(v) for v in value)
    return str(value).strip()
