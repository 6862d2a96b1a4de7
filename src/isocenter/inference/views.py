"""Test-time views: a window is also seen turned, scaled or mirrored, and the answers are brought back and averaged.

A view is cut from the image around the window, not from the window alone, so that what turns into its corners is real
context; beyond the image the border is repeated. Outputs are brought back by linear interpolation, as the tasks bring
them to the image's grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from isocenter.plan.learning import ViewSpec
from isocenter.tasks import Window
from isocenter.volume import Grid

__all__ = ["PlacedView", "cut", "place_view"]

Size = tuple[int, int, int]


@dataclass(frozen=True)
class PlacedView:
    """A view of windows of one size.

    Attributes:
        spec: What it does.
        shape: Of the windows.
        matrix: ``(2, 2)`` (row, column) or ``(3, 3)``: from voxels of the view, counted from its middle, to voxels of
            the image; ``None`` where the view is only mirrored.
        mirrored: Left is right in it.
    """

    spec: ViewSpec
    shape: Size
    matrix: NDArray[np.float64] | None
    mirrored: bool

    @property
    def margin(self) -> Size:
        """Voxels around a window that the view shows."""
        if self.matrix is None:
            return (0, 0, 0)
        half = (np.array(self.shape[-len(self.matrix) :]) - 1) / 2
        reach = np.ceil(np.abs(self.matrix) @ half - half - 1e-6).clip(0).astype(int).tolist()
        full = [0] * (3 - len(reach)) + reach
        return full[0], full[1], full[2]

    def see(self, blocks: Tensor) -> Tensor:
        """The view of windows.

        Args:
            blocks: ``(batch, channel, D, H, W)``: the windows with `margin` around them, see `cut`.

        Returns:
            ``(batch, channel, *shape)``.
        """
        if self._forth is not None:
            blocks = _sample(blocks, self._forth, self.shape)
        return self._flip(blocks)

    def back(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs for the view, as outputs for the windows.

        Args:
            values: ``(batch, channel, *shape)``.

        Returns:
            The outputs, 0 where the view saw nothing, and ``(..., H, W)`` 1 where it did, 0 elsewhere.
        """
        values = self._flip(values)
        if self._back is None:
            return values, values.new_ones(())
        seen = self._back.inside.to(values)
        return _sample(values, self._back, self.shape) * seen, seen

    @cached_property
    def _forth(self) -> _Places | None:
        return None if self.matrix is None else _Places.of(self.matrix, self.shape, self.margin)

    @cached_property
    def _back(self) -> _Places | None:
        if self.matrix is None:
            return None
        inverse: NDArray[np.float64] = np.linalg.inv(self.matrix).astype(np.float64)
        return _Places.of(inverse, self.shape, (0, 0, 0))

    def _flip(self, values: Tensor) -> Tensor:
        axes = sorted({axis - 3 for axis in self.spec.mirror})
        return values.flip(axes) if axes else values


def place_view(spec: ViewSpec, shape: Size, grid: Grid) -> PlacedView:
    """A view of windows of ``shape`` on a working grid.

    Rotations turn millimetres. Left and right are exchanged as in training: where the index axis that runs from left to
    right is mirrored, or, where none does, where an odd number of axes is.

    Example:
        >>> grid = Grid.regular((1, 5, 5), spacing_mm=(1, 1, 1))
        >>> half = place_view(ViewSpec(scale=0.5), (1, 5, 5), grid)
        >>> half.margin
        (0, 2, 2)
        >>> half.see(torch.arange(9.0).expand(1, 1, 1, 9, 9))[0, 0, 0, 0].tolist()
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    angle = math.radians(spec.rotation_deg)
    turn = np.eye(3)
    turn[1:, 1:] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    spacing = np.array(grid.spacing_mm)
    matrix = turn * spacing[None, :] / spacing[:, None] / spec.scale
    matrix = matrix if spec.volumetric else matrix[1:, 1:]
    plain = np.allclose(matrix, np.eye(len(matrix)), atol=1e-9)
    lateral = next((axis for axis, letter in enumerate(grid.orientation) if letter in "LR"), None)
    mirrored = lateral in spec.mirror if lateral is not None else len(set(spec.mirror)) % 2 == 1
    return PlacedView(spec, shape, None if plain else matrix, mirrored)


def cut(image: Tensor, windows: Sequence[Window], margin: Size = (0, 0, 0)) -> Tensor:
    """Windows of ``(channel, D, H, W)`` with a margin; beyond the image its border is repeated.

    Example:
        >>> cut(torch.arange(4.0).reshape(1, 1, 1, 4), [Window((0, 0, 2), (1, 1, 2))], (0, 0, 1)).tolist()
        [[[[[1.0, 2.0, 3.0, 3.0]]]]]
    """
    parts = []
    for window in windows:
        part = image
        for axis, (first, size, wide) in enumerate(zip(window.start, window.shape, margin, strict=True), start=1):
            if wide:
                places = torch.arange(first - wide, first + size + wide).clamp(0, image.shape[axis] - 1)
                part = part.index_select(axis, places.to(image.device))
            else:
                part = part.narrow(axis, first, size)
        parts.append(part)
    return torch.stack(parts)


@dataclass(frozen=True)
class _Places:
    """Where the voxels of a view are sampled, in grid_sample's -1..1, and which of them lie inside of the window."""

    grid: Tensor
    inside: Tensor

    @staticmethod
    def of(matrix: NDArray[np.float64], shape: Size, margin: Size) -> _Places:
        axes = len(matrix)
        sizes, wide = np.array(shape[-axes:]), np.array(margin[-axes:])
        half = (sizes - 1) / 2
        offsets = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in sizes], indexing="ij"), -1) @ matrix.T
        inside = (np.abs(offsets) <= half + 1e-3).all(-1)
        normal = (2 * (offsets + half + wide) + 1) / (sizes + 2 * wide) - 1
        return _Places(torch.from_numpy(normal[..., ::-1].astype(np.float32)), torch.from_numpy(inside))


def _sample(values: Tensor, places: _Places, shape: Size) -> Tensor:
    """``(batch, channel, *shape)``: slices as they are, each sampled in its plane, or all three axes at once."""
    batch, channels = values.shape[:2]
    flat = values.flatten(1, 2) if places.inside.ndim == 2 else values
    grid = places.grid.to(values.device).expand(batch, *places.grid.shape)
    out = functional.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return out.reshape(batch, channels, *shape)
