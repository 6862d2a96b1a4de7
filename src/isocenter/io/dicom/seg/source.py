"""The images a segmentation is drawn on: their planes, and how a segmentation refers to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import ConfigError, GeometryError, IsocenterError, SeriesError
from isocenter.io.dicom.header import NotDicomError, read_header, tag_name
from isocenter.io.dicom.planes import STRICT, GeometryPolicy, Planes
from isocenter.io.dicom.radiograph import is_placed
from isocenter.io.dicom.series import Series
from isocenter.io.dicom.stack import Stack
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["Source", "matched", "reindexed", "source_stacks"]

_SAME_MM = 0.01
_ALLOWED = [
    STRICT,
    *(GeometryPolicy(spacing="resample"), GeometryPolicy(missing="fill"), GeometryPolicy(tilt="rectify")),
    *(GeometryPolicy(spacing="resample", missing="fill"), GeometryPolicy(spacing="resample", tilt="rectify")),
    *(GeometryPolicy(missing="fill", tilt="rectify"), GeometryPolicy(0.01, "rectify", "resample", "fill")),
]
"""What a volume of the source may have been read with."""


@dataclass(frozen=True)
class Source:
    """Where the planes of a segmentation lie, and on which images.

    Attributes:
        stack: The images.
        planes: Of the segmentation.
        headers: The image at the very place of each plane; ``None`` where there is none (resampled stacks).
    """

    stack: Stack
    planes: Planes
    headers: tuple[Header | None, ...]


def source_stacks(source: Stack | Sequence[str | Path]) -> tuple[Stack, ...]:
    """The stacks in the files of one series.

    Raises:
        SeriesError: The files are not those of one series.
        ConfigError: There are none.
    """
    if isinstance(source, Stack):
        return (source,)
    if not source:
        raise ConfigError("a segmentation needs the files of its source series; none are given")
    try:
        headers = tuple(read_header(file) for file in source)
    except NotDicomError as error:
        raise SeriesError(f"{error}: not a DICOM file; give the files of the source series") from None
    uids = sorted({h.text("SeriesInstanceUID") for h in headers})
    if len(uids) > 1:
        raise SeriesError(f"source files are of {len(uids)} series ({uids[0]}, {uids[1]} ...); give those of one")
    return Series(uids[0], headers[0].text("StudyInstanceUID"), headers).stacks()


def matched(masks: Volume | NDArray[Any], stacks: Sequence[Stack]) -> tuple[NDArray[Any], Source]:
    """Masks in the order of their planes, and the stack whose voxels they lie on.

    Raises:
        GeometryError: They lie on the voxels of none.
        SeriesError: They lie on those of several, or the stack is not one that can be referred to.
    """
    fits = [_on_stack(masks, stack) for stack in stacks]
    found = [fit for fit in fits if not isinstance(fit, IsocenterError)]
    if not found:
        raise next(fit for fit in fits if isinstance(fit, IsocenterError))
    if len(found) > 1:
        labels = ", ".join(source.stack.label for _, source in found[:4])
        raise SeriesError(
            f"the source holds {len(found)} volumes on these voxels ({labels} ...); give the Stack of one"
        )
    return found[0]


def _check(stack: Stack) -> None:
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        for header in stack.headers:
            if not header.text(keyword):
                raise SeriesError(f"{header.file}: {tag_name(keyword)} is absent, so nothing can refer to it")


def _on_stack(masks: Volume | NDArray[Any], stack: Stack) -> tuple[NDArray[Any], Source] | IsocenterError:
    try:
        if not is_placed(stack.headers[0]):
            raise SeriesError(
                f"{stack.headers[0].file}: a projection without ImagePositionPatient (0020,0032); segmentations are"
                " written on slices"
            )
        _check(stack)
        if isinstance(masks, Volume):
            return _on_grid(masks, stack)
        return _on_slices(masks, stack)
    except IsocenterError as error:
        return error


def _on_slices(masks: NDArray[Any], stack: Stack) -> tuple[NDArray[Any], Source]:
    array = masks[None] if masks.ndim == 3 else masks
    planes = stack.planes
    if array.ndim != 4 or array.shape[1:] != (len(stack), *planes.shape):
        raise GeometryError(
            f"masks of shape {masks.shape} are not on the {len(stack)} slices of {planes.shape[0]} x"
            f" {planes.shape[1]} of the source series; give (structure, slice, row, column) in the order of its Stack"
        )
    return array, Source(stack, planes, stack.headers)


def _on_grid(masks: Volume, stack: Stack) -> tuple[NDArray[Any], Source]:
    """On the voxels of the stack, or on those that it has once it is rectified, resampled or filled."""
    first: IsocenterError | None = None
    for policy in _ALLOWED:
        try:
            grid = stack.grid(policy)
            array = reindexed(masks, grid).array
        except GeometryError as error:
            first = first or error
            continue
        if policy == STRICT:
            return array, Source(stack, stack.planes, stack.headers)
        planes = _planes(grid)
        return array, Source(stack, planes, _at(planes, stack))
    raise first or GeometryError(f"series {stack.uid}: is no volume")


def _planes(grid: Grid) -> Planes:
    count = grid.shape[0]
    along = grid.directions.T
    return Planes(
        position=grid.to_world(np.stack([np.arange(count), np.zeros(count), np.zeros(count)], axis=1)),
        across=np.tile(along[2], (count, 1)),
        down=np.tile(along[1], (count, 1)),
        spacing=np.tile(grid.spacing_mm[1:], (count, 1)),
        shape=grid.shape[1:],
    )


def _at(planes: Planes, stack: Stack) -> tuple[Header | None, ...]:
    """The image of ``stack`` at the place of each plane."""
    if planes.shape != stack.planes.shape:
        return (None,) * len(planes.position)
    apart = np.linalg.norm(planes.position[:, None] - stack.planes.position[None], axis=-1)
    return tuple(stack.headers[int(row.argmin())] if row.min() <= _SAME_MM else None for row in apart)


def reindexed(volume: Volume, grid: Grid) -> Volume:
    """``volume`` with its axes ordered and directed as those of ``grid``, on exactly the same voxels.

    Raises:
        GeometryError: The voxels are not the same.
    """
    matrix = volume.grid.index_map_to(grid)[:3, :3]
    turn = np.rint(matrix)
    if (np.abs(turn).sum(axis=0) == 1).all() and (np.abs(turn).sum(axis=1) == 1).all():
        order = [int(np.abs(turn[axis]).argmax()) for axis in range(3)]
        flips = [axis for axis in range(3) if turn[axis].sum() < 0]
        volume = volume.permute(order).flip(flips)
    difference = volume.grid.difference(grid)
    if difference:
        raise GeometryError(f"masks are not on the voxels of the source series ({difference}); resample them first")
    return volume
