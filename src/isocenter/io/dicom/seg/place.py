"""Where the frames of a segmentation lie: on a grid of their own, or on that of their source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import GeometryError
from isocenter.io.dicom.seg.frames import EACH, SHARED, group, items
from isocenter.volume import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom.seg.frames import Frame, Frames

__all__ = ["Place", "Target", "own_grid"]

_TOLERANCE_MM = 0.01
# slices between frames that are there: a file of two frames must not ask for gigabytes
_MOST_SLICES, _MOST_A_PLANE = 2048, 16


@dataclass(frozen=True)
class Place:
    """Where a frame goes: a slice and a window of rows and columns, after turning the grid's axes to the frame's."""

    order: tuple[int, ...]
    flips: tuple[int, ...]
    start: tuple[int, int, int]
    size: tuple[int, int]

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part of a ``(slice, row, column)`` array that the frame covers, as the frame's rows and columns."""
        z, row, column = self.start
        turned = np.flip(array.transpose(self.order), self.flips)
        return turned[z, row : row + self.size[0], column : column + self.size[1]]


def own_grid(frames: Frames) -> Grid:
    """Smallest regular grid that holds all frames; sheared where their positions run aslant (gantry tilt).

    Raises:
        GeometryError: There is none.
    """
    steps = frames.described[0].steps
    normal = np.cross(steps[1], steps[0])
    normal /= np.linalg.norm(normal)
    positions = np.array([frame.position for frame in frames.described])
    depth = positions @ normal
    gaps = np.diff(np.unique(np.round(depth, 4)))
    for step in _slice_steps(frames, float(gaps.min()) if gaps.size else 0.0):
        affine = _fitted(positions, depth, normal * step)
        index = np.rint((depth - depth.min()) / step)
        if np.abs(index[:, None] * affine[:, 0] + affine[:, 1] - positions).max() <= _TOLERANCE_MM:
            break
    else:
        raise GeometryError(
            f"{frames.path}: its {len(positions)} frames lie on no regular grid (the least gap is"
            f" {gaps.min() if gaps.size else 0:.3f} mm); give the grid of its source series"
        )
    count = 1 + int(index.max())
    if count > _MOST_SLICES + _MOST_A_PLANE * (len(gaps) + 1):
        raise GeometryError(
            f"{frames.path}: frames lie {np.ptp(depth):.0f} mm apart, {step:g} mm a slice; give the grid of its source"
        )
    matrix = np.eye(4)
    matrix[:3] = np.stack([affine[:, 0], steps[0], steps[1], affine[:, 1]], axis=1)
    return Grid((count, *frames.shape), matrix, frames.header.text("FrameOfReferenceUID") or None)


def _slice_steps(frames: Frames, gap: float) -> list[float]:
    """What may be the distance of slices, most trusted first."""
    shared = (*items(frames.header.tags, SHARED), {})[0]
    measures = group(items(frames.header.tags, EACH)[0], shared, "PixelMeasuresSequence")
    stated, thickness = (float(measures.get(k, 0)) for k in ("SpacingBetweenSlices", "SliceThickness"))
    found = [step for step in ((abs(stated), gap) if gap else (abs(stated), thickness)) if 0 < step < np.inf]
    if not found:
        raise GeometryError(f"{frames.path}: states no slice spacing; give the grid of its source series")
    return found


def _fitted(positions: NDArray[np.float64], depth: NDArray[np.float64], step: NDArray[np.float64]) -> Any:
    """``(3, 2)``: step from slice to slice, and position of the first, of the straight line through all frames."""
    index = np.rint((depth - depth.min()) / np.linalg.norm(step))
    if index.max() == 0:
        return np.stack([step, positions[0]], axis=1)
    line, *_ = np.linalg.lstsq(np.stack([index, np.ones_like(index)], axis=1), positions, rcond=None)
    return line.T


@dataclass(frozen=True)
class Target:
    """A grid that frames are placed on."""

    frames: Frames
    grid: Grid
    _turned: dict[bytes, tuple[tuple[int, ...], tuple[int, ...], Grid]] = field(default_factory=dict)

    def place(self, frame: Frame) -> Place:
        """Where a frame lies.

        Raises:
            GeometryError: It does not lie on voxels of the grid.
        """
        key = frame.steps.tobytes()
        if key not in self._turned:
            self._turned[key] = self._turn(frame)
        order, flips, turned = self._turned[key]
        index = turned.to_index(frame.position)
        start = np.rint(index)
        off = float(np.linalg.norm(turned.to_world(start) - frame.position))
        end = start + np.array((0, self.frames.shape[0] - 1, self.frames.shape[1] - 1))
        shown = np.round(frame.position, 3).tolist()
        if off > max(_TOLERANCE_MM, 0.01 * min(self.grid.spacing_mm)):
            raise GeometryError(
                f"{self.frames.path}: a frame at {shown} lies {off:.3f} mm off the voxels of the images;"
                " choose the series it was drawn on"
            )
        if (start < 0).any() or (end >= turned.shape).any():
            raise GeometryError(
                f"{self.frames.path}: a frame at {shown} with foreground lies outside the images;"
                " choose the series it was drawn on"
            )
        z, row, column = (int(i) for i in start)
        return Place(order, flips, (z, row, column), self.frames.shape)

    def _turn(self, frame: Frame) -> tuple[tuple[int, ...], tuple[int, ...], Grid]:
        """Order and flips that bring the axes of the grid to those of the frame, and the grid so turned."""
        grid = self.grid
        # index steps of the grid for one frame row and one frame column
        moves = np.linalg.solve(grid.affine[:3, :3], frame.steps.T).T
        turn = np.rint(moves)
        drift = np.abs((moves - turn) @ np.diag(grid.spacing_mm)).max() * max(self.frames.shape)
        axes = np.abs(turn).argmax(axis=1)
        if drift > _TOLERANCE_MM * 2 or not (np.abs(turn).sum(axis=1) == 1).all() or axes[0] == axes[1]:
            raise GeometryError(
                f"{self.frames.path}: PixelSpacing or ImageOrientationPatient of its frames differ from the images'"
                f" (spacing {grid.spacing_mm} mm); resample it, or give the grid it was drawn on"
            )
        order = (3 - int(axes[0]) - int(axes[1]), int(axes[0]), int(axes[1]))
        flips = tuple(a + 1 for a in range(2) if turn[a].sum() < 0)
        return order, flips, grid.permute(order).flip(flips)
