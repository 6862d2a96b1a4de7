"""Diffusion weighting: how strong, and along which direction of the patient (PS3.3 C.8.13.5.9 and vendors' own)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import SeriesError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["b_value", "gradient"]

# in s/mm2, and unit vectors in patient space, as the standard has them; older software of vendors wrote only these
_B_VALUES = ("DiffusionBValue", "0019,0C:SIEMENS MR HEADER", "2001,03:Philips Imaging DD 001")
_DIRECTIONS = (
    ("DiffusionGradientOrientation",),
    ("0019,0E:SIEMENS MR HEADER",),
    tuple(f"2005,B{i}:Philips MR Imaging DD 001" for i in range(3)),
)
_GE_B_VALUE = "0043,39:GEMS_PARM_01"
_GE_OFFSET = 1_000_000_000  # added by some versions where the value is the nominal one


def b_value(header: Header) -> float | None:
    """Diffusion weighting of one image in s/mm2; ``None`` where it states none."""
    for keyword in _B_VALUES:
        if keyword in header:
            found = _numbers(header, keyword)
            return found[0] if found else None
    ge = _numbers(header, _GE_B_VALUE)
    return math.fmod(ge[0], _GE_OFFSET) if ge and ge[0] >= 0 else None


def gradient(header: Header) -> NDArray[np.float64] | None:
    """Unit vector of the gradient in patient space (LPS); ``None`` where it states none.

    GE's own elements give it along the axes of the acquisition, by rules that changed between versions; they are not
    read.

    Example:
        >>> from isocenter.io.dicom.header import Header
        >>> gradient(Header("a.dcm", 0, {"DiffusionGradientOrientation": (0.0, 0.6, 0.8)})).tolist()
        [0.0, 0.6, 0.8]
    """
    for keywords in _DIRECTIONS:
        if not all(k in header for k in keywords):
            continue
        vector = np.array([v for k in keywords for v in _numbers(header, k)])
        if vector.shape == (3,):
            length = float(np.linalg.norm(vector))
            return vector / length if 0.5 < length < 2 else None  # zero: none was applied
    return None


def _numbers(header: Header, keyword: str) -> tuple[float, ...]:
    value = header.tags.get(keyword)
    count = len(value) if isinstance(value, tuple) else int(value is not None)
    try:
        return header.numbers(keyword, count) if count else ()
    except SeriesError:
        return ()
