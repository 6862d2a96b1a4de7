"""Where voxels are: a regular, possibly sheared, lattice in patient space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError
from isocenter.volume.orientation import axes_between, name_directions, worst_angle_deg

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Affine", "Grid", "Points"]

Affine = NDArray[np.float64]
Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxel centres in patient space.

    Attributes:
        shape: Number of slices, rows and columns.
        affine: 4x4 matrix from the index ``(slice, row, column)`` to patient LPS millimetres (x to the left, y to
            the back, z to the head, as in DICOM PS3.3 C.7.6.2.1.1). An index is the centre of its voxel. Oblique and
            sheared (gantry-tilted) affines are allowed; singular ones are not.
        frame: Frame of reference UID, or ``None`` where the file does not state one. Positions in two different
            frames must not be compared.

    Raises:
        GeometryError: The shape is not three positive numbers, or the affine is not a finite invertible 4x4 matrix.

    Example:
        >>> grid = Grid.regular((2, 3, 4), spacing_mm=(5.0, 1.0, 1.0), origin_mm=(10, 20, 30))
        >>> grid.to_world([1, 0, 0]).tolist()
        [10.0, 20.0, 35.0]
        >>> grid.spacing_mm
        (5.0, 1.0, 1.0)
        >>> grid.orientation
        'SPL'
    """

    shape: tuple[int, int, int]
    affine: Affine
    frame: str | None = None

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"grid shape {self.shape} is not three positive numbers (slice, row, column)")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"grid affine is not a finite 4x4 matrix: {affine.tolist()}")
        if not np.allclose(affine[3], (0, 0, 0, 1)):
            raise GeometryError(f"last row of the grid affine is {affine[3].tolist()}, it must be [0, 0, 0, 1]")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if (lengths == 0).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
            raise GeometryError(
                f"grid affine is singular: {affine[:3, :3].tolist()}; an axis is doubled or has no length"
            )
        affine = affine + 0.0  # -0.0, which flips leave behind, equals 0.0 but hashes otherwise
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @staticmethod
    def regular(
        shape: Sequence[int],
        *,
        spacing_mm: Sequence[float],
        origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
        frame: str | None = None,
    ) -> Grid:
        """Axis-aligned grid: slices towards the head, rows towards the back, columns towards the left.

        Args:
            shape: Slices, rows, columns.
            spacing_mm: Distance of slices, rows, columns.
            origin_mm: LPS position ``(x, y, z)`` of index (0, 0, 0).
            frame: Frame of reference UID.
        """
        affine = np.eye(4)
        affine[:3, :3] = 0.0
        for axis, (world, step) in enumerate(zip((2, 1, 0), spacing_mm, strict=True)):
            affine[world, axis] = step
        affine[:3, 3] = origin_mm
        z, y, x = shape
        return Grid((z, y, x), affine, frame)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along slice, row and column index, in mm."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def origin_mm(self) -> Points:
        """LPS position of index (0, 0, 0)."""
        return self.affine[:3, 3].copy()

    @property
    def directions(self) -> NDArray[np.float64]:
        """3x3 matrix whose columns are the unit vectors of the slice, row and column axis in LPS."""
        matrix: NDArray[np.float64] = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return matrix

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def center_mm(self) -> Points:
        """LPS position of the middle of the grid."""
        return self.to_world([(n - 1) / 2 for n in self.shape])

    @property
    def diagonal_mm(self) -> float:
        """Distance between the first and the last voxel centre along the longest diagonal of the box."""
        corners = self._corners_mm()
        return float(np.linalg.norm(corners[:, None] - corners[None], axis=-1).max())

    def _corners_mm(self) -> Points:
        return self.to_world(np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape]), -1).reshape(-1, 3))

    @property
    def orientation(self) -> str:
        """Nearest patient direction that slice, row and column index grow towards, e.g. ``"SPL"``.

        Letters as in DICOM: L(eft) or R(ight), P(osterior) or A(nterior), S(uperior) or I(nferior). For oblique
        grids the assignment that maximises the summed cosines is taken, so that no letter pair appears twice.
        """
        return name_directions(self.directions)

    @property
    def obliquity_deg(self) -> float:
        """Largest angle, in degrees, between an index axis and the patient axis that ``orientation`` names for it."""
        return worst_angle_deg(self.directions)

    def to_world(self, index: Sequence[float] | Sequence[Sequence[float]] | Points) -> Points:
        """LPS millimetres of (fractional) indices, shape ``(..., 3)`` in and out."""
        points = np.asarray(index, dtype=np.float64)
        return np.asarray(points @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, world_mm: Sequence[float] | Sequence[Sequence[float]] | Points) -> Points:
        """Fractional ``(slice, row, column)`` indices of LPS positions, shape ``(..., 3)`` in and out."""
        points = np.asarray(world_mm, dtype=np.float64) - self.affine[:3, 3]
        index = np.linalg.solve(self.affine[:3, :3], points.reshape(-1, 3).T).T
        return np.asarray(index.reshape(points.shape), dtype=np.float64)

    def index_map_to(self, other: Grid) -> Affine:
        """4x4 matrix from an index of this grid to the fractional index of the same place in ``other``."""
        return np.asarray(np.linalg.solve(other.affine, self.affine), dtype=np.float64)

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> Grid:
        """Part from index ``start`` (in) to ``stop`` (out); negative starts and large stops pad.

        Example:
            >>> Grid.regular((4, 4, 4), spacing_mm=(2, 1, 1)).crop((1, 0, 0), (3, 4, 4)).origin_mm.tolist()
            [0.0, 0.0, 2.0]
        """
        z, y, x = (int(b) - int(a) for a, b in zip(start, stop, strict=True))
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(np.asarray(start, dtype=np.float64))
        return Grid((z, y, x), affine, self.frame)

    def pad(self, before: Sequence[int], after: Sequence[int]) -> Grid:
        """Grid with ``before`` and ``after`` voxels added at the two ends of each axis."""
        return self.crop([-b for b in before], [n + a for n, a in zip(self.shape, after, strict=True)])

    def flip(self, axes: Sequence[int]) -> Grid:
        """The same places with the index along ``axes`` (0 slice, 1 row, 2 column) running the other way.

        Raises:
            GeometryError: ``axes`` are not different numbers out of 0, 1, 2.

        Example:
            >>> Grid.regular((2, 3, 4), spacing_mm=(5, 1, 1)).flip([0]).to_world([0, 0, 0]).tolist()
            [0.0, 0.0, 5.0]
        """
        if len(set(axes)) != len(axes) or not set(axes) <= {0, 1, 2}:
            raise GeometryError(f"axes {tuple(axes)} to flip must be different numbers out of (0, 1, 2)")
        affine = self.affine.copy()
        for axis in axes:
            affine[:3, 3] += affine[:3, axis] * (self.shape[axis] - 1)
            affine[:3, axis] *= -1
        return Grid(self.shape, affine, self.frame)

    def permute(self, order: Sequence[int]) -> Grid:
        """The same places with index axes in a new order; ``order[i]`` is the old axis that becomes axis ``i``."""
        if sorted(order) != [0, 1, 2]:
            raise GeometryError(f"axis order {tuple(order)} is not a permutation of (0, 1, 2)")
        affine = self.affine.copy()
        affine[:, :3] = affine[:, list(order)]
        z, y, x = (self.shape[axis] for axis in order)
        return Grid((z, y, x), affine, self.frame)

    def axes_to(self, orientation: str) -> tuple[tuple[int, int, int], tuple[int, ...]]:
        """Axis order, then axes to flip (counted after reordering), that bring this grid to ``orientation``.

        Raises:
            GeometryError: ``orientation`` does not name each of L/R, P/A, S/I once.
        """
        return axes_between(self.orientation, orientation)

    def reorient(self, orientation: str) -> Grid:
        """The same places with index axes nearest to the patient directions of ``orientation``, e.g. ``"SPL"``."""
        order, flips = self.axes_to(orientation)
        return self.permute(order).flip(flips)

    def respaced(self, spacing_mm: Sequence[float]) -> Grid:
        """Grid over the same box of voxels (outer edges kept as near as whole voxels allow) with a new spacing.

        Example:
            >>> Grid.regular((10, 10, 10), spacing_mm=(1, 1, 1)).respaced((2, 1, 1)).shape
            (5, 10, 10)
        """
        wanted = np.asarray(spacing_mm, dtype=np.float64)
        factors = wanted / np.asarray(self.spacing_mm) if wanted.shape == (3,) else np.zeros(3)
        if not (np.isfinite(factors) & (factors > 0)).all():
            raise GeometryError(f"spacing {tuple(spacing_mm)} mm must be three positive numbers")
        shape = np.maximum(1, np.round(np.asarray(self.shape) / factors)).astype(int)
        # keep the centre of the box, so that what rounding adds or takes is shared by both ends
        middle = (np.asarray(self.shape) - 1) / 2 - factors * (shape - 1) / 2
        affine = self.affine.copy()
        affine[:3, :3] *= factors
        affine[:3, 3] = self.to_world(middle)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine, self.frame)

    def rectified(self) -> Grid:
        """The smallest grid with perpendicular axes that covers this one; itself where it is not sheared.

        Rows and columns keep their directions, spacing and places; slices follow each other along their normal.

        Example:
            >>> tilted = Grid((2, 4, 4), np.array([[0, 0, 1, 0], [1.5, 1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1.0]]))
            >>> tilted.rectified().shape, tilted.rectified().spacing_mm
            ((2, 6, 4), (3.0, 1.0, 1.0))
        """
        step, down, across = self.affine[:3, :3].T
        normal = np.cross(down, across)
        normal *= np.sign(normal @ step) / np.linalg.norm(normal)
        straight = (step @ normal) * normal
        # how far the last slice has moved along rows and columns, in pixels
        aside = np.linalg.lstsq(np.stack([down, across], axis=1), step - straight, rcond=None)[0] * (self.shape[0] - 1)
        if np.abs(aside).max() < 1e-6:
            return self
        before = np.floor(np.minimum(aside, 0) + 1e-6).astype(int)
        after = np.ceil(np.maximum(aside, 0) - 1e-6).astype(int)
        affine = self.affine.copy()
        affine[:3, 0] = straight
        affine[:3, 3] += before[0] * down + before[1] * across
        rows, columns = (n + int(b - a) for n, a, b in zip(self.shape[1:], before, after, strict=True))
        return Grid((self.shape[0], rows, columns), affine, self.frame)

    def difference(self, other: Grid, *, tolerance_mm: float = 0.01) -> str | None:
        """What differs between two grids, in words, or ``None`` where every corner agrees within ``tolerance_mm``.

        The frame of reference is compared only where both state one.
        """
        if self.shape != other.shape:
            return f"shape {self.shape} against {other.shape}"
        if self.frame and other.frame and self.frame != other.frame:
            return "frame of reference differs"
        gap = float(np.abs(self._corners_mm() - other._corners_mm()).max())
        if gap <= tolerance_mm:
            return None
        own, theirs = (tuple(round(s, 4) for s in g.spacing_mm) for g in (self, other))
        if own != theirs:
            return f"spacing {own} against {theirs} mm"
        return f"positions up to {gap:.3g} mm apart"

    def is_close(self, other: Grid, *, tolerance_mm: float = 0.01) -> bool:
        """Whether both grids have the same shape and every corner within ``tolerance_mm``."""
        return self.difference(other, tolerance_mm=tolerance_mm) is None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        same = self.shape == other.shape and self.frame == other.frame
        return same and bool(np.array_equal(self.affine, other.affine))

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes(), self.frame))
