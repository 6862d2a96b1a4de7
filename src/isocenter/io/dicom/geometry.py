"""From the positions that slices state to one lattice, or to what forbids it (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isocenter.io.dicom.planes import Arrangement, GeometryPolicy, Planes, Problem, fit_affine, residual_mm

__all__ = ["SAME_PLACE_MM", "arrange", "tilt_deg"]

SAME_PLACE_MM = 0.01
TILT_DEG = 0.05
COSINE_TOLERANCE = 1e-3
MOST_SLICES = 8192
"""Of a resampled stack; more would come of a gap that is a rounding error."""


def arrange(planes: Planes, policy: GeometryPolicy, thickness_mm: float = 1.0) -> Arrangement:
    """Put slices on one lattice, as far as ``policy`` allows; texts of problems lack the name of the series.

    Args:
        planes: Sorted along the normal.
        policy: What may be done.
        thickness_mm: Step where there is only one slice.
    """
    bad = _orientation_problem(planes)
    if bad:
        return Arrangement(problems=(bad,))
    count = len(planes.position)
    affine = fit_affine(planes, thickness_mm)
    if count == 1:
        return Arrangement(affine, 1)
    gaps = np.diff(planes.depth)
    if gaps.min() < SAME_PLACE_MM:
        return Arrangement(problems=(_doubled(planes),))
    tilt = tilt_deg(planes)
    flags = _tilt_flags(tilt, policy)
    tilted = tilt > TILT_DEG
    problems = [_tilt(tilt)] if tilted and policy.tilt == "refuse" else []
    # the step plays no part in the residual of a single slice, so any thickness will do
    if residual_mm(planes, affine) <= policy.tolerance_mm:
        return Arrangement(affine, count, tilted=tilted, flags=flags, problems=tuple(problems))
    index, flag, problem = _uneven(planes, gaps, policy)
    if index is None:
        return Arrangement(problems=(*problems, *problem))
    affine = fit_affine(planes, thickness_mm, index)
    off = residual_mm(planes, affine, index)
    if off > policy.tolerance_mm:
        return Arrangement(problems=(*problems, _irregular(off, policy.tolerance_mm)))
    count = int(np.rint(index[-1])) + 1
    places = np.interp(np.arange(count), index, np.arange(len(index)))
    return Arrangement(affine, count, places, tilted, flags=(*flags, flag), problems=tuple(problems))


def _uneven(
    planes: Planes, gaps: NDArray[np.float64], policy: GeometryPolicy
) -> tuple[NDArray[np.float64] | None, str, list[Problem]]:
    """Lattice index of slices that are not equally far apart, and what was done; or what forbids it."""
    step = float(np.median(gaps))
    ratio = gaps / step
    if np.ptp(gaps) <= policy.tolerance_mm:
        return None, "", [_irregular(residual_mm(planes, fit_affine(planes, 1.0)), policy.tolerance_mm)]
    if np.abs(ratio - np.rint(ratio)).max() < 0.05 and ratio.max() > 1.5:
        problem = _missing(planes, gaps, ratio, step)
        lost = int((np.rint(ratio) - 1).sum())
        if policy.missing != "fill" or lost > len(gaps):  # more than are there would be invention
            return None, "", [problem]
        flag = f"{lost} missing slice(s) of {len(gaps) + 1 + lost} filled by interpolation between their neighbours"
        index = np.concatenate([[0.0], np.cumsum(np.rint(ratio))])
        whole = residual_mm(planes, fit_affine(planes, 1.0, index), index) <= policy.tolerance_mm
        if whole or policy.spacing != "resample":
            return index, flag, []
    if policy.spacing != "resample":
        return None, "", [_spacing(gaps)]
    length = float(gaps.sum())
    steps = max(1, round(length / float(gaps.min())))
    if steps > MOST_SLICES:
        return None, "", [_spacing(gaps)]
    flag = (
        f"slice spacing of {gaps.min():.3f} to {gaps.max():.3f} mm resampled to {length / steps:.3f} mm by"
        " interpolation between neighbours"
    )
    return np.concatenate([[0.0], np.cumsum(gaps)]) * (steps / length), flag, []


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


def tilt_deg(planes: Planes) -> float:
    """Angle between the slice normal and the line along which slices follow each other."""
    way = planes.position[-1] - planes.position[0]
    along = float(way @ planes.normal)
    aside = float(np.linalg.norm(way - along * planes.normal))
    return float(np.degrees(np.arctan2(aside, along)))


def _tilt_flags(tilt: float, policy: GeometryPolicy) -> tuple[str, ...]:
    if tilt <= TILT_DEG:
        return ()
    done = "rectified by resampling" if policy.tilt == "rectify" else "kept exactly, as a sheared grid"
    return (f"slices follow each other {tilt:.2f} degrees off their normal (gantry tilt): {done}",)


def _tilt(tilt: float) -> Problem:
    return Problem(
        "gantry-tilt",
        f"ImagePositionPatient (0020,0032) runs {tilt:.2f} degrees off the slice normal (gantry tilt or sheared"
        " stack); allow tilt 'shear' or 'rectify' (GeometryPolicy, --tilt)",
        geometry=True,
    )


def _missing(planes: Planes, gaps: NDArray[np.float64], ratio: NDArray[np.float64], step: float) -> Problem:
    missing = int((np.rint(ratio) - 1).sum())
    after = [round(float(v), 3) for v in planes.position[int(ratio.argmax())]]
    return Problem(
        "missing-slice",
        f"ImagePositionPatient (0020,0032): {missing} slice(s) missing, the first gap of {gaps.max():.3f} mm is"
        f" after {after} where {step:.3f} mm is usual; send the series again, or allow missing"
        " 'fill' (GeometryPolicy, --missing)",
        geometry=True,
    )


def _spacing(gaps: NDArray[np.float64]) -> Problem:
    return Problem(
        "variable-spacing",
        f"ImagePositionPatient (0020,0032): slice spacing varies from {gaps.min():.3f} to {gaps.max():.3f} mm;"
        " allow spacing 'resample' (GeometryPolicy, --spacing), or a wider tolerance_mm if this is rounding",
        geometry=True,
    )


def _irregular(residual: float, tolerance_mm: float) -> Problem:
    return Problem(
        "irregular-positions",
        f"ImagePositionPatient (0020,0032): slices lie up to {residual:.3f} mm off a regular grid, {tolerance_mm:g} mm"
        " is allowed; use another series, or a wider GeometryPolicy.tolerance_mm if this is rounding",
        geometry=True,
    )
