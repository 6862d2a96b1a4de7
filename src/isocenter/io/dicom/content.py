"""Whether the files of a series are slices of one kind that can stand in one volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isocenter.io.dicom.frames import FUNCTIONAL
from isocenter.io.dicom.header import tag_name
from isocenter.io.dicom.planes import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isocenter.io.dicom.header import Header

__all__ = ["SINGLE_FRAME", "is_radiograph", "kind_problems", "mixture_problems"]

SINGLE_FRAME = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
}
_UNIFORM = (
    ("RescaleType", "several value scales"),
    ("Units", "several units"),
    ("PatientID", "several patients"),
)
_RADIOGRAPHS = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2")
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_HIDDEN = {"PatientID"}  # identifies a person: never shown
_MAX_PIXELS = 1 << 26  # 8192 x 8192; a slice is never larger
_MAX_RATIO = 2000  # of compressed slices; more than this is a bomb, not an image


def kind_problems(headers: Sequence[Header]) -> list[Problem]:
    """The first file that is no slice that can be read; texts lack the name of the series."""
    for header in headers:
        problem = _kind(header) or _pixels(header) or _size(header)
        if problem:
            return [problem]
    return []


def _kind(header: Header) -> Problem | None:
    name = header.file
    if header.frame is not None or header.tile is not None:
        return None  # of a class that describes its frames
    frames = header.integer("NumberOfFrames", 1)
    sop_class = header.text("SOPClassUID")
    if sop_class in FUNCTIONAL or (frames > 1 and sop_class in SINGLE_FRAME):
        return Problem(
            "multi-frame",
            f"{name}: NumberOfFrames (0028,0008) is {frames} ({_class_name(sop_class)}), and where the frames lie is"
            " not described; export it as single-frame images",
        )
    if sop_class not in SINGLE_FRAME and not is_radiograph(header):
        return Problem(
            "not-a-slice",
            f"{name}: SOPClassUID (0008,0016) is {_class_name(sop_class)}, not an image that is read as a volume;"
            " choose another series",
        )
    if {"MOSAIC", "VFRAME"} & set(header.image_type):
        return Problem(
            "mosaic",
            f"{name}: ImageType (0008,0008) is {header.text('ImageType')}: slices tiled into one image whose number"
            " and distance are not stated; export it as single slices",
        )
    if header.text("Modality") == "CT" and "LOCALIZER" in header.image_type:
        return Problem(
            "localizer",
            f"{name}: ImageType (0008,0008) is {header.text('ImageType')}: a scout view, not a slice;"
            " remove it or choose another series",
        )
    return None


def _class_name(uid: str) -> str:
    from pydicom.uid import UID

    return UID(uid).name if uid else "absent"


def _pixels(header: Header) -> Problem | None:
    if "Rows" not in header or "Columns" not in header:
        return Problem("no-pixels", f"{header.file}: Rows (0028,0010) is absent, it has no image; remove the file")
    photometric = header.text("PhotometricInterpretation", "MONOCHROME2")
    samples = header.integer("SamplesPerPixel", 1)
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return Problem(
            "colour",
            f"{header.file}: PhotometricInterpretation (0028,0004) is {photometric} with {samples} samples a pixel,"
            " not a grey image; choose another series",
        )
    allocated = header.integer("BitsAllocated", 0)
    if header.text("SOPClassUID") == _PARAMETRIC_MAP and allocated in (32, 64) and "BitsStored" not in header:
        return None  # Float or Double Float Pixel Data
    stored = header.integer("BitsStored", 0)
    high = header.integer("HighBit", stored - 1)
    if allocated not in (1, 8, 16, 32) or not 1 <= stored <= high + 1 <= allocated:
        return Problem(
            "pixel-format",
            f"{header.file}: BitsAllocated (0028,0100) {allocated}, BitsStored (0028,0101) {stored}, HighBit"
            f" (0028,0102) {high} is not a layout that is read; export it again",
        )
    return None


def _size(header: Header) -> Problem | None:
    from pydicom.uid import UID

    rows, columns = header.integer("Rows"), header.integer("Columns")
    frames = 1 + (header.frame or 0)
    syntax = UID(header.text("TransferSyntaxUID", "1.2.840.10008.1.2"))
    packed = syntax.is_transfer_syntax and (syntax.is_compressed or syntax.is_deflated)
    need = rows * columns * frames * header.integer("BitsAllocated") // 8
    if rows < 1 or columns < 1 or rows * columns > _MAX_PIXELS or need > header.size * (_MAX_RATIO if packed else 1):
        return Problem(
            "truncated",
            f"{header.file}: Rows x Columns {rows} x {columns} ({frames} frame(s)) declare {need} bytes, the file has"
            f" {header.size}{' (compressed)' if packed else ''}: truncated or damaged; send it again",
        )
    return None


def mixture_problems(headers: Sequence[Header]) -> list[Problem]:
    """In what the slices differ that one volume has in common; texts lack the name of the series."""
    found = []
    sizes = sorted({(h.integer("Rows"), h.integer("Columns")) for h in headers})
    if len(sizes) > 1:
        shown = ", ".join(f"{r} x {c}" for r, c in sizes[:4])
        found.append(
            Problem("mixed-sizes", f"Rows (0028,0010) x Columns (0028,0011) vary: {shown}; separate the images")
        )
    for keyword, what in _UNIFORM:
        values = sorted({_shared_value(h, keyword) for h in headers})
        if len(values) > 1:
            shown = f"{len(values)} values" if keyword in _HIDDEN else ", ".join(v or "absent" for v in values[:4])
            code = "mixed-" + keyword.lower()
            found.append(Problem(code, f"{tag_name(keyword)} varies ({shown}): {what}; give a folder with one of them"))
    flat = next((h for h in headers if "RescaleSlope" in h and h.number("RescaleSlope") == 0), None)
    if flat is not None:
        found.append(
            Problem("bad-scale", f"{flat.file}: RescaleSlope (0028,1053) is 0, its values are lost; export it again")
        )
    scaled = [h for h in headers if "RescaleSlope" in h and "RescaleIntercept" in h]
    if len(scaled) < len(headers) and any("RescaleSlope" in h or "RescaleIntercept" in h for h in headers):
        found.append(
            Problem(
                "mixed-rescaleslope",
                f"RescaleSlope (0028,1053) and RescaleIntercept (0028,1052) are given for {len(scaled)} of"
                f" {len(headers)} slices; export it again",
            )
        )
    return found


def _shared_value(header: Header, keyword: str) -> str:
    return header.text(keyword)


def is_radiograph(header: Header) -> bool:
    """A projection image: CR, DX, mammography, intra-oral, and single frames of XA and RF (PS3.4 B.5)."""
    uid = header.text("SOPClassUID")
    digital = uid == _RADIOGRAPHS[0] or uid.startswith(f"{_RADIOGRAPHS[0]}.") or uid in _RADIOGRAPHS[1:]
    return digital and header.integer("NumberOfFrames", 1) == 1
