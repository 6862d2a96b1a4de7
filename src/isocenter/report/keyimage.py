"""Key images: one small picture of each finding, from the image at its full resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isocenter.report.png import png_bytes
from isocenter.report.viewing import near
from isocenter.volume import Grid, Volume, resample

if TYPE_CHECKING:
    from isocenter.report.colours import RGB
    from isocenter.report.parts import Part
    from isocenter.report.planes import Plane
    from isocenter.report.tones import Window

__all__ = ["Place", "key_image", "place_of_part"]

_PIXELS = 208
_LEAST_MM = 60.0
_MARGIN = 1.6


@dataclass(frozen=True)
class Place:
    """Where a finding is.

    Attributes:
        center_mm: LPS position to look at.
        extent_mm: Extent along the patient's x, y, z.
        colour: Of its outline.
        part: Its voxels, where it has any; else a rectangle of ``extent_mm`` is drawn.
    """

    center_mm: NDArray[np.float64]
    extent_mm: NDArray[np.float64]
    colour: RGB
    part: Part | None = None


def place_of_part(part: Part, colour: RGB, plane: Plane, grid: Grid) -> Place | None:
    """The voxel to look at: in the slice (as ``plane`` of ``grid`` cuts) that shows most, nearest to its middle."""
    if part.mask is None:
        return None
    towards = plane.directions(grid)[0]
    normal = int(np.argmax(np.abs(part.grid.directions.T @ towards)))
    areas = np.count_nonzero(part.mask, axis=tuple(a for a in range(3) if a != normal))
    at = int(np.argmax(areas))
    voxels = np.argwhere(np.take(part.mask, [at], axis=normal))
    voxels[:, normal] = at
    points = part.grid.to_world(voxels.astype(np.float64))
    center = points[np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1))]
    ends = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in part.grid.shape]), -1).reshape(-1, 3)
    return Place(center, np.ptp(part.grid.to_world(ends), axis=0), colour, part)


def key_image(image: Volume, place: Place, plane: Plane, grid: Grid, window: Window) -> bytes:
    """PNG of ``plane`` through a place: the image, and the outline of what was found.

    Args:
        image: At its full resolution.
        place: What to show.
        plane: How to cut, on ``grid``.
        grid: Viewing grid that ``plane`` belongs to.
        window: From black to white.
    """
    patch = _patch(image.grid, place, plane, grid)
    planes = image.array if len(image.array) == 3 and min(image.grid.shape) == 1 else image.array[:1]
    shown = resample(near(Volume(planes, image.grid, image.unit), patch), patch, fill=window.level - window.width)
    grey = np.clip((shown.array[:, 0] - window.level) / window.width + 0.5, 0, 1)
    picture = np.repeat(grey, 3 // len(grey), axis=0).transpose(1, 2, 0) * 255
    inside = _rectangle(patch, place, plane, grid) if place.part is None else _inside(place.part, patch)
    _draw(picture, inside, place.colour)
    return png_bytes(np.rint(np.nan_to_num(picture)).astype(np.uint8))


def _patch(source: Grid, place: Place, plane: Plane, grid: Grid) -> Grid:
    """Square of pixels through the place, as large as the finding with some surroundings, within the image."""
    normal, down, right = plane.directions(grid)
    whole = max(n * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True))
    own = max(float(np.abs(place.extent_mm) @ np.abs(direction)) for direction in (down, right))
    extent = min(max(own * _MARGIN, min(_LEAST_MM, whole)), whole)
    thickness = float(np.abs(source.spacing_mm * np.abs(source.directions.T @ normal)).max())
    step = extent / _PIXELS
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([normal * thickness, down * step, right * step])
    affine[:3, 3] = _held(place.center_mm, extent, plane, grid) - (down + right) * step * (_PIXELS - 1) / 2
    return Grid((1, _PIXELS, _PIXELS), affine, source.frame)


def _held(center_mm: NDArray[np.float64], extent: float, plane: Plane, grid: Grid) -> NDArray[np.float64]:
    """The centre of a square, moved so that it does not look over the edge of the image further than it must."""
    index = grid.to_index(center_mm)
    for axis in (plane.row, plane.column):
        half = extent / grid.spacing_mm[axis] / 2
        low, high = half - 0.5, grid.shape[axis] - 0.5 - half
        index[axis] = min(max(float(index[axis]), low), high) if low <= high else (grid.shape[axis] - 1) / 2
    return grid.to_world(index)


def _inside(part: Part, patch: Grid) -> NDArray[np.bool_]:
    if part.mask is None:
        return np.zeros(patch.shape[1:], dtype=bool)
    mask = Volume(part.mask.astype(np.float32), part.grid).pad((1, 1, 1), (1, 1, 1))
    patch = Grid(patch.shape, patch.affine, mask.grid.frame)
    return np.asarray(resample(mask, patch, antialias=False, fill=0.0).array[0, 0] >= 0.5)


def _rectangle(patch: Grid, place: Place, plane: Plane, grid: Grid) -> NDArray[np.bool_]:
    _, down, right = plane.directions(grid)
    middle = patch.to_index(place.center_mm)[1:]
    half = [float(np.abs(place.extent_mm) @ np.abs(d)) / 2 for d in (down, right)] / np.asarray(patch.spacing_mm[1:])
    rows, columns = np.ogrid[: patch.shape[1], : patch.shape[2]]
    return np.asarray((np.abs(rows - middle[0]) <= half[0]) & (np.abs(columns - middle[1]) <= half[1]))


def _draw(picture: NDArray[Any], inside: NDArray[np.bool_], colour: RGB) -> None:
    """Outline of three pixels, just inside."""
    from scipy import ndimage

    core = ndimage.binary_erosion(inside, np.ones((3, 3)), iterations=3, border_value=1)
    picture[inside & ~core] = colour
