"""Shape of a structure, from its surface mesh and the spread of its voxels; any spacing, sheared grids too."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError
from isocenter.volume import Grid

__all__ = ["shape"]

Floats = NDArray[np.float64]


def shape(mask: NDArray[np.bool_], grid: Grid) -> dict[str, float]:
    """Shape features of a mask.

    The surface is the mesh of marching cubes at one half. ``volume_ml`` counts voxels, ``mesh_volume_ml`` is that of
    the mesh. Axes are four times the root of the eigenvalues of the voxels' covariance: those of an ellipsoid of the
    same spread.

    Args:
        mask: ``(slice, row, column)``.
        grid: Where its voxels are.

    Returns:
        ``volume_ml``, ``mesh_volume_ml``, ``surface_area_mm2``, ``surface_to_volume_per_mm``, ``sphericity`` (1 for a
        ball), ``max_diameter_mm``, ``major_axis_mm``, ``minor_axis_mm``, ``least_axis_mm``, ``elongation`` and
        ``flatness`` (1 where all axes are equal). Of an empty mask volumes and area are 0 and the others NaN.

    Raises:
        GeometryError: Mask and grid have different shapes.

    Example:
        >>> mask = np.zeros((12, 12, 12), bool)
        >>> mask[2:10, 2:10, 2:10] = True
        >>> found = shape(mask, Grid.regular(mask.shape, spacing_mm=(1, 1, 1)))
        >>> round(found["volume_ml"], 3), round(found["sphericity"], 2), round(found["elongation"], 2)
        (0.512, 0.86, 1.0)
    """
    if mask.shape != grid.shape:
        raise GeometryError(f"mask of shape {mask.shape} does not lie on a grid of shape {grid.shape}")
    steps = np.asarray(grid.affine[:3, :3], np.float64)
    places = np.argwhere(mask)
    if not len(places):
        return dict.fromkeys(("volume_ml", "mesh_volume_ml", "surface_area_mm2"), 0.0) | dict.fromkeys(_REST, math.nan)
    low, high = places.min(0), places.max(0) + 1
    corners, faces = _mesh(mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]])
    corners = corners @ steps.T
    area, volume = _area(corners, faces), abs(_volume(corners, faces))
    major, minor, least = _axes(places @ steps.T)
    return {
        "volume_ml": len(places) * grid.voxel_volume_ml,
        "mesh_volume_ml": volume / 1000,
        "surface_area_mm2": area,
        "surface_to_volume_per_mm": area / volume,
        "sphericity": (36 * math.pi * volume**2) ** (1 / 3) / area,
        "max_diameter_mm": _diameter(corners),
        "major_axis_mm": major,
        "minor_axis_mm": minor,
        "least_axis_mm": least,
        "elongation": minor / major if major else math.nan,
        "flatness": least / major if major else math.nan,
    }


_REST = (
    "surface_to_volume_per_mm", "sphericity", "max_diameter_mm", "major_axis_mm", "minor_axis_mm", "least_axis_mm",
    "elongation", "flatness",
)  # fmt: skip


def _mesh(mask: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64]]:
    from skimage.measure import marching_cubes

    corners, faces, *_ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5)
    return corners.astype(np.float64), faces.astype(np.int64)


def _area(corners: Floats, faces: NDArray[np.int64]) -> float:
    a, b, c = (corners[faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def _volume(corners: Floats, faces: NDArray[np.int64]) -> float:
    """By the divergence theorem; signed by the faces' direction."""
    a, b, c = (corners[faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def _diameter(corners: Floats) -> float:
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    return float(pdist(corners[ConvexHull(corners).vertices]).max())


def _axes(places: Floats) -> tuple[float, float, float]:
    centred = places - places.mean(0)
    values = np.linalg.eigvalsh(centred.T @ centred / max(1, len(places) - 1))
    least, minor, major = (4 * math.sqrt(max(0.0, v)) for v in values)
    return major, minor, least
