"""NIfTI-1 and NIfTI-2 (``.nii``, ``.nii.gz``): the border between RAS+ ``(i, j, k)`` and LPS ``(slice, row, column)``.

A file's index ``(i, j, k)`` is our ``(column, row, slice)``: bytes are kept in their order, only the names of the axes
turn round. Where voxels are follows the NIfTI-1 definition (nifti.nimh.nih.gov): the sform where ``sform_code`` > 0,
else the qform where ``qform_code`` > 0, else the voxel sizes alone with the volume centred on the origin and the
first axis running to the left, as nibabel and SPM do; the last is logged as a warning, because sides and position are
then convention, not fact. Lengths in metres or micrometres (``xyzt_units``) are turned into millimetres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from isocenter.errors import ConfigError, LabelError, ValueRangeError
from isocenter.io._nifti_file import read_header, read_voxels, write_frames, write_voxels
from isocenter.volume import Grid, Unit, Volume

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

__all__ = [
    "nifti_channels",
    "read_label_nifti",
    "read_nifti",
    "read_nifti_grid",
    "write_nifti",
    "write_nifti_frames",
]

_LABEL_DTYPES = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)


def read_nifti(
    path: str | Path, *, unit: Unit = "a.u.", check_values: bool = True, channel: int | None = None
) -> Volume:
    """Read an image.

    Args:
        path: ``.nii`` or ``.nii.gz``, two- or three-dimensional, or four-dimensional with one entry or ``channel``.
        unit: What a value means; NIfTI does not say.
        check_values: Refuse values that no image has: NaN, infinite, or all equal.
        channel: Which entry of the fourth axis to read, for files that hold several images.

    Returns:
        One channel. The stored data type where the file has no scaling, else float32.

    Raises:
        FileFormatError: The file is missing, truncated, not NIfTI, or of a kind that has no single image in it.
        GeometryError: Its affine is singular or not finite.
        ValueRangeError: See ``check_values``.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "ct.nii.gz"
        >>> grid = Grid.regular((2, 3, 4), spacing_mm=(5, 1, 1))
        >>> write_nifti(path, Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), grid))
        >>> ct = read_nifti(path, unit="HU")
        >>> ct.grid.spacing_mm, ct.array.dtype, int(ct.array[0, 1, 2, 3])
        ((5.0, 1.0, 1.0), dtype('int16'), 23)
    """
    header = read_header(path)
    array = read_voxels(header, channel)
    if check_values:
        _check_values(path, array)
    return Volume(array, header.grid, unit)


def read_label_nifti(path: str | Path) -> Volume:
    """Read a label map.

    Returns:
        One channel of unit ``"label"``, in the smallest integer type that holds its values.

    Raises:
        FileFormatError: See `read_nifti`.
        GeometryError: See `read_nifti`.
        LabelError: A value is not a whole number.
    """
    header = read_header(path)
    array = read_voxels(header, None)
    if array.dtype.kind == "f":
        whole = np.rint(array)
        wrong = (whole != array) | np.isinf(array)  # NaN differs from itself
        if wrong.any():
            value = array[wrong].flat[0]
            raise LabelError(f"{path}: label value {value:g} is not a whole number; is this an image, or interpolated?")
        array = whole
    low, high = int(array.min()), int(array.max())
    for dtype in _LABEL_DTYPES:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return Volume(array.astype(dtype, copy=False), header.grid, "label")
    raise LabelError(f"{path}: label values from {low} to {high} fit no integer type; is this an image?")


def read_nifti_grid(path: str | Path) -> Grid:
    """Where the voxels of a file are, from its header alone.

    Raises:
        FileFormatError: See `read_nifti`.
        GeometryError: See `read_nifti`.
    """
    return read_header(path).grid


def nifti_channels(path: str | Path) -> int:
    """How many images the file holds along its fourth axis; 1 for a three-dimensional one.

    Raises:
        FileFormatError: See `read_nifti`.
    """
    return read_header(path).channels


def write_nifti(path: str | Path, volume: Volume) -> None:
    """Write a volume; several channels go along the fourth axis.

    Bytes depend on nothing but the volume. The sform holds the full affine; the qform too where the grid has no
    shear, which it cannot express.

    Args:
        path: ``.nii`` or ``.nii.gz``; appears whole or not at all.
        volume: bool is written as uint8, float16 as float32, 64-bit integers as int32.

    Raises:
        ConfigError: The name does not end in ``.nii`` or ``.nii.gz``, or the place cannot be written to.
        ValueRangeError: 64-bit integers that do not fit 32 bits (few programs read them).
    """
    _check_name(path)
    write_voxels(path, _storable(path, volume.array), volume.grid)


def write_nifti_frames(
    path: str | Path,
    frames: Iterable[NDArray[Any]],
    grid: Grid,
    *,
    count: int,
    dtype: DTypeLike,
    step_s: float | None = None,
) -> None:
    """Write a series of volumes on one grid along the fourth axis, with one of them in memory at a time.

    Args:
        path: See `write_nifti`.
        frames: Arrays ``(slice, row, column)`` that cast to ``dtype`` without loss.
        grid: Of each of them.
        count: How many they are.
        dtype: Of the file: 8, 16 or 32-bit integers, or float32.
        step_s: Time from one to the next, in seconds, where that is what the fourth axis means.

    Raises:
        ConfigError: See `write_nifti`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "beat.nii.gz"
        >>> grid = Grid.regular((2, 3, 4), spacing_mm=(8, 1, 1))
        >>> frames = (np.full(grid.shape, n, np.int16) for n in range(5))
        >>> write_nifti_frames(path, frames, grid, count=5, dtype=np.int16, step_s=0.04)
        >>> nifti_channels(path)
        5
    """
    _check_name(path)
    write_frames(path, frames, grid, count=count, dtype=dtype, step_s=step_s)


def _check_name(path: str | Path) -> None:
    if not str(path).endswith((".nii", ".nii.gz")):
        raise ConfigError(f"{path}: a NIfTI file is named .nii or .nii.gz; rename it")


def _storable(path: str | Path, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        low, high = int(array.min()), int(array.max())
        if low < -(2**31) or high >= 2**31:
            raise ValueRangeError(f"{path}: values from {low} to {high} do not fit int32; convert to float first")
        return array.astype(np.int32)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise ValueRangeError(f"{path}: values of type {array.dtype} cannot be written as NIfTI; convert to float32")
    return array


def _check_values(path: str | Path, array: NDArray[Any]) -> None:
    low, high = cast("float", array.min()), cast("float", array.max())  # NaN carries over to both
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = ~np.isfinite(array)
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueRangeError(
            f"{path}: {int(bad.sum())} voxels are NaN or infinite, the first at (slice, row, column) {place};"
            " replace them in the file"
        )
    if low == high:
        raise ValueRangeError(f"{path}: every voxel is {low:g}; an image cannot be constant, check how it was made")
