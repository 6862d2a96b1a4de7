"""One converted image to its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isocenter import __version__
from isocenter.io.files import atomic_path, write_json
from isocenter.io.nifti import write_nifti_frames
from isocenter.workflow.sidecar import sidecar

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from isocenter.io.dicom import GeometryPolicy, Stack
    from isocenter.volume import Grid, Unit
    from isocenter.workflow.joining import Joined

__all__ = ["ROWS", "Written", "write_image"]

ROWS = 1
"""The axis that is turned round, so that rows run to the front: the order that FSL calls radiological, as dcm2niix."""
_INT16 = np.dtype(np.int16)


@dataclass(frozen=True)
class Written:
    """Files of one image.

    Attributes:
        files: Their names in the folder, the NIfTI file first.
        series: Number of the series.
        modality: DICOM modality.
        shape: Slices, rows, columns, and volumes where there are several.
        spacing_mm: Of slices, rows, columns.
        unit: What a value means: ``"HU"``, ``"SUVbw"``, ``"a.u."``, ``"label"``.
        flags: What was done to the image, or is unusual in it.
        keys: What tells it from the other images of its series.
        sources: Number of DICOM files it was read from.
    """

    files: tuple[str, ...]
    series: str
    modality: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    unit: str
    flags: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    sources: int = 1


class _NotWholeError(Exception):
    """A volume has values that are not 16-bit integers."""


def write_image(
    folder: Path, name: str, image: Joined, *, policy: GeometryPolicy, suv: bool = False, anonymous: bool = False
) -> Written:
    """Write ``name.nii.gz`` and ``name.json``; of diffusion-weighted volumes ``name.bval`` and ``name.bvec`` too."""
    unit: Unit = "SUVbw" if suv else image.unit
    wanted: Literal["SUVbw"] | None = "SUVbw" if suv else None
    flags = list(dict.fromkeys(flag for stack in image.stacks for flag in stack.flags(policy, unit=wanted)))
    if image.left_out:
        flags.append(f"{image.left_out} of {image.left_out + len(image.stacks)} volumes could not be used")
    constant: list[int] = []
    _write_voxels(folder / f"{name}.nii.gz", image, policy, wanted, constant)
    if constant:
        flags.append(f"{len(constant)} volume(s) have the same value everywhere")
    more = _write_diffusion(folder, name, image, flags)
    fields = sidecar(image, anonymous=anonymous)
    own: dict[str, Any] = {"flags": flags, "unit": unit, "keys": image.keys, "files": len(image.files)}
    if len(image.stacks) > 1:
        own["volumes"] = [dict(stack.keys) for stack in image.stacks]
    made = {"ConversionSoftware": "Isocenter", "ConversionSoftwareVersion": __version__, "Isocenter": own}
    write_json(folder / f"{name}.json", fields | made)
    shape = image.grid.shape if len(image.stacks) == 1 else (*image.grid.shape, len(image.stacks))
    return Written(
        files=(f"{name}.nii.gz", f"{name}.json", *(f"{name}{suffix}" for suffix in more)),
        series=image.series.headers[0].text("SeriesNumber"),
        modality=image.series.modality,
        shape=shape,
        spacing_mm=rounded(image.grid),
        unit=unit,
        flags=tuple(flags),
        keys=image.keys,
        sources=len(image.files),
    )


def rounded(grid: Grid) -> tuple[float, float, float]:
    """Spacing of slices, rows and columns in mm, to a tenth of a micrometre."""
    z, y, x = (round(step, 4) for step in grid.spacing_mm)
    return z, y, x


def _write_voxels(
    path: Path, image: Joined, policy: GeometryPolicy, unit: Literal["SUVbw"] | None, constant: list[int]
) -> None:
    def volumes(dtype: DTypeLike) -> Iterator[NDArray[Any]]:
        constant.clear()
        for number, stack in enumerate(image.stacks):
            array = _read(stack, image.grid, policy, unit)
            if dtype == _INT16 and not np.can_cast(array.dtype, _INT16):
                raise _NotWholeError
            if array.min() == array.max():
                constant.append(number)
            yield np.flip(array, ROWS)

    def write(dtype: DTypeLike) -> None:
        grid, count = image.grid.flip([ROWS]), len(image.stacks)
        write_nifti_frames(path, volumes(dtype), grid, count=count, dtype=dtype, step_s=image.step_s)

    try:
        write(_INT16)
    except _NotWholeError:
        write(np.float32)


def _read(stack: Stack, grid: Grid, policy: GeometryPolicy, unit: Literal["SUVbw"] | None) -> NDArray[Any]:
    # asked for by slices, an image may be constant: that is for a network to refuse, not for a converter
    array: NDArray[Any] = stack.volume(policy, slices=(0, grid.shape[0]), unit=unit).array[0]
    return array


def _write_diffusion(folder: Path, name: str, image: Joined, flags: list[str]) -> list[str]:
    """Weightings and directions as FSL reads them; the suffixes of the files written.

    Directions are along the axes of the file: of its columns, of its rows and of its slices; the first with its sign
    turned round where the file is stored as FSL calls it neurological (positive determinant).
    """
    weightings = image.weightings() if len(image.stacks) > 1 else None
    if weightings is None:
        return []
    _write_text(folder / f"{name}.bval", " ".join(f"{b:g}" for b in weightings))
    directions = image.directions()
    if directions is None:
        flags.append("the headers do not state every gradient direction, so there is no .bvec")
        return [".bval"]
    axes = image.grid.flip([ROWS]).directions[:, ::-1].copy()  # columns, rows, slices; in LPS
    handed = np.sign(np.linalg.det(axes))  # in RAS the same, since two axes are turned round
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1]) * handed
    along = np.array(directions) @ axes
    along[:, 0] *= -handed
    _write_text(folder / f"{name}.bvec", "\n".join(" ".join(f"{v + 0.0:.6g}" for v in row) for row in along.T))
    return [".bval", ".bvec"]


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as part:
        part.write_text(text + "\n", encoding="ascii")
