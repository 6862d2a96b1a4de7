"""From the positions that slices state to one affine, or to what forbids it (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError, IsocenterError, SeriesError
from isocenter.volume import Affine

__all__ = ["Planes", "Problem", "fit_affine", "geometry_problems", "residual_mm"]

SAME_PLACE_MM = 1e-3
TILT_DEG = 0.05
COSINE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Problem:
    """Why a stack is not one regular volume.

    Attributes:
        code: Stable short name, e.g. ``"missing-slice"``, ``"gantry-tilt"``.
        text: What, where, the value found, and what to do: one line.
        geometry: It concerns places, not contents.
    """

    code: str
    text: str
    geometry: bool = False

    def error(self) -> IsocenterError:
        """The error to raise for it."""
        return (GeometryError if self.geometry else SeriesError)(self.text)


@dataclass(frozen=True)
class Planes:
    """Stated geometry of ``n`` slices, sorted along the normal.

    Attributes:
        position: ``(n, 3)`` Image Position (Patient), LPS mm.
        across: ``(n, 3)`` direction of increasing column index, first half of Image Orientation (Patient).
        down: ``(n, 3)`` direction of increasing row index, second half.
        spacing: ``(n, 2)`` Pixel Spacing: distance of rows, of columns.
        shape: Rows, columns.
    """

    position: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    spacing: NDArray[np.float64]
    shape: tuple[int, int]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the first slice."""
        vector = np.cross(self.across[0], self.down[0])
        unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
        return unit

    @property
    def depth(self) -> NDArray[np.float64]:
        """Position of every slice along the normal, mm."""
        depth: NDArray[np.float64] = self.position @ self.normal
        return depth


def fit_affine(planes: Planes, thickness_mm: float) -> Affine:
    """The affine nearest to all slices; ``thickness_mm`` is the step where there is only one."""
    count = len(planes.position)
    affine = np.eye(4)
    affine[:3, 1] = (planes.down * planes.spacing[:, :1]).mean(axis=0)
    affine[:3, 2] = (planes.across * planes.spacing[:, 1:]).mean(axis=0)
    if count == 1:
        affine[:3, 0], affine[:3, 3] = planes.normal * thickness_mm, planes.position[0]
        return affine
    ends = affine.copy()
    ends[:3, 0] = (planes.position[-1] - planes.position[0]) / (count - 1)
    ends[:3, 3] = planes.position[0]
    # positions are often rounded to few digits; a line through all of them halves the error of one through the ends
    index = np.stack([np.arange(count), np.ones(count)], axis=1)
    line = np.linalg.lstsq(index, planes.position, rcond=None)[0]
    affine[:3, 0], affine[:3, 3] = line[0], line[1]
    return min((ends, affine), key=lambda a: residual_mm(planes, a))


def residual_mm(planes: Planes, affine: Affine) -> float:
    """Largest distance, over the corners of all slices, between the place stated and the place given by ``affine``."""
    rows, columns = planes.shape
    slices = np.arange(len(planes.position))
    worst = 0.0
    for row in (0, rows - 1):
        for column in (0, columns - 1):
            stated = (
                planes.position
                + planes.down * planes.spacing[:, :1] * row
                + planes.across * planes.spacing[:, 1:] * column
            )
            given = slices[:, None] * affine[:3, 0] + affine[:3, 1] * row + affine[:3, 2] * column + affine[:3, 3]
            worst = max(worst, float(np.linalg.norm(stated - given, axis=1).max()))
    return worst


def geometry_problems(planes: Planes, *, tolerance_mm: float) -> list[Problem]:
    """What keeps the slices from being one unsheared regular grid; texts lack the name of the series."""
    bad = _orientation_problem(planes)
    if bad:
        return [bad]
    if len(planes.position) == 1:
        return []
    gaps = np.diff(planes.depth)
    if gaps.min() < SAME_PLACE_MM:
        return [_doubled(planes)]
    found = [p for p in (_tilt(planes),) if p]
    # the step plays no part in the residual of a single slice, so any thickness will do
    residual = residual_mm(planes, fit_affine(planes, 1.0))
    if residual > tolerance_mm:
        found.append(_spacing(planes, gaps, tolerance_mm) or _uneven(residual, tolerance_mm))
    return found


def _orientation_problem(planes: Planes) -> Problem | None:
    lengths = np.linalg.norm(np.concatenate([planes.across, planes.down]), axis=1)
    skew = np.abs((planes.across * planes.down).sum(axis=1)).max()
    if np.abs(lengths - 1).max() > COSINE_TOLERANCE or skew > COSINE_TOLERANCE:
        stated = [float(v) for v in (*planes.across[0], *planes.down[0])]
        return Problem(
            "bad-orientation",
            f"ImageOrientationPatient (0020,0037) is {stated}, not two perpendicular unit vectors; export it again",
            geometry=True,
        )
    if planes.spacing.min() <= 0:
        return Problem(
            "bad-spacing",
            f"PixelSpacing (0028,0030) is {planes.spacing.min():g} mm, it must be positive; export it again",
            geometry=True,
        )
    return None


def _doubled(planes: Planes) -> Problem:
    fresh = np.concatenate([[True], np.diff(planes.depth) >= SAME_PLACE_MM])
    starts = np.flatnonzero(fresh)
    counts = np.diff([*starts, len(fresh)])
    if (counts > 1).mean() > 0.5:
        up_to = "" if counts.min() == counts.max() else "up to "
        return Problem(
            "several-volumes",
            f"ImagePositionPatient (0020,0032): {up_to}{counts.max()} images at each of {len(starts)} positions (time"
            " points, echoes or b-values); give a folder with one volume",
        )
    place = [round(float(v), 3) for v in planes.position[starts[int(counts.argmax())]]]
    return Problem(
        "duplicate-slice",
        f"ImagePositionPatient (0020,0032): {int((counts > 1).sum())} of {len(starts)} positions have more than one"
        f" image, e.g. {place}; remove the duplicates",
    )


def _tilt(planes: Planes) -> Problem | None:
    way = planes.position[-1] - planes.position[0]
    along = float(way @ planes.normal)
    aside = float(np.linalg.norm(way - along * planes.normal))
    angle = float(np.degrees(np.arctan2(aside, along)))
    if angle <= TILT_DEG:
        return None
    return Problem(
        "gantry-tilt",
        f"ImagePositionPatient (0020,0032) runs {angle:.2f} degrees off the slice normal (gantry tilt or sheared"
        " stack); rectify it with another tool first",
        geometry=True,
    )


def _spacing(planes: Planes, gaps: NDArray[np.float64], tolerance_mm: float) -> Problem | None:
    step = float(np.median(gaps))
    ratio = gaps / step
    if np.ptp(gaps) <= tolerance_mm:
        return None
    if np.abs(ratio - np.rint(ratio)).max() < 0.05 and ratio.max() > 1.5:
        missing = int((np.rint(ratio) - 1).sum())
        after = [round(float(v), 3) for v in planes.position[int(ratio.argmax())]]
        return Problem(
            "missing-slice",
            f"ImagePositionPatient (0020,0032): {missing} slice(s) missing, the first gap of {gaps.max():.3f} mm is"
            f" after {after} where {step:.3f} mm is usual; send the series again",
            geometry=True,
        )
    return Problem(
        "variable-spacing",
        f"ImagePositionPatient (0020,0032): slice spacing varies from {gaps.min():.3f} to {gaps.max():.3f} mm;"
        " use a series with equal spacing, or a wider GeometryPolicy.tolerance_mm if this is rounding",
        geometry=True,
    )


def _uneven(residual: float, tolerance_mm: float) -> Problem:
    return Problem(
        "irregular-positions",
        f"ImagePositionPatient (0020,0032): slices lie up to {residual:.3f} mm off a regular grid, {tolerance_mm:g} mm"
        " is allowed; use another series, or a wider GeometryPolicy.tolerance_mm if this is rounding",
        geometry=True,
    )
