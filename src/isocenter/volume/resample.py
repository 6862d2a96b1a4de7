"""Values of an image at the voxel centres of another grid.

One door, `resample_array`, so that a faster kernel can take the place of scipy behind it. When an axis shrinks, the
source is first smoothed along it (Gaussian of the width that turns one sampling kernel into the other), because
voxels of a coarser image are averages, not samples. Thick-slice images (one axis at least three times as coarse as
the others) get linear interpolation along the thick axis even where cubic was asked for: cubic overshoots there. Where
the two grids are turned against each other the axes cannot be treated apart, and such images get linear throughout.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError
from isocenter.volume.grid import Affine, Grid
from isocenter.volume.volume import Volume

__all__ = ["THICK_AXIS_RATIO", "Interpolation", "resample", "resample_array", "resample_labels"]

Interpolation = Literal["nearest", "linear", "cubic"]
THICK_AXIS_RATIO = 3.0
_ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}


def resample(
    volume: Volume,
    grid: Grid,
    *,
    interpolation: Interpolation = "linear",
    antialias: bool = True,
    fill: float | None = None,
) -> Volume:
    """``volume`` at the voxel centres of ``grid``.

    Args:
        volume: Source.
        grid: Target; any rotation, shear or offset against the source.
        interpolation: ``"nearest"`` keeps the data type (labels), the others give float32.
        antialias: Smooth along axes that become coarser (ignored for ``"nearest"``).
        fill: Value outside the source's voxels (beyond half a voxel from the outermost centres); ``None`` repeats
            the border.

    Raises:
        GeometryError: Both grids state a frame of reference, and not the same.

    Example:
        >>> ramp = Volume(np.arange(4.0).reshape(1, 1, 4), Grid.regular((1, 1, 4), spacing_mm=(1, 1, 1)))
        >>> fine = resample(ramp, Grid.regular((1, 1, 3), spacing_mm=(1, 1, 0.5), origin_mm=(1, 0, 0)))
        >>> fine.array.ravel().tolist()
        [1.0, 1.5, 2.0]
    """
    if volume.grid.frame and grid.frame and volume.grid.frame != grid.frame:
        raise GeometryError("source and target state different frames of reference; register the images first")
    if volume.grid == grid:
        return volume if interpolation == "nearest" else Volume(volume.array.astype(np.float32), grid, volume.unit)
    matrix = grid.index_map_to(volume.grid)
    array = resample_array(
        volume.array,
        matrix,
        grid.shape,
        interpolation=interpolation,
        antialias=antialias,
        fill=fill,
        spacing=volume.grid.spacing_mm,
    )
    return Volume(array, grid, volume.unit)


def resample_array(
    array: NDArray[Any],
    matrix: Affine,
    shape: tuple[int, int, int],
    *,
    interpolation: Interpolation = "linear",
    antialias: bool = True,
    fill: float | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> NDArray[Any]:
    """Values of ``array`` at ``matrix @ index`` for every index of an output of ``shape``.

    Args:
        array: ``(channel, slice, row, column)``.
        matrix: 4x4, from output index to (fractional) input index.
        shape: Output slices, rows, columns.
        interpolation: See `resample`.
        antialias: See `resample`.
        fill: See `resample`.
        spacing: Spacing of the input in mm; only its ratios matter (thick axis).

    Returns:
        ``(channel, *shape)``; the input's dtype for ``"nearest"``, else float32.

    Example:
        >>> back_to_front = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1]])
        >>> row = np.arange(4).reshape(1, 1, 1, 4)
        >>> resample_array(row, back_to_front, (1, 1, 4), interpolation="nearest").ravel().tolist()
        [3, 2, 1, 0]
    """
    orders = _axis_orders(interpolation, spacing)
    source = array if interpolation == "nearest" else array.astype(np.float32)
    if interpolation != "nearest" and antialias:
        source = _smooth(source, _shrink_factors(matrix))
    out = np.empty((len(array), *shape), dtype=source.dtype)
    for channel, values in enumerate(source):
        _sample(values, matrix, orders, out[channel])
    if fill is not None:
        _fill_outside(out, matrix, array.shape[1:], fill)
    return out


def _axis_orders(interpolation: Interpolation, spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    order = _ORDERS[interpolation]
    ratio = np.asarray(spacing) / min(spacing)
    a, b, c = (1 if order > 1 and r >= THICK_AXIS_RATIO else order for r in ratio)
    return a, b, c


def _shrink_factors(matrix: Affine) -> NDArray[np.float64]:
    """How many input voxels one output step spans, along each input axis (at least 1)."""
    factors: NDArray[np.float64] = np.maximum(1.0, np.abs(matrix[:3, :3]).max(axis=1))
    return factors


def _smooth(source: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Gaussian along shrinking axes; its variance is what a box of ``factor`` voxels adds to a box of one."""
    from scipy import ndimage

    for axis, factor in enumerate(factors, start=1):
        if factor > 1.01 and source.shape[axis] > 1:
            sigma = float(np.sqrt((factor**2 - 1) / 12))
            source = ndimage.gaussian_filter1d(source, sigma, axis=axis, mode="nearest")
    return source


def _sample(values: NDArray[Any], matrix: Affine, orders: tuple[int, int, int], out: NDArray[Any]) -> None:
    from scipy import ndimage

    linear, offset = matrix[:3, :3], matrix[:3, 3]
    scale = np.diag(linear)
    separable = np.allclose(linear, np.diag(scale), atol=1e-9)
    if separable and len(set(orders)) > 1:
        # thick axis: each axis by itself with its own order
        for axis, order in enumerate(orders):
            step, shift = np.ones(3), np.zeros(3)
            step[axis], shift[axis] = scale[axis], offset[axis]
            size = list(values.shape)
            size[axis] = out.shape[axis]
            values = ndimage.affine_transform(values, step, shift, tuple(size), order=order, mode="nearest")
        out[:] = values
        return
    order = min(orders)
    if order == 0:
        # scipy rounds halves to even; a fixed rule keeps flips and crops exact
        offset = offset + 1e-9
    ndimage.affine_transform(
        values, scale if separable else linear, offset, out.shape, output=out, order=order, mode="nearest"
    )


def _fill_outside(out: NDArray[Any], matrix: Affine, source_shape: tuple[int, ...], fill: float) -> None:
    """Set voxels whose place is more than half a voxel outside the source, slice by slice to bound memory."""
    rows, columns = np.meshgrid(np.arange(out.shape[2]), np.arange(out.shape[3]), indexing="ij")
    for z in range(out.shape[1]):
        outside = np.zeros(rows.shape, dtype=bool)
        for axis, size in enumerate(source_shape):
            place = matrix[axis, 0] * z + matrix[axis, 1] * rows + matrix[axis, 2] * columns + matrix[axis, 3]
            outside |= (place < -0.5 - 1e-6) | (place > size - 0.5 + 1e-6)
        out[:, z][:, outside] = fill


def resample_labels(encoded: NDArray[np.uint8], source: Grid, target: Grid, *, ignore: int = 255) -> NDArray[np.uint8]:
    """Encoded targets on another grid: each structure's mask is interpolated and the largest share wins.

    Finer than nearest neighbour (no jagged borders, thin structures survive longer), and no structure is blended with
    another's number.

    Args:
        encoded: ``(1, ...)`` numbers 0..K of exclusive structures, or ``(structure, ...)`` of 0 and 1.
        source: Grid of ``encoded``.
        target: Grid wanted.
        ignore: Value that marks unannotated voxels; taken by nearest neighbour, and by what lies outside ``source``.

    Returns:
        The same channels on ``target``.

    Example:
        >>> row = Grid.regular((1, 1, 8), spacing_mm=(1, 1, 1))
        >>> resample_labels(np.array([[[[0, 0, 0, 2, 2, 2, 1, 1]]]], np.uint8), row, row.respaced((1, 1, 2))).tolist()
        [[[[0, 2, 2, 1]]]]
    """
    if source == target:
        return encoded
    matrix = target.index_map_to(source)
    plain = np.round(matrix)
    if np.allclose(matrix, plain, atol=1e-6) and np.allclose(np.abs(plain[:3, :3]).sum(0), 1):
        exact = resample_array(encoded, plain, target.shape, interpolation="nearest", fill=ignore)
        return np.asarray(exact, dtype=np.uint8)
    out = np.zeros((len(encoded), *target.shape), np.uint8)
    for channel, labels in enumerate(encoded):
        left = np.ones(target.shape, np.float32)  # share of the background
        best = np.zeros(target.shape, np.float32)
        for value in (int(v) for v in np.unique(labels) if v != 0):
            box, share = _share(labels == value, matrix, target.shape)
            left[box] -= share
            if value == ignore:  # takes no part in the vote
                continue
            wins = share > best[box]
            out[channel][box][wins] = value
            best[box][wins] = share[wins]
        out[channel][left > best] = 0
        if (labels == ignore).any():
            lost = resample_array(
                (labels == ignore)[None].astype(np.uint8), matrix, target.shape, interpolation="nearest"
            )
            out[channel][lost[0] > 0] = ignore
    _fill_outside(out, matrix, source.shape, ignore)
    return out


def _share(
    mask: NDArray[np.bool_], matrix: Affine, shape: tuple[int, int, int]
) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]]:
    """Interpolated share of a mask in the voxels of the output that it can reach, and where they are."""
    box = _target_box(mask, matrix, shape)
    here = np.eye(4)
    here[:3, 3] = [b.start for b in box]
    z, y, x = (b.stop - b.start for b in box)
    return box, resample_array(mask[None].astype(np.float32), matrix @ here, (z, y, x), interpolation="linear")[0]


def _target_box(mask: NDArray[np.bool_], matrix: Affine, shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    """Part of the output that a mask of the input can reach."""
    ends = []
    for axis, reach in enumerate(np.ceil(_shrink_factors(matrix)).astype(int) + 1):  # of kernel and smoothing
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        ends.append((int(hit[0] - reach), int(hit[-1] + reach)))
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    places = np.linalg.solve(matrix[:3, :3], (corners - matrix[:3, 3]).T).T
    low = np.clip(np.floor(places.min(0)).astype(int), 0, np.asarray(shape) - 1)
    high = np.clip(np.ceil(places.max(0)).astype(int) + 1, low + 1, shape)
    a, b, c = (slice(int(i), int(j)) for i, j in zip(low, high, strict=True))
    return a, b, c
