"""Betti numbers of masks, and the loops of a probability map.

Voxels of a structure touch by faces, edges and corners, those of its complement by faces alone; the image is surrounded
by background. With this pair of connectivities a ring one voxel wide separates what it encloses.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import MissingExtraError

__all__ = ["Loop", "betti_2d", "betti_3d", "persistent_loops", "require_gudhi"]

Mask = NDArray[np.bool_]


def betti_2d(mask: Mask) -> tuple[int, int]:
    """Components and holes of a slice.

    Args:
        mask: ``(row, column)``.

    Example:
        >>> ring = np.ones((3, 3), bool)
        >>> ring[1, 1] = False
        >>> betti_2d(ring), betti_2d(np.eye(3, dtype=bool))
        ((1, 1), (1, 0))
    """
    from scipy.ndimage import label

    parts = int(label(mask, np.ones((3, 3)))[1])
    holes = int(label(np.pad(~mask, 1, constant_values=True))[1]) - 1
    return parts, holes


def betti_3d(mask: Mask) -> tuple[int, int, int]:
    """Components, tunnels and cavities of a volume.

    Tunnels follow from the Euler characteristic of the cubical complex: ``b0 - b1 + b2``.

    Args:
        mask: ``(slice, row, column)``.

    Example:
        >>> torus = np.ones((1, 3, 3), bool)
        >>> torus[0, 1, 1] = False
        >>> shell = np.ones((3, 3, 3), bool)
        >>> shell[1, 1, 1] = False
        >>> betti_3d(torus), betti_3d(shell)
        ((1, 1, 0), (1, 0, 1))
    """
    from scipy.ndimage import label

    parts = int(label(mask, np.ones((3, 3, 3)))[1])
    cavities = int(label(np.pad(~mask, 1, constant_values=True))[1]) - 1
    return parts, parts + cavities - _euler(mask), cavities


def _euler(mask: Mask) -> int:
    """Vertices less edges plus faces less cubes of the closed voxels."""
    padded = np.pad(mask, 1)
    total = 0
    for axes in np.ndindex(2, 2, 2):
        # cells of this orientation are there where any voxel that has them is: merge along the axes they do not span
        cells = padded
        for axis, spans in enumerate(axes):
            if not spans:
                low = [slice(None)] * 3
                high = [slice(None)] * 3
                low[axis], high[axis] = slice(None, -1), slice(1, None)
                cells = cells[tuple(low)] | cells[tuple(high)]
        total += (-1) ** sum(axes) * int(cells.sum())
    return total


@dataclass(frozen=True)
class Loop:
    """A loop of a probability map that appears while the threshold falls, and is filled later.

    Attributes:
        birth: Threshold at which the loop closes: the probability at its weakest place.
        death: Threshold at which it is filled: the highest that its inside needs.
        centre: Row and column of the place that is filled last.
    """

    birth: float
    death: float
    centre: tuple[int, int]


def persistent_loops(
    share: NDArray[np.floating], *, least: float = 0.0, inside: NDArray[np.bool_] | None = None
) -> list[Loop]:
    """Loops of a map that appear while a threshold on it falls, the firmest first.

    Firm is what lives long on the scale of log probabilities: by differences a ring with one weak place would rank
    below the ripples of its own wall.

    Args:
        share: ``(row, column)`` probabilities.
        least: Loops that close below it are not looked at; the higher, the faster.
        inside: Where the place that is filled last must lie.

    Raises:
        MissingExtraError: gudhi is not installed.

    Reference:
        Edelsbrunner & Harer, *Computational topology*, 2010; Clough et al., *A topological loss function for
        deep-learning based image segmentation using persistent homology*, IEEE TPAMI 2022.

    Example:
        >>> wall = np.array([[0.9, 0.9, 0.9], [0.3, 0.1, 0.9], [0.9, 0.9, 0.9]])
        >>> persistent_loops(wall)
        [Loop(birth=0.3, death=0.1, centre=(1, 1))]
        >>> persistent_loops(wall, least=0.5)
        []
    """
    gudhi = require_gudhi()
    # a loop lies where the map reaches its birth, and so does not leave the box around such places
    rows, columns = (np.flatnonzero((share >= least).any(axis)) for axis in (1, 0))
    if not len(rows):
        return []
    first = np.array([rows[0], columns[0]])
    box = np.asarray(share, np.float64)[first[0] : rows[-1] + 1, first[1] : columns[-1] + 1]
    # what lies beyond is background, so that a loop cannot close along the border
    field = np.pad(1 - box, 1, constant_values=1.0)
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=field)
    complex_.compute_persistence(homology_coeff_field=2)
    pairs = complex_.cofaces_of_persistence_pairs()[0]
    if len(pairs) < 2 or not len(pairs[1]):
        return []
    places = np.stack(np.unravel_index(pairs[1], field.shape, order="F"), -1)  # (loop, birth or death, axis)
    values = np.round(1 - field[places[..., 0], places[..., 1]], 12)
    loops = [
        Loop(float(birth), float(death), (int(row), int(column)))
        for (birth, death), (row, column) in zip(values, places[:, 1] - 1 + first, strict=True)
        if birth >= least and (inside is None or inside[row, column])
    ]
    return sorted(loops, key=lambda loop: (-loop.birth / max(loop.death, 1e-9), loop.centre))


def require_gudhi() -> ModuleType:
    """The library, which comes with an extra.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import gudhi
    except ImportError:
        raise MissingExtraError("persistent homology needs gudhi: pip install 'isocenter[topology]'") from None
    return gudhi  # type: ignore[no-any-return] # it has no types
