"""The planes that a study can be looked at in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isocenter.report.viewing import edge_letters, is_placed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.volume import Grid

__all__ = ["Plane", "planes_of"]

_OBLIQUE_DEG = 15.0


@dataclass(frozen=True)
class Plane:
    """One orthogonal plane of a viewing grid, in the radiological convention.

    Attributes:
        key: ``"axial"``, ``"coronal"`` or ``"sagittal"``.
        title: For a person; says where the plane is oblique.
        normal: Index axis that slices are counted along.
        row: Index axis that runs down the screen (up, where ``flipped``).
        column: Index axis that runs to the right.
        flipped: The row axis runs up: the head is at the top.
        edges: Letters at the left, right, top and bottom edge; empty where directions are not stated.
    """

    key: str
    title: str
    normal: int
    row: int
    column: int
    flipped: bool
    edges: tuple[str, str, str, str]

    def directions(self, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """LPS unit vectors of a grid in this plane: towards the next slice, down the screen, to the right."""
        normal, row, column = (grid.directions[:, axis] for axis in (self.normal, self.row, self.column))
        return normal, -row if self.flipped else row, column


_PLANES = (("axial", 0, 1, 2, False), ("coronal", 1, 0, 2, True), ("sagittal", 2, 0, 1, True))


def planes_of(grid: Grid) -> tuple[Plane, ...]:
    """Planes in which a viewing grid has more than a line of voxels; the first is the one it is best seen in."""
    placed = is_placed(grid)
    letters = edge_letters(grid)
    oblique = " (oblique)" if placed and grid.obliquity_deg > _OBLIQUE_DEG else ""
    found = []
    for key, normal, row, column, flipped in _PLANES:
        if min(grid.shape[row], grid.shape[column]) > 1 and (placed or key == "axial"):
            top, bottom = letters[row][::-1] if flipped else letters[row]
            edges = (*letters[column], top, bottom) if placed else ("", "", "", "")
            title = key.capitalize() + oblique if placed else "Image"
            found.append(Plane(key, title, normal, row, column, flipped, edges))
    flat = ("", "", "", "")
    return tuple(found) or (Plane("axial", "Image", 0, 1, 2, False, flat),)
