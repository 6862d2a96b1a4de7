"""Values of an image at the voxel centres of another grid.

One door, `resample_array`, to three ways: grids whose axes are parallel are resampled axis by axis
(`isocenter.volume.separable`), others in one pass with the same weights (`isocenter.volume.turned`), and nearest
neighbours are only moved. Cubic is Catmull-Rom, which passes through the samples. When an axis shrinks, the kernel is
widened along it, because voxels of a coarser image are averages, not samples. Thick-slice images (one axis at least
three times as coarse as the others) get linear interpolation along the thick axis even where cubic was asked for: cubic
overshoots there. Where the two grids are turned against each other the axes cannot be treated apart, and such images
get linear throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError
from isocenter.volume.grid import Affine, Grid
from isocenter.volume.mapping import AxisMap, aligned_axes, inside_range, shrink_factors
from isocenter.volume.volume import Volume

if TYPE_CHECKING:
    from isocenter.volume.taps import AxisTaps

__all__ = ["THICK_AXIS_RATIO", "Interpolation", "axis_tables", "fill_beyond", "resample", "resample_array"]

Interpolation = Literal["nearest", "linear", "cubic"]
THICK_AXIS_RATIO = 3.0


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
        interpolation: ``"nearest"`` keeps the data type (labels); ``"linear"`` and ``"cubic"`` (Catmull-Rom) give
            float32.
        antialias: Widen the kernel along axes that become coarser (ignored for ``"nearest"``).
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

    int16, uint8 and float32 are read as they lie in memory, turned and flipped views too; other types are converted
    to float32 first. The result is the same, bit for bit, whatever the number of threads.

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
    from isocenter.volume.nearest import nearest_axes  # compiled code is loaded when it is needed
    from isocenter.volume.separable import resample_axes
    from isocenter.volume.turned import nearest_turned, resample_turned

    maps = aligned_axes(matrix, shape)
    out = np.empty((len(array), *shape), array.dtype if interpolation == "nearest" else np.float32)
    cubic = cubic_axes(interpolation, spacing)
    widen = shrink_factors(matrix) if antialias else (1.0, 1.0, 1.0)
    tables = axis_tables(array.shape[1:], maps, cubic, widen) if maps and interpolation != "nearest" else []
    for values, place in zip(array, out, strict=True):
        if tables and maps:
            resample_axes(values, tables, [m.axis for m in maps], place)
        elif maps:
            nearest_axes(values, maps, place)
        elif interpolation == "nearest":
            nearest_turned(values, matrix, place, fill=fill)
        else:
            resample_turned(values, matrix, place, widen=widen, cubic=all(cubic), fill=fill)
    if maps and fill is not None:
        fill_beyond(out, maps, array.shape[1:], fill)
    return out


def cubic_axes(interpolation: Interpolation, spacing: tuple[float, float, float]) -> tuple[bool, bool, bool]:
    """Along which axes of the input interpolation is cubic."""
    a, b, c = (interpolation == "cubic" and s < THICK_AXIS_RATIO * min(spacing) for s in spacing)
    return a, b, c


def axis_tables(
    sizes: Sequence[int], maps: Sequence[AxisMap], cubic: Sequence[bool], widen: Sequence[float]
) -> list[AxisTaps]:
    """Weights along each axis of an input of ``sizes``."""
    from isocenter.volume.taps import axis_taps

    return [axis_taps(n, m.places, cubic=c, widen=w) for n, m, c, w in zip(sizes, maps, cubic, widen, strict=True)]


def fill_beyond(out: Any, maps: Sequence[AxisMap], sizes: Sequence[int], fill: float) -> None:
    """Set what lies more than half a voxel outside a source of ``sizes``; ``out`` is an array or tensor of channels."""
    for m, size in zip(maps, sizes, strict=True):
        low, high = inside_range(m.places, size)
        before = (slice(None),) * (1 + m.axis)
        out[(*before, slice(None, low))] = fill
        out[(*before, slice(high, None))] = fill
