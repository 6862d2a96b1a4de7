"""Projection images (CR, DX, mammography, XA, RF): pixels on a detector, with no place in the patient.

They become volumes of one slice at the origin. Rows and columns point where Patient Orientation (0020,0020) says,
else as a patient seen from the front is displayed: columns to the left, rows to the feet. Distances are those at the
detector (Imager Pixel Spacing) unless Pixel Spacing states calibrated ones (PS3.3 10.7.1.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import SeriesError
from isocenter.io.dicom.content import is_radiograph
from isocenter.io.dicom.planes import Planes

if TYPE_CHECKING:
    from isocenter.io.dicom.header import Header

__all__ = ["detector_flags", "detector_planes", "is_placed"]

_WAYS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
_FRONT = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))


def is_placed(header: Header) -> bool:
    """Whether the image has, or ought to have, a place in the patient."""
    return not is_radiograph(header) or "ImagePositionPatient" in header


def detector_planes(headers: Sequence[Header]) -> Planes:
    """Planes on the detector, for a stack of one.

    Raises:
        SeriesError: An image states no distance of pixels, or there are several.
    """
    if len(headers) > 1:
        raise SeriesError(
            f"{headers[0].file}: {len(headers)} projections without a place in the patient are no volume; read them"
            " one by one"
        )
    header = headers[0]
    across, down = _ways(header) or _FRONT
    return Planes(
        position=np.zeros((1, 3)),
        across=np.array([across], dtype=np.float64),
        down=np.array([down], dtype=np.float64),
        spacing=np.array([_spacing(header)]),
        shape=(header.integer("Rows"), header.integer("Columns")),
    )


def _spacing(header: Header) -> tuple[float, ...]:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        if keyword in header:
            return header.numbers(keyword, 2)
    raise SeriesError(f"{header.file}: neither PixelSpacing (0028,0030) nor ImagerPixelSpacing (0018,1164) is stated")


def _ways(header: Header) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    letters = header.text("PatientOrientation").split("\\")
    if len(letters) != 2 or not all(part and part[0] in _WAYS for part in letters):
        return None
    across, down = (_WAYS[part[0]] for part in letters)
    return None if np.any(np.cross(across, down)) == 0 else (across, down)


def detector_flags(header: Header) -> tuple[str, ...]:
    """What a radiograph leaves open; empty for images with a place in the patient."""
    if is_placed(header):
        return ()
    flags = ["a projection without a place in the patient: the image lies at the origin"]
    if _ways(header) is None:
        flags.append("PatientOrientation is not stated: columns are taken to run to the left, rows to the feet")
    if "PixelSpacing" not in header:
        flags.append("distances are those at the detector, not in the patient")
    return tuple(flags)
