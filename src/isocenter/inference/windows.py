"""Where windows lie on a working grid."""

from __future__ import annotations

import math
from itertools import product

from isocenter.tasks import Window

__all__ = ["plan_windows"]


def plan_windows(shape: tuple[int, int, int], window: tuple[int, int, int], overlap: float) -> list[Window]:
    """Windows that cover a grid evenly, in order of slice, row, column.

    Args:
        shape: Of the grid.
        window: Wanted size; cut to the grid where that is smaller.
        overlap: Least share of a window that its neighbour covers again, 0 to below 1.

    Example:
        >>> [w.start for w in plan_windows((1, 6, 4), (1, 4, 4), 0.5)]
        [(0, 0, 0), (0, 2, 0)]
    """
    a, b, c = (min(w, n) for w, n in zip(window, shape, strict=True))
    size = (a, b, c)
    starts = []
    for n, w in zip(shape, size, strict=True):
        count = 1 if n == w else math.ceil((n - w) / max(1.0, w * (1 - overlap)) - 1e-9) + 1
        starts.append([round(k * (n - w) / max(count - 1, 1)) for k in range(count)])
    return [Window((z, y, x), size) for z, y, x in product(*starts)]
