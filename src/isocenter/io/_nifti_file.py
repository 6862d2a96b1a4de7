"""Bytes of a NIfTI file: header, voxels, gzip. nibabel parses the header; voxels are read straight into place."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError, GeometryError
from isocenter.io._gzip import open_inflated, packer, stream_faults
from isocenter.io.files import atomic_path
from isocenter.volume import Grid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import DTypeLike, NDArray

__all__ = ["NiftiHeader", "read_header", "read_voxels", "write_frames", "write_voxels"]

_LOG = logging.getLogger(__name__)
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, millimetre, micrometre
_GZIP_MAX_RATIO = 1100  # deflate cannot do better than 1032 to 1
_SLAB_BYTES = 1 << 24


@dataclass(frozen=True)
class NiftiHeader:
    """What the head of a file says. ``raw`` is nibabel's header object."""

    path: Path
    raw: Any

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """As in the file: ``(i, j, k, ...)``."""
        return tuple(int(n) for n in self.raw.get_data_shape())

    @cached_property
    def channels(self) -> int:
        """Product of what lies beyond the third axis."""
        return int(np.prod(self.shape[3:], dtype=np.int64))

    @cached_property
    def grid(self) -> Grid:
        """Where the voxels are, LPS ``(slice, row, column)``."""
        i, j, k = (*self.shape[:3], 1, 1)[:3]
        affine = _LPS_FROM_RAS @ _ras_affine(self)
        try:
            return Grid((k, j, i), affine[:, [2, 1, 0, 3]])
        except GeometryError as error:
            raise GeometryError(f"{self.path}: {error}; set a valid sform in the file") from None


def _ras_affine(header: NiftiHeader) -> NDArray[np.float64]:
    raw = header.raw
    try:
        if int(raw["sform_code"]) > 0:
            affine = raw.get_sform()
        elif int(raw["qform_code"]) > 0:
            affine = raw.get_qform()
        else:
            _LOG.warning("%s: states no orientation (sform and qform code 0); sides are a convention", header.path)
            affine = raw.get_base_affine()
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, _header_fault()) as error:
        raise GeometryError(f"{header.path}: the qform is not a rotation ({error}); set a valid sform") from error
    affine = np.array(affine, dtype=np.float64)
    affine[:3] *= _MM_PER_UNIT.get(int(raw["xyzt_units"]) & 7, 1.0)
    return affine


def _header_fault() -> type[Exception]:
    from nibabel.spatialimages import HeaderDataError

    return HeaderDataError


def read_header(path: str | Path) -> NiftiHeader:
    """Parse and check the header.

    Raises:
        FileFormatError: Missing, truncated, not NIfTI, or voxels that are not plain numbers.
    """
    import nibabel as nib
    from nibabel.wrapstruct import WrapStructError

    path = Path(path)
    try:
        with open_inflated(path) as file:
            head = file.read(540)
    except FileNotFoundError as error:
        raise FileFormatError(f"{path}: does not exist; check the path") from error
    except stream_faults() as error:
        raise FileFormatError(f"{path}: cannot be read ({_reason(error)}); copy or export it again") from error
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    kind = nib.Nifti1Header if 348 in sizes else nib.Nifti2Header if 540 in sizes else None
    if kind is None or len(head) < min(sizes & {348, 540}):
        raise FileFormatError(f"{path}: not a NIfTI file (no NIfTI header at its start); give a .nii or .nii.gz")
    try:
        raw = kind(head[: kind.sizeof_hdr], check=True)  # type: ignore[no-untyped-call]
    except (_header_fault(), WrapStructError, ValueError, KeyError) as error:
        raise FileFormatError(f"{path}: damaged NIfTI header ({error}); export it again") from error
    header = NiftiHeader(path, raw)
    _check_header(header)
    return header


def _check_header(header: NiftiHeader) -> None:
    path, raw = header.path, header.raw
    if bytes(raw["magic"])[:2] != b"n+":
        raise FileFormatError(f"{path}: header without voxels (.hdr/.img pair or Analyze); convert it to .nii.gz")
    if not header.shape or min(header.shape) < 1 or len(header.shape) > 7:
        raise FileFormatError(f"{path}: dimensions {header.shape} are not positive; export it again")
    try:
        dtype = raw.get_data_dtype()
    except (KeyError, _header_fault()) as error:
        raise FileFormatError(f"{path}: data type code {int(raw['datatype'])} is unknown; export it again") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise FileFormatError(f"{path}: voxels of type {dtype} are not plain numbers; convert to int16 or float32")
    start = float(raw["vox_offset"])
    need = start + dtype.itemsize * float(np.prod([float(n) for n in header.shape]))
    size = path.stat().st_size
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if not np.isfinite(need) or start < 0 or need > size * (_GZIP_MAX_RATIO if packed else 1):
        raise FileFormatError(
            f"{path}: truncated: {need:.0f} bytes are declared by shape {header.shape}, the file has {size}"
            f"{' (gzip)' if packed else ''}; copy or export it again"
        )


def read_voxels(header: NiftiHeader, channel: int | None) -> NDArray[Any]:
    """Voxels as ``(slice, row, column)``, scaled, in native byte order.

    Raises:
        FileFormatError: Several channels and no choice, or the file ends early or is damaged.
    """
    path, raw = header.path, header.raw
    if channel is None and header.channels > 1:
        raise FileFormatError(
            f"{path}: shape {header.shape} holds {header.channels} images, one is needed; choose a channel or split it"
        )
    if channel is not None and not 0 <= channel < header.channels:
        raise FileFormatError(f"{path}: channel {channel} asked for, it has {header.channels} (0 is the first)")
    stored = np.empty(header.grid.shape, dtype=raw.get_data_dtype())
    try:
        with open_inflated(path) as file:
            file.seek(int(raw["vox_offset"]) + stored.nbytes * (channel or 0))
            _read_into(path, file, stored)
    except stream_faults() as error:
        raise FileFormatError(f"{path}: truncated or damaged ({_reason(error)}); copy or export it again") from error
    native = np.dtype(f"{stored.dtype.kind}{stored.dtype.itemsize}")
    return _scaled(header, stored.astype(native, copy=False).view(native))


def _read_into(path: Path, file: IO[bytes], stored: NDArray[Any]) -> None:
    view = memoryview(stored.reshape(-1).view(np.uint8).data)
    done = 0
    while done < len(view):
        part = file.read(min(_SLAB_BYTES, len(view) - done))
        if not part:
            raise FileFormatError(
                f"{path}: truncated: {done} of {len(view)} bytes of voxels are there; copy or export it again"
            )
        view[done : done + len(part)] = part
        done += len(part)


def _scaled(header: NiftiHeader, stored: NDArray[Any]) -> NDArray[Any]:
    slope, inter = header.raw.get_slope_inter()
    if slope is None or (slope == 1 and not inter):
        return stored
    # slice by slice in double, so that float32 is the correctly rounded result and memory stays bounded
    out = np.empty(stored.shape, np.float32)
    for k, plane in enumerate(stored):
        out[k] = plane.astype(np.float64) * float(slope) + float(inter or 0.0)
    return out


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def write_voxels(path: str | Path, array: NDArray[Any], grid: Grid) -> None:
    """Write ``(channel, slice, row, column)`` with its header, slab by slab."""
    write_frames(path, array, grid, count=len(array), dtype=array.dtype)


def write_frames(
    path: str | Path,
    frames: Iterable[NDArray[Any]],
    grid: Grid,
    *,
    count: int,
    dtype: DTypeLike,
    step_s: float | None = None,
) -> None:
    """Write ``count`` arrays ``(slice, row, column)``, each taken when the one before it is written."""
    stored = np.dtype(dtype).newbyteorder("=")
    header = _new_header(grid, stored, count, step_s)
    written = 0
    with atomic_path(path) as part, part.open("wb") as file:
        out = packer(file) if str(path).endswith(".gz") else file
        out.write(header.binaryblock)
        out.write(bytes(header.single_vox_offset - len(header.binaryblock)))
        for frame in frames:
            if frame.shape != grid.shape or not np.can_cast(frame.dtype, stored):
                raise ValueError(f"{frame.dtype} {frame.shape} is no part of {stored} {grid.shape}")
            for plane in frame:
                out.write(np.ascontiguousarray(plane, dtype=stored).tobytes())
            written += 1
        if written != count:
            raise ValueError(f"{written} arrays came, {count} were announced")
        if out is not file:
            out.close()


def _new_header(grid: Grid, dtype: np.dtype[Any], count: int, step_s: float | None) -> Any:
    import nibabel as nib

    k, j, i = grid.shape
    header = nib.Nifti1Header() if max(*grid.shape, count) < 32768 else nib.Nifti2Header()
    header.set_data_dtype(dtype)
    header.set_data_shape((i, j, k) if count == 1 else (i, j, k, count))
    affine = _LPS_FROM_RAS @ grid.affine[:, [2, 1, 0, 3]]
    if step_s is None:
        header.set_xyzt_units("mm")
    else:
        header.set_xyzt_units("mm", "sec")
        header["pixdim"][4] = step_s
    header.set_qform(affine, code=0, strip_shears=True)
    header.set_sform(affine, code="scanner")
    if np.allclose(header.get_qform(coded=False), affine, atol=1e-4):
        header["qform_code"] = 1
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    header.set_slope_inter(1, 0)
    return header
