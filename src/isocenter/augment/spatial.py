"""One spatial map a patch: it cuts, rotates, scales and mirrors in a single interpolation.

Images, label maps, boxes and points of a sample are all moved by the same `SpatialMap`, so they cannot drift apart.
Parameters are drawn in `draw_map`; applying them is pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from isocenter.plan import AugmentationSpec

__all__ = ["SpatialMap", "draw_map", "identity_map"]


@dataclass(frozen=True, eq=False)
class SpatialMap:
    """Where each voxel of a patch comes from.

    Attributes:
        matrix: 4x4, from patch index (slice, row, column) to index of the source.
        shape: Of the patch.
        mirrored: The map turns left into right: structures with a partner must swap.

    Example:
        >>> cut = identity_map(centre=(1, 2, 2), shape=(1, 2, 2))
        >>> cut.sample(torch.arange(48.0).reshape(1, 3, 4, 4), "nearest").ravel().tolist()
        [26.0, 27.0, 30.0, 31.0]
    """

    matrix: NDArray[np.float64]
    shape: tuple[int, int, int]
    mirrored: bool = False

    def sample(self, source: Tensor, mode: str = "bilinear", *, outside: float | None = None) -> Tensor:
        """Patch of a source.

        Args:
            source: ``(channel, slice, row, column)``; any dtype for ``"nearest"``.
            mode: ``"bilinear"`` or ``"nearest"``.
            outside: Value beyond the source's voxels; ``None`` repeats the border.

        Returns:
            ``(channel, *shape)``, float32 for ``"bilinear"``, else the source's dtype.
        """
        block, matrix = self._needed(source)
        if mode == "nearest":
            return self._nearest(block, matrix, outside)
        data = block.float()
        if self._in_plane(matrix):
            plane = self._plane(data, matrix, outside)
            if plane is not None:
                return plane
        grid = self._locations(matrix, data.shape[1:])
        out = functional.grid_sample(
            data[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
        )[0]
        return out if outside is None else torch.where(self._inside(grid, data.shape[1:]), out, outside)

    def corners(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boxes ``(n, 6)`` of the source, as the boxes around their moved corners in the patch (not clipped)."""
        if not len(corners):
            return corners.reshape(0, 6)
        bits = np.array([[(k >> a) & 1 for a in range(3)] for k in range(8)])
        edges = corners.reshape(-1, 2, 3)
        points = np.stack([edges[:, bits[:, a], a] for a in range(3)], -1)
        moved = self.points(points.reshape(-1, 3)).reshape(-1, 8, 3)
        return np.concatenate([moved.min(1), moved.max(1)], axis=1)

    def points(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Indices ``(n, 3)`` of the source, as indices in the patch."""
        inverse = np.linalg.inv(self.matrix)
        moved: NDArray[np.float64] = indices @ inverse[:3, :3].T + inverse[:3, 3]
        return moved

    def _needed(self, source: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        """The part of the source that the patch can touch, and the matrix into it."""
        ends = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape]), -1).reshape(-1, 3)
        places = ends @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        size = np.asarray(source.shape[1:])
        low = np.clip(np.floor(places.min(0)).astype(int) - 1, 0, size - 1)
        high = np.clip(np.ceil(places.max(0)).astype(int) + 2, low + 1, size)
        matrix = self.matrix.copy()
        matrix[:3, 3] -= low
        return source[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]], matrix

    @staticmethod
    def _in_plane(matrix: NDArray[np.float64]) -> bool:
        return bool(np.allclose(matrix[0, 1:3], 0) and np.allclose(matrix[1:3, 0], 0))

    def _plane(self, data: Tensor, matrix: NDArray[np.float64], outside: float | None) -> Tensor | None:
        """Slices stay slices: sample each in two dimensions, which is several times as fast."""
        slices = matrix[0, 0] * np.arange(self.shape[0]) + matrix[0, 3]
        rounded = np.round(slices)
        if np.abs(slices - rounded).max() > 1e-6:
            return None
        picked = np.clip(rounded.astype(int), 0, data.shape[1] - 1)
        planes = data[:, torch.from_numpy(picked)].permute(1, 0, 2, 3)
        theta = torch.from_numpy(_normalised(matrix, self.shape, data.shape[1:])[1:3, 1:4].astype(np.float32))
        grid = _grid2d(theta, self.shape[1:])
        out = functional.grid_sample(
            planes,
            grid[None].expand(len(planes), -1, -1, -1),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        ).permute(1, 0, 2, 3)
        if outside is None:
            return out
        y, x = (_border(n) for n in data.shape[2:])
        inside = (grid[..., 1].abs() <= y) & (grid[..., 0].abs() <= x)
        kept = torch.from_numpy((rounded >= 0) & (rounded < data.shape[1]))
        return torch.where(inside[None, None] & kept[None, :, None, None], out, outside)

    def _nearest(self, block: Tensor, matrix: NDArray[np.float64], outside: float | None) -> Tensor:
        size = block.shape[1:]
        if np.allclose(matrix[:3, :3], np.diag(np.diag(matrix[:3, :3]))):
            axes = [matrix[a, a] * np.arange(self.shape[a]) + matrix[a, 3] for a in range(3)]
            index = [torch.from_numpy(np.floor(a + 0.5).astype(np.int64)) for a in axes]
            z, y, x = (i.clamp(0, n - 1) for i, n in zip(index, size, strict=True))
            out = block[:, z[:, None, None], y[None, :, None], x[None, None, :]]
            kept = [(i >= 0) & (i < n) for i, n in zip(index, size, strict=True)]
            inside = kept[0][:, None, None] & kept[1][None, :, None] & kept[2][None, None, :]
        else:
            places = [torch.floor(_affine_places(matrix[a], self.shape) + 0.5).to(torch.int64) for a in range(3)]
            z, y, x = (i.clamp(0, n - 1) for i, n in zip(places, size, strict=True))
            out = block[:, z, y, x]
            inside = torch.ones(self.shape, dtype=torch.bool)
            for place, n in zip(places, size, strict=True):
                inside &= (place >= 0) & (place < n)
        if outside is None:
            return out
        return torch.where(inside, out, torch.tensor(outside, dtype=out.dtype))

    def _locations(self, matrix: NDArray[np.float64], size: Sequence[int]) -> Tensor:
        """``(slice, row, column, xyz)`` in grid_sample's -1..1."""
        normal = _normalised(matrix, self.shape, size)
        return torch.stack([_affine_places(normal[a], self.shape, unit=True) for a in (2, 1, 0)], -1)

    @staticmethod
    def _inside(grid: Tensor, size: Sequence[int]) -> Tensor:
        inside = torch.ones(grid.shape[:3], dtype=torch.bool)
        for place, n in zip((2, 1, 0), size, strict=True):
            inside &= grid[..., place].abs() <= _border(n)
        return inside


def identity_map(*, centre: Sequence[float], shape: tuple[int, int, int]) -> SpatialMap:
    """Plain cut of ``shape`` whose middle voxel ``(shape - 1) // 2`` is the source voxel ``centre``."""
    matrix = np.eye(4)
    matrix[:3, 3] = np.round(np.asarray(centre, dtype=np.float64)) - (np.asarray(shape) - 1) // 2
    return SpatialMap(matrix, shape)


def draw_map(
    rng: np.random.Generator,
    spec: AugmentationSpec,
    *,
    centre: Sequence[float],
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    lateral_axis: int | None = None,
) -> SpatialMap:
    """Random rotation, scale and mirroring about ``centre``.

    Rotations turn millimetres, not voxels, so that anisotropic grids are not sheared.

    Args:
        rng: Keyed generator of this patch.
        spec: Ranges.
        centre: Voxel of the source in the middle of the patch.
        shape: Of the patch.
        spacing_mm: Of the source.
        lateral_axis: Index axis that runs from left to right; mirroring along it swaps left and right. With ``None``
            any mirrored axis swaps them, since one reflection turns every body into its mirror image.
    """
    active = rng.random() < spec.spatial_probability
    angles = np.radians([rng.uniform(-a, a) if active and a else 0.0 for a in spec.rotation_deg])
    scale = rng.uniform(1 - spec.scale, 1 + spec.scale) if active and spec.scale else 1.0
    flips = np.array([-1.0 if a in spec.mirror and rng.random() < 0.5 else 1.0 for a in range(3)])
    spacing = np.asarray(spacing_mm)
    turn = _rotation(angles)
    linear = (turn * spacing[None, :] / spacing[:, None]) @ np.diag(flips) / scale
    middle = (np.asarray(shape) - 1) // 2
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    place = np.asarray(centre, dtype=np.float64)
    if not active:
        place = np.round(place)
    matrix[:3, 3] = place - linear @ middle
    if shape[0] == 1 and not (angles[1] or angles[2]):
        matrix[0, 3] = np.round(place[0])
    flipped = flips < 0
    mirrored = bool(flipped[lateral_axis]) if lateral_axis is not None else bool(flipped.sum() % 2)
    return SpatialMap(matrix, shape, mirrored)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        if angle:
            c, s = np.cos(angle), np.sin(angle)
            a, b = (axis + 1) % 3, (axis + 2) % 3
            step = np.eye(3)
            step[a, a], step[a, b], step[b, a], step[b, b] = c, -s, s, c
            turn = turn @ step
    return turn


def _normalised(matrix: NDArray[np.float64], shape: Sequence[int], size: Sequence[int]) -> NDArray[np.float64]:
    """Matrix from patch index to grid_sample's -1..1 in a source of ``size`` (align_corners)."""
    out = matrix.copy()
    for axis, n in enumerate(size):
        step = 2.0 / max(n - 1, 1)
        out[axis] *= step
        out[axis, 3] -= 1.0 if n > 1 else 0.0
    return out


def _border(n: int) -> float:
    """Edge of the outermost voxels, half a voxel beyond their centres, on the scale of `_normalised`."""
    return 1.0 + 1.0 / (n - 1) if n > 1 else 1.0


def _affine_places(row: NDArray[Any], shape: Sequence[int], *, unit: bool = False) -> Tensor:
    kind = torch.float32 if unit else torch.float64
    axes = [torch.arange(n, dtype=torch.float64) * float(row[a]) for a, n in enumerate(shape)]
    total = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :] + float(row[3])
    return total.to(kind)


def _grid2d(theta: Tensor, shape: Sequence[int]) -> Tensor:
    """``(row, column, xy)`` from a 2x3 map of (row, column) index to -1..1 (row, column)."""
    rows = torch.arange(shape[0], dtype=torch.float32)[:, None]
    columns = torch.arange(shape[1], dtype=torch.float32)[None, :]
    y = theta[0, 0] * rows + theta[0, 1] * columns + theta[0, 2]
    x = theta[1, 0] * rows + theta[1, 1] * columns + theta[1, 2]
    return torch.stack([x, y], -1)
