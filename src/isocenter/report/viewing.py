"""The grid that a report shows, and images and labels on it.

A viewing grid is near the image's own lattice (no needless interpolation), turned so that slices run to the head, rows
to the back and columns to the left: then every plane is drawn in the radiological convention without a further flip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isocenter.records import GeometryError, LabelMap, Masks
from isocenter.report.parts import Layer, parts_of
from isocenter.volume import Grid, Volume, resample, resample_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isocenter.report.tones import Tones
    from isocenter.volume import Affine

__all__ = ["ViewLayer", "bytes_on", "edge_letters", "is_placed", "labels_on", "near", "viewing_grid"]

MOST = (200, 256, 256)
MOST_FLAT = (1, 1024, 1024)
_SLAB = 16
_SMALL = 125  # voxels; a part this small may fall between the samples of a coarser grid
_LETTERS = ("LR", "PA", "SI")  # positive and negative end of the LPS axes


@dataclass(frozen=True)
class ViewLayer:
    """Labels in one byte a voxel.

    Attributes:
        array: ``(slice, row, column)``.
        member: ``(structure, 256)``: whether a byte belongs to a structure.
        names: Those structures.
    """

    array: NDArray[np.uint8]
    member: NDArray[np.bool_]
    names: tuple[str, ...]


def is_placed(grid: Grid) -> bool:
    """Whether directions and distances of a grid can be trusted: a single image without a frame states neither."""
    return min(grid.shape) > 1 or grid.frame is not None


def viewing_grid(grid: Grid, *, scale: float = 1.0) -> Grid:
    """Grid to look at an image on: at most about 200 x 256 x 256 voxels (times ``scale``), or 1024 x 1024 in 2-D.

    Example:
        >>> viewing_grid(Grid.regular((300, 512, 512), spacing_mm=(1, 0.7, 0.7))).shape
        (200, 256, 256)
    """
    if not is_placed(grid):
        base, most = grid, MOST_FLAT
    else:
        cosines = grid.directions
        straight = np.allclose(cosines.T @ cosines, np.eye(3), atol=0.02)
        base = grid.reorient("SPL") if straight else _straightened(grid)
        most = MOST if min(base.shape) > 1 else (1024, 1024, 1024)
    counts = np.asarray(base.shape, dtype=np.float64)
    factors = np.maximum(1.0, counts / np.maximum(1.0, np.asarray(most) * scale))
    factors[1:] = factors[1:].max()  # the same in both directions of the axial plane
    if (factors <= 1.0).all():
        return base
    return base.respaced([s * f if n > 1 else s for s, f, n in zip(base.spacing_mm, factors, base.shape, strict=True)])


def _straightened(grid: Grid) -> Grid:
    """An upright grid over all of a sheared one."""
    turned = grid.reorient("SPL")
    ends = np.stack(np.meshgrid(*[(0, n - 1) for n in grid.shape]), -1).reshape(-1, 3)
    corners = grid.to_world(ends)
    low, high = corners.min(axis=0), corners.max(axis=0)
    spacing = [abs(float(turned.affine[world, axis])) for axis, world in enumerate((2, 1, 0))]
    shape = np.floor((high - low)[::-1] / spacing + 1e-6).astype(int) + 1
    return Grid.regular([int(n) for n in shape], spacing_mm=spacing, origin_mm=low, frame=grid.frame)


def edge_letters(grid: Grid) -> tuple[tuple[str, str], ...]:
    """For slice, row and column axis: the patient directions at its low and at its high end, e.g. ``("I", "S")``.

    Oblique axes get two letters, the nearer first, as in DICOM's Patient Orientation (PS3.3 C.7.6.1.1.1).
    """
    ends = []
    for axis in grid.directions.T:
        order = [w for w in np.argsort(-np.abs(axis)) if abs(axis[w]) > 0.35][:2]
        high = "".join(_LETTERS[w][int(axis[w] < 0)] for w in order)
        low = "".join(_LETTERS[w][int(axis[w] > 0)] for w in order)
        ends.append((low, high))
    return tuple(ends)


def bytes_on(volume: Volume, grid: Grid, tones: Tones) -> NDArray[np.uint8]:
    """An image on a viewing grid, ``(channel, slice, row, column)`` of bytes.

    It goes slab by slab, so that no float copy of the whole image is made.

    Raises:
        GeometryError: Image and grid state different frames of reference.
    """
    planes = volume.array if volume.array.shape[0] == 3 and grid.shape[0] == 1 else volume.array[:1]
    source = Volume(planes, volume.grid, volume.unit)
    out = np.empty((len(planes), *grid.shape), np.uint8)
    for first in range(0, grid.shape[0], _SLAB):
        last = min(first + _SLAB, grid.shape[0])
        slab = grid.crop((first, 0, 0), (last, *grid.shape[1:]))
        part = resample(near(source, slab), slab, fill=float(tones.levels[0]))
        out[:, first:last] = tones.encode(part.array)
    return out


def near(volume: Volume, grid: Grid) -> Volume:
    """The part of a volume that values on ``grid`` can depend on."""
    matrix = grid.index_map_to(volume.grid)
    ends = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape]), -1).reshape(-1, 3)
    places = ends @ matrix[:3, :3].T + matrix[:3, 3]
    reach = 2 + 1.2 * np.abs(matrix[:3, :3]).sum(axis=1)  # the support of the smoothing before shrinking
    most = np.asarray(volume.grid.shape)
    start = np.clip(np.floor(places.min(axis=0) - reach).astype(int), 0, most - 1)
    stop = np.clip(np.ceil(places.max(axis=0) + reach).astype(int) + 1, start + 1, most)
    return volume.crop([int(i) for i in start], [int(i) for i in stop])


def labels_on(layer: Layer, grid: Grid) -> list[ViewLayer]:
    """A label map or masks on a viewing grid. Small parts are kept even where the grid would step over them.

    As few bytes a voxel as they need: a number each where structures exclude each other, else a bit each.

    Raises:
        GeometryError: Labels and grid state different frames of reference.
    """
    if layer.volume.grid.frame and grid.frame and layer.volume.grid.frame != grid.frame:
        raise GeometryError("labels and image state different frames of reference; register them first")
    names = layer.annotation.schema.names
    exclusive = isinstance(layer.annotation, LabelMap) and layer.annotation.schema.exclusive
    codes = np.arange(256)
    arrays = [np.zeros(grid.shape, np.uint8) for _ in range(1 if exclusive else -(-len(names) // 8))]
    for k, mask in enumerate(_masks_on(layer, grid)):
        if exclusive:
            arrays[0][mask] = k + 1
        else:
            arrays[k // 8] |= mask.astype(np.uint8) << (k % 8)
    if exclusive:
        return [ViewLayer(arrays[0], codes == np.arange(1, len(names) + 1)[:, None], names)]
    parts = [names[first : first + 8] for first in range(0, len(names), 8)]
    return [
        ViewLayer(array, (codes >> np.arange(len(part))[:, None]) & 1 == 1, part)
        for array, part in zip(arrays, parts, strict=True)
    ]


def _masks_on(layer: Layer, grid: Grid) -> Iterator[NDArray[np.bool_]]:
    """Each structure on ``grid``, one at a time."""
    source = layer.volume
    matrix = grid.index_map_to(source.grid)
    coarser = grid.voxel_volume_ml > 1.5 * source.grid.voxel_volume_ml
    several = isinstance(layer.annotation, Masks)
    values = None if several else _nearest(source.array[:1], matrix, grid)
    for k, part in enumerate(parts_of(layer)):
        if values is None:
            mask = _nearest(source.array[k : k + 1], matrix, grid) != 0
        else:
            mask = np.isin(values, part.structure.values)
        if coarser and part.mask is not None:
            places = np.rint(grid.to_index(part.grid.to_world(_small_parts(part.mask)))).astype(int)
            inside = ((places >= 0) & (places < grid.shape)).all(axis=1)
            mask[tuple(places[inside].T)] = True
        yield mask


def _nearest(channel: NDArray[Any], matrix: Affine, grid: Grid) -> NDArray[Any]:
    values: NDArray[Any] = resample_array(channel, matrix, grid.shape, interpolation="nearest", fill=0)[0]
    return values


def _small_parts(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Indices of the voxels in connected parts of fewer than `_SMALL` voxels."""
    from scipy import ndimage

    parts, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    small = np.bincount(parts.ravel()) < _SMALL
    small[0] = False
    return np.argwhere(small[parts]).astype(np.float64)
