"""Patient directions as letters, and the turns between them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError

__all__ = ["axes_between", "name_directions", "worst_angle_deg"]

_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))  # negative and positive end of the LPS axes


def name_directions(directions: NDArray[np.float64]) -> str:
    """Letters of the patient directions nearest to three unit vectors (the columns), each axis named once.

    For oblique axes the assignment that maximises the summed cosines is taken.

    Example:
        >>> name_directions(np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]))
        'IPL'
    """
    best = max(permutations(range(3)), key=lambda p: sum(abs(directions[p[a], a]) for a in range(3)))
    return "".join(_LETTERS[world][int(directions[world, axis] > 0)] for axis, world in enumerate(best))


def worst_angle_deg(directions: NDArray[np.float64]) -> float:
    """Largest angle between a vector (the columns) and the patient axis that `name_directions` gives it."""
    worlds = _worlds(name_directions(directions))
    worst = min(abs(float(directions[world, axis])) for axis, world in enumerate(worlds))
    return float(np.degrees(np.arccos(min(worst, 1.0))))


def axes_between(own: str, wanted: str) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Axis order, then axes to flip (counted after reordering), that turn ``own`` into ``wanted``.

    Raises:
        GeometryError: ``wanted`` does not name each of L/R, P/A, S/I once.

    Example:
        >>> axes_between("SPL", "LPI")
        ((2, 1, 0), (2,))
    """
    worlds, target = _worlds(own), wanted.upper()
    places = _worlds(target)
    if sorted(places) != [0, 1, 2]:
        raise GeometryError(f"orientation {wanted!r} must name one of L/R, one of P/A and one of S/I, as 'SPL'")
    a, b, c = (worlds.index(world) for world in places)
    return (a, b, c), tuple(i for i, axis in enumerate((a, b, c)) if own[axis] != target[i])


def _worlds(orientation: str) -> list[int]:
    return [next((w for w, pair in enumerate(_LETTERS) if letter in pair), -1) for letter in orientation]
