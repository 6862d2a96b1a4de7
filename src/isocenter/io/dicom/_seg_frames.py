"""Frames of a segmentation: which segment, where, and its pixels; and their place on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError, GeometryError, SeriesError
from isocenter.volume import Grid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

__all__ = ["Frames", "Place"]

_TOLERANCE_MM = 0.01
_MAX_SLICES = 16384
_MAX_RATIO = 2000  # of compressed frames
_DAMAGE = (AttributeError, ValueError, TypeError, KeyError, IndexError)


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


@dataclass(frozen=True)
class Frames:
    """Frames of a parsed segmentation of kind ``BINARY`` or ``LABELMAP``."""

    path: str | Path
    dataset: Dataset

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows, columns of a frame."""
        return int(self.dataset.Rows), int(self.dataset.Columns)

    @cached_property
    def per_frame(self) -> list[tuple[int | None, NDArray[np.float64], NDArray[np.float64]]]:
        """Segment number (``None`` in a label map), and the 4x3 steps of row, column, and the position.

        The second item is ``(2, 3)``: mm per row and per column; the third the position of the first pixel.
        """
        shared = (self.dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
        found = []
        self._check_size()
        try:
            for item in self.dataset.PerFrameFunctionalGroupsSequence:
                place = _group(item, shared, "PlanePositionSequence")
                turn = _group(item, shared, "PlaneOrientationSequence")
                sizes = _group(item, shared, "PixelMeasuresSequence")
                segment = _group(item, shared, "SegmentIdentificationSequence")
                cosines = np.array([float(v) for v in turn.ImageOrientationPatient]).reshape(2, 3)
                row_mm, column_mm = (float(v) for v in sizes.PixelSpacing)
                steps = np.stack([cosines[1] * row_mm, cosines[0] * column_mm])
                number = None if segment is None else int(segment.ReferencedSegmentNumber)
                found.append((number, steps, np.array([float(v) for v in place.ImagePositionPatient])))
        except _DAMAGE as error:
            raise SeriesError(
                f"{self.path}: a frame states no position, orientation or spacing in patient space"
                " (PlanePositionSequence (0020,9113)); only segmentations of volumes are read"
            ) from error
        if len(found) != int(self.dataset.get("NumberOfFrames", 0)):
            raise FileFormatError(f"{self.path}: NumberOfFrames differs from the frames described; export it again")
        return found

    def _check_size(self) -> None:
        frames, bits = int(self.dataset.get("NumberOfFrames", 0)), int(self.dataset.BitsAllocated)
        need = frames * self.shape[0] * self.shape[1] * bits / 8
        have = len(self.dataset.PixelData) * (_MAX_RATIO if self._packed else 1)
        if need > have or min(self.shape) < 1:
            raise FileFormatError(
                f"{self.path}: {frames} frames of {self.shape[0]} x {self.shape[1]} need {need:.0f} bytes, it has"
                f" {len(self.dataset.PixelData)}: truncated or damaged; send or export it again"
            )

    @cached_property
    def described(self) -> set[int]:
        """Numbers of the segments."""
        return {int(item.SegmentNumber) for item in self.dataset.SegmentSequence}

    def own_grid(self) -> Grid:
        """Smallest regular grid that holds all frames.

        Raises:
            GeometryError: There is none.
        """
        steps = self.per_frame[0][1]
        normal = np.cross(steps[1], steps[0])
        normal /= np.linalg.norm(normal)
        positions = np.array([place for _, _, place in self.per_frame])
        depth = positions @ normal
        first = positions[int(depth.argmin())]
        gaps = np.diff(np.unique(np.round(depth, 4)))
        step = self._slice_step(float(gaps.min()) if gaps.size else None)
        count = 1 + int(np.rint(np.ptp(depth) / step))
        if count > _MAX_SLICES:
            raise GeometryError(
                f"{self.path}: frames lie {np.ptp(depth):.0f} mm apart, {step:g} mm a slice;"
                " give the grid of its source"
            )
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = normal * step, steps[0], steps[1], first
        return Grid((count, *self.shape), affine, str(self.dataset.get("FrameOfReferenceUID", "")) or None)

    def _slice_step(self, gap: float | None) -> float:
        shared = (self.dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
        measures = _group(self.dataset.PerFrameFunctionalGroupsSequence[0], shared, "PixelMeasuresSequence")
        stated = measures.get("SpacingBetweenSlices")
        if stated and float(stated) > 0:
            return float(stated)
        thickness = measures.get("SliceThickness")
        step = gap or (float(thickness) if thickness else 0.0)
        if step <= 0:
            raise GeometryError(f"{self.path}: states no slice spacing; give the grid of its source series")
        return step

    def placed(self, grid: Grid) -> Iterator[tuple[int, NDArray[np.bool_], Place]]:
        """Segment number, mask and place of every frame and segment with foreground.

        Raises:
            GeometryError: A frame with foreground does not lie on the voxels of ``grid``.
            FileFormatError: Pixels are truncated or damaged.
        """
        frame = str(self.dataset.get("FrameOfReferenceUID", ""))
        if grid.frame and frame and grid.frame != frame:
            raise GeometryError(f"{self.path}: its frame of reference is not that of the images; choose their series")
        for index, (number, steps, position) in enumerate(self.per_frame):
            pixels = self._pixels(index)
            numbers = np.unique(pixels[pixels != 0]).tolist()
            if not numbers:
                continue
            named = set(numbers) if number is None else {number}
            if not named <= self.described:
                raise FileFormatError(
                    f"{self.path}: frame {index + 1} is of segment {min(named - self.described)}, which is not"
                    " described; export it again"
                )
            place = self._place(grid, steps, position)
            for value in numbers:
                yield (value if number is None else number), pixels == value, place

    def _place(self, grid: Grid, steps: NDArray[np.float64], position: NDArray[np.float64]) -> Place:
        # index steps of the grid for one frame row and one frame column
        moves = np.linalg.solve(grid.affine[:3, :3], steps.T).T
        turn = np.rint(moves)
        rows, columns = self.shape
        drift = np.abs((moves - turn) @ np.diag(grid.spacing_mm)).max() * max(rows, columns)
        axes = np.abs(turn).argmax(axis=1)
        if drift > _TOLERANCE_MM * 2 or not (np.abs(turn).sum(axis=1) == 1).all() or axes[0] == axes[1]:
            raise GeometryError(
                f"{self.path}: PixelSpacing or ImageOrientationPatient of its frames differ from the images'"
                f" (spacing {grid.spacing_mm} mm); resample it, or give the grid it was drawn on"
            )
        order = (3 - int(axes[0]) - int(axes[1]), int(axes[0]), int(axes[1]))
        flips = tuple(a + 1 for a in range(2) if turn[a].sum() < 0)
        turned = grid.permute(order).flip(flips)
        index = turned.to_index(position)
        start = np.rint(index)
        off = float(np.linalg.norm(turned.to_world(start) - position))
        end = start + np.array((0, rows - 1, columns - 1))
        if off > max(_TOLERANCE_MM, 0.01 * min(grid.spacing_mm)):
            raise GeometryError(
                f"{self.path}: a frame at {np.round(position, 3).tolist()} lies {off:.3f} mm off the voxels of the"
                " images; choose the series it was drawn on"
            )
        if (start < 0).any() or (end >= turned.shape).any():
            raise GeometryError(
                f"{self.path}: a frame at {np.round(position, 3).tolist()} with foreground lies outside the images;"
                " choose the series it was drawn on"
            )
        z, row, column = (int(i) for i in start)
        return Place(order, flips, (z, row, column), self.shape)

    def _pixels(self, index: int) -> NDArray[Any]:
        rows, columns = self.shape
        size = rows * columns
        try:
            if int(self.dataset.BitsAllocated) == 1 and not self._packed:
                return self._bits(index * size, size).reshape(rows, columns)
            from pydicom.pixels.utils import pixel_array

            return pixel_array(self.dataset, index=index, raw=True).reshape(rows, columns)
        except FileFormatError:
            raise
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise FileFormatError(
                f"{self.path}: frame {index + 1} cannot be decoded ({type(error).__name__}); export it again"
            ) from error

    @cached_property
    def _packed(self) -> bool:
        return bool(self.dataset.file_meta.TransferSyntaxUID.is_encapsulated)

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.dataset.PixelData, np.uint8)

    def _bits(self, start: int, size: int) -> NDArray[np.uint8]:
        """One frame of a bit stream in which frames do not begin at bytes (PS3.5 8.1.1)."""
        skip = start % 8
        part = self._bytes[start // 8 : (start + size + 7) // 8]
        bits = np.unpackbits(part, bitorder="little")[skip : skip + size]
        if bits.size != size:
            raise FileFormatError(f"{self.path}: pixels are truncated; send or export it again")
        return bits


def _group(item: Any, shared: Any, keyword: str) -> Any:
    """First item of a functional group, of the frame or shared; ``None`` where neither has it."""
    found = item.get(keyword) or shared.get(keyword)
    return found[0] if found else None
