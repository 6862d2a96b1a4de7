"""DICOM RT Structure Set (PS3.3 A.19): contours of the series they were drawn on, as masks on its grid, and back."""

from __future__ import annotations

from isocenter.io.dicom.rtstruct.draw import ContourPolicy
from isocenter.io.dicom.rtstruct.read import contour_problems, read_rtstruct, read_rtstruct_labels, rtstruct_header
from isocenter.io.dicom.rtstruct.roi import Roi, RtstructHeader
from isocenter.io.dicom.rtstruct.write import write_rtstruct

__all__ = [
    "ContourPolicy",
    "Roi",
    "RtstructHeader",
    "contour_problems",
    "read_rtstruct",
    "read_rtstruct_labels",
    "rtstruct_header",
    "write_rtstruct",
]
