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
    from isocenter.report.tones import Tones

__all__ = ["Place", "key_image", "place_of_part"]

_PIXELS = 208
_LEAST_MM = 60.0
_MARGIN = 1.6
_SCATTERED = 0.01


@dataclass(frozen=True)
class Place:
    """Where a finding is.

    Attributes:
        center_mm: LPS position to look at; inside the finding.
        middle_mm: Middle of its extent.
        extent_mm: Extent along the patient's x, y, z.
        colour: Of its outline.
        part: Its voxels, where it has any; else a rectangle of ``extent_mm`` is drawn.
    """

    center_mm: NDArray[np.float64]
    middle_mm: NDArray[np.float64]
    extent_mm: NDArray[np.float64]
    colour: RGB
    part: Part | None = None


def place_of_part(part: Part, colour: RGB, plane: Plane, grid: Grid) -> Place | None:
    """Where to look at a structure: in the slice (as ``plane`` of ``grid`` cuts) that shows most of it.

    Of a structure that is scattered over a wide space (nodules), the largest part is shown.
    """
    if part.mask is None:
        return None
    mask, inner = _gathered(part.mask, part.grid)
    towards = plane.directions(grid)[0]
    normal = int(np.argmax(np.abs(inner.directions.T @ towards)))
    areas = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != normal))
    at = int(np.argmax(areas))
    voxels = np.argwhere(np.take(mask, [at], axis=normal))
    voxels[:, normal] = at
    points = inner.to_world(voxels.astype(np.float64))
    center = points[np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1))]
    ends = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in inner.shape]), -1).reshape(-1, 3)
    corners = inner.to_world(ends)
    return Place(center, (corners.min(axis=0) + corners.max(axis=0)) / 2, np.ptp(corners, axis=0), colour, part)


def _gathered(mask: NDArray[np.bool_], grid: Grid) -> tuple[NDArray[np.bool_], Grid]:
    """The mask, or its largest connected part where it fills less than a hundredth of its bounding box."""
    from scipy import ndimage

    if np.count_nonzero(mask) > _SCATTERED * mask.size:
        return mask, grid
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    largest = int(np.argmax(np.bincount(parts.ravel())[1:])) + 1
    box = ndimage.find_objects(parts)[largest - 1]
    return parts[box] == largest, grid.crop([b.start for b in box], [b.stop for b in box])


def key_image(image: Volume, place: Place, plane: Plane, grid: Grid, tones: Tones) -> bytes:
    """PNG of ``plane`` through a place: the image in the window that suits the finding, and the finding's outline.

    Args:
        image: At its full resolution.
        place: What to show.
        plane: How to cut, on ``grid``.
        grid: Viewing grid that ``plane`` belongs to.
        tones: Windows to choose from.
    """
    patch = _patch(image.grid, place, plane, grid)
    planes = image.array if len(image.array) == 3 and min(image.grid.shape) == 1 else image.array[:1]
    outside = float(tones.levels[0])
    shown = resample(near(Volume(planes, image.grid, image.unit), patch), patch, fill=outside).array[:, 0]
    shown = np.nan_to_num(shown, nan=outside)
    around = _rectangle(patch, place, plane, grid, margin=1.5)
    inside = _rectangle(patch, place, plane, grid) if place.part is None else _inside(place.part, patch)
    window = tones.suiting(_mean(shown[0][inside]), _mean(shown[0][around]))
    grey = np.clip((shown - window.level) / window.width + 0.5, 0, 1)
    picture = np.repeat(grey, 3 // len(grey), axis=0).transpose(1, 2, 0) * 255
    _draw(picture, inside, place.colour)
    return png_bytes(np.rint(picture).astype(np.uint8))


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


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
    affine[:3, 3] = _held(_level(place, normal), extent, plane, grid) - (down + right) * step * (_PIXELS - 1) / 2
    return Grid((1, _PIXELS, _PIXELS), affine, source.frame)


def _level(place: Place, normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middle of the finding, moved along ``normal`` into the slice to look at."""
    shift: NDArray[np.float64] = normal * float((place.center_mm - place.middle_mm) @ normal)
    return place.middle_mm + shift


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


def _rectangle(patch: Grid, place: Place, plane: Plane, grid: Grid, margin: float = 1.0) -> NDArray[np.bool_]:
    _, down, right = plane.directions(grid)
    middle = patch.to_index(place.middle_mm)[1:]
    half = [margin * float(np.abs(place.extent_mm) @ np.abs(d)) / 2 for d in (down, right)]
    rows, columns = np.ogrid[: patch.shape[1], : patch.shape[2]]
    tall, wide = (
        np.abs(i - m) <= h / patch.spacing_mm[1] for i, m, h in zip((rows, columns), middle, half, strict=True)
    )
    return np.asarray(tall & wide)


def _draw(picture: NDArray[Any], inside: NDArray[np.bool_], colour: RGB) -> None:
    """Outline of three pixels, just inside."""
    from scipy import ndimage

    core = ndimage.binary_erosion(inside, np.ones((3, 3)), iterations=3, border_value=1)
    picture[inside & ~core] = colour
