"""What slices state of their places, what may be done to them, and the affine nearest to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError, IsocenterError, SeriesError
from isocenter.volume import Affine

__all__ = ["STRICT", "Arrangement", "GeometryPolicy", "Planes", "Problem", "fit_affine", "residual_mm"]


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


@dataclass(frozen=True)
class GeometryPolicy:
    """What may be done to slices that are not one regular, upright grid.

    Attributes:
        tolerance_mm: How far the place that a header states for a pixel may be from the place the grid gives it.
            Widen it for positions that were rounded to few digits.
        tilt: Slices that follow each other along a line off their normal (gantry tilt). ``"shear"`` keeps every voxel
            where it is, on a sheared grid; ``"rectify"`` resamples onto an upright one; ``"refuse"`` raises.
        spacing: Slices at varying distances. ``"refuse"`` raises; ``"resample"`` interpolates along the slice axis to
            the smallest distance. `Stack.planes` and `Stack.values` are exact in any case.
        missing: Slices missing from an otherwise regular stack. ``"refuse"`` raises; ``"fill"`` interpolates them
            between their neighbours.

    What was done, `Stack.flags` says.
    """

    tolerance_mm: float = 0.01
    tilt: Literal["shear", "rectify", "refuse"] = "shear"
    spacing: Literal["refuse", "resample"] = "refuse"
    missing: Literal["refuse", "fill"] = "refuse"


STRICT = GeometryPolicy()


@dataclass(frozen=True)
class Arrangement:
    """Slices on one lattice, or why there is none.

    Attributes:
        affine: Slice, row, column to patient LPS mm; may be sheared.
        count: Slices of the lattice.
        places: For each of them the fractional index among the slices at hand; ``None`` where they are the same.
        tilted: Slices follow each other off their normal, by more than rounding does.
        flags: What was done to get there.
        problems: What forbids it; then the rest means nothing.
    """

    affine: Affine = field(default_factory=lambda: np.eye(4))
    count: int = 0
    places: NDArray[np.float64] | None = None
    tilted: bool = False
    flags: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def fit_affine(planes: Planes, thickness_mm: float, index: NDArray[np.float64] | None = None) -> Affine:
    """The affine nearest to all slices; ``thickness_mm`` is the step where there is only one.

    Args:
        planes: At least one slice.
        thickness_mm: See above.
        index: Slice index of each, where some between them are missing.
    """
    count = len(planes.position)
    affine = np.eye(4)
    affine[:3, 1] = (planes.down * planes.spacing[:, :1]).mean(axis=0)
    affine[:3, 2] = (planes.across * planes.spacing[:, 1:]).mean(axis=0)
    if count == 1:
        affine[:3, 0], affine[:3, 3] = planes.normal * thickness_mm, planes.position[0]
        return affine
    places = np.arange(count, dtype=np.float64) if index is None else index
    ends = affine.copy()
    ends[:3, 0] = (planes.position[-1] - planes.position[0]) / (places[-1] - places[0])
    ends[:3, 3] = planes.position[0] - ends[:3, 0] * places[0]
    # positions are often rounded to few digits; a line through all of them halves the error of one through the ends
    line = np.linalg.lstsq(np.stack([places, np.ones(count)], axis=1), planes.position, rcond=None)[0]
    affine[:3, 0], affine[:3, 3] = line[0], line[1]
    return min((ends, affine), key=lambda a: residual_mm(planes, a, places))


def residual_mm(planes: Planes, affine: Affine, index: NDArray[np.float64] | None = None) -> float:
    """Largest distance, over the corners of all slices, between the place stated and the place given by ``affine``."""
    rows, columns = planes.shape
    slices = np.arange(len(planes.position)) if index is None else index
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
