"""One spatial map a patch: it cuts, rotates, scales, mirrors and deforms in a single interpolation.

Images, label maps, boxes and points of a sample are all moved by the same `SpatialMap`, so they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from isocenter.volume.compiled import in_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.augment.elastic import Elastic
    from isocenter.augment.gather import Field

__all__ = ["SpatialMap", "VoxelSource"]

_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


class VoxelSource(Protocol):
    """What a patch can be cut from: a tensor, an array, or one on disk of which slices can be read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(channel, slice, row, column)``."""

    def __getitem__(self, box: tuple[slice, slice, slice, slice]) -> Any:
        """A box as an array or tensor."""


@dataclass(frozen=True, eq=False)
class SpatialMap:
    """Where each voxel of a patch comes from: the source index ``matrix @ (index + elastic displacement)``.

    Attributes:
        matrix: 4x4, from patch index (slice, row, column) to index of the source.
        shape: Of the patch.
        mirrored: The map turns left into right: structures with a partner must swap.
        elastic: Displacement within the patch, before the matrix.

    Example:
        >>> from isocenter.augment import identity_map
        >>> cut = identity_map(centre=(1, 2, 2), shape=(1, 2, 2))
        >>> cut.sample(torch.arange(48.0).reshape(1, 3, 4, 4), "nearest").ravel().tolist()
        [26.0, 27.0, 30.0, 31.0]
    """

    matrix: NDArray[np.float64]
    shape: tuple[int, int, int]
    mirrored: bool = False
    elastic: Elastic | None = None

    def sample(
        self, source: Tensor | VoxelSource, mode: Literal["bilinear", "nearest"] = "bilinear", *,
        outside: float | None = None,
        threads: int | None = 1,
    ) -> Tensor:  # fmt: skip
        """Patch of a source.

        Args:
            source: ``(channel, slice, row, column)``; any dtype for ``"nearest"``. Of a source that is neither a
                tensor nor an array only the box that the patch touches is read.
            mode: ``"bilinear"`` or ``"nearest"``.
            outside: Value beyond the source's voxels; ``None`` repeats the border.
            threads: At most so many, ``None`` for one a core; 1 by default, since batches are made in threads already.
                The result does not depend on it.

        Returns:
            ``(channel, *shape)``, float32 for ``"bilinear"``, else the source's dtype.
        """
        from isocenter.augment.gather import GRAIN, linear, nearest

        exact = mode == "nearest"
        block, low = self._block(source, None if exact else np.dtype(np.float32))
        out = np.empty((block.shape[0], *self.shape), block.dtype)
        fill = np.array([] if outside is None else [outside], block.dtype)
        kind = _BITS[block.dtype.itemsize] if exact else np.float32  # what is only carried needs no kernel of its own
        matrix = np.round(self.matrix[:3] / GRAIN) * GRAIN
        matrix[:, 3] -= low
        run, (a, b, c), field = nearest if exact else linear, block.shape[1:], self._field()
        flat, fill, target = block.reshape(len(block), -1).view(kind), fill.view(kind), out.view(kind)
        in_parts(
            lambda start, stop: run(flat, (a, b, c), matrix, field, fill, target, start, stop),
            self.shape[0],
            threads=threads,
        )
        return torch.from_numpy(out)

    def corners(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boxes ``(n, 6)`` of the source, as the boxes around their moved surfaces in the patch (not clipped)."""
        if not len(corners):
            return corners.reshape(0, 6)
        parts = [_surface(box.reshape(2, 3), steps) for box, steps in zip(corners, self._steps(corners), strict=True)]
        moved = self.points(np.concatenate(parts))
        starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
        return np.concatenate([np.minimum.reduceat(moved, starts), np.maximum.reduceat(moved, starts)], axis=1)

    def points(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Indices ``(n, 3)`` of the source, as indices in the patch."""
        inverse = np.linalg.inv(self.matrix)
        moved: NDArray[np.float64] = indices @ inverse[:3, :3].T + inverse[:3, 3]
        return moved if self.elastic is None else self.elastic.origin(moved)

    def places(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Indices ``(n, 3)`` of the patch, as indices in the source: the inverse of `points`."""
        moved = indices if self.elastic is None else indices + self.elastic.displacement(indices)
        found: NDArray[np.float64] = moved @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return found

    def _block(
        self, source: Tensor | VoxelSource, dtype: np.dtype[Any] | None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Contiguous values that hold what the patch can touch, and the index of their first voxel."""
        array = source.detach().numpy() if isinstance(source, Tensor) else source
        if isinstance(array, np.ndarray) and dtype in (None, array.dtype) and _plain(array):
            return array, np.zeros(3, np.int64)  # nothing to read or convert: the kernel finds its way
        ends = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape]), -1).reshape(-1, 3)
        places = ends @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        reach = np.abs(self._moves()).max((1, 2, 3))
        size = np.asarray(source.shape[1:])
        # two voxels at least: what lies beyond the end is blended of the last two, and must be so here as well
        low = np.clip(np.floor(places.min(0) - reach).astype(np.int64) - 1, 0, np.maximum(size - 2, 0))
        high = np.clip(np.ceil(places.max(0) + reach).astype(np.int64) + 2, np.minimum(low + 2, size), size)
        z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        box = np.asarray(array[:, z, y, x])
        return np.require(box, dtype or box.dtype.newbyteorder("="), ["C", "W"]), low

    def _moves(self) -> NDArray[np.float64]:
        """Displacement of the control points in voxels of the source."""
        control = self.elastic.control if self.elastic else np.zeros((3, 1, 1, 1))
        moves: NDArray[np.float64] = np.einsum("ij,jabc->iabc", self.matrix[:3, :3], control)
        return moves

    def _field(self) -> Field:
        """The displacement as the kernels take it."""
        from isocenter.augment.gather import Field

        if self.elastic is None:
            none = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
            return Field(np.zeros((3, 0, 0, self.shape[2]), np.float32), *none, *none)
        (z, of_z), (y, of_y), (x, of_x) = (self.elastic.taps(a) for a in range(3))
        control = self._moves()
        values = sum(control[..., x + k] * of_x[:, k] for k in range(4))
        return Field(np.asarray(values, np.float32), z, of_z.astype(np.float32), y, of_y.astype(np.float32))

    def _steps(self, corners: NDArray[np.float64]) -> NDArray[np.int64]:
        """Steps ``(n, 3)`` along the edges of boxes in which their surface is followed.

        Straight maps need the corners only. With four steps a control point the true extent is missed by at most a
        fortieth of the control points' spacing, and by far less unless they move by the most that is allowed.
        """
        sizes = corners[:, 3:] - corners[:, :3]
        if self.elastic is None:
            return np.ones(sizes.shape, np.int64)
        inverse = np.abs(np.linalg.inv(self.matrix[:3, :3]))
        finest = (inverse / np.asarray(self.elastic.spacing)[:, None]).max(0)
        steps: NDArray[np.int64] = np.clip(np.ceil(4 * sizes * finest), 1, 64).astype(np.int64)
        return steps


def _plain(array: NDArray[Any]) -> bool:
    return bool(array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative)


def _surface(box: NDArray[np.float64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points ``(n, 3)`` on the faces of a box ``(2, 3)``, corners included."""
    lines = [np.linspace(box[0, a], box[1, a], steps[a] + 1) for a in range(3)]
    faces = []
    for axis in range(3):
        ends = [box[:, axis] if a == axis else lines[a] for a in range(3)]
        faces.append(np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3))
    return np.concatenate(faces)
