"""The cheapest closed path around a place: what a broken ring lacks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cheapest_loop"]

STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))
LEAST = 1e-3
"""Cost of a place that costs nothing, so that paths are short."""


def cheapest_loop(cost: NDArray[np.floating], centre: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Places of the closed path around ``centre`` whose costs sum to the least; ``None`` where there is none.

    A ray is drawn from the centre to the border. A closed path goes around the centre where it crosses the ray an odd
    number of times: the plane is taken twice, crossing leads from one sheet to the other, and the path sought is the
    shortest from a place on one sheet to itself on the other. Time grows with the places that are not infinite, and
    with those of them on the ray.

    Args:
        cost: ``(row, column)``, not negative, infinite where the path must not go; the centre is left out too.
        centre: Row and column.

    Example:
        >>> cost = np.full((5, 5), 9.0)
        >>> cost[1:4, 1:4] = 0.0
        >>> cheapest_loop(cost, (2, 2)).astype(int).tolist()
        [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    """
    step = np.maximum(np.asarray(cost, np.float64), 0) + LEAST
    step[centre] = np.inf
    # every loop crosses every ray, so the one that has the fewest places is enough
    turns = [np.isfinite(_ray(*_turned(step, centre, k))).sum() for k in range(4)]
    if min(turns) == 0:
        return None
    k = int(np.argmin(turns))
    path = _around(*_turned(step, centre, k))
    return None if path is None else np.rot90(path, -k)


def _turned(step: NDArray[np.float64], centre: tuple[int, int], k: int) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Map and centre after ``k`` quarter turns."""
    row, column = centre
    for axis in range(k):
        row, column = step.shape[1 - axis % 2] - 1 - column, row
    return np.rot90(step, k), (row, column)


def _ray(step: NDArray[np.float64], centre: tuple[int, int]) -> NDArray[np.float64]:
    """What lies to the right of the centre."""
    return step[centre[0], centre[1] + 1 :]


def _around(step: NDArray[np.float64], centre: tuple[int, int]) -> NDArray[np.bool_] | None:
    from scipy.sparse.csgraph import dijkstra

    free = np.isfinite(step)
    number = np.where(free, np.cumsum(free).reshape(step.shape) - 1, -1)
    count = int(free.sum())
    ray = number[centre[0], centre[1] + 1 :]
    ray = ray[ray >= 0]
    lengths, before = dijkstra(_two_sheets(step, number, centre), indices=ray, return_predecessors=True)
    ends = lengths[np.arange(len(ray)), ray + count]
    best = int(np.argmin(ends))
    if not np.isfinite(ends[best]):
        return None
    on = np.zeros(count, bool)
    node = int(ray[best]) + count
    while node >= 0:
        on[node % count] = True
        node = int(before[best, node])
    path = np.zeros(step.shape, bool)
    path[free] = on
    return path


def _two_sheets(step: NDArray[np.float64], number: NDArray[np.int64], centre: tuple[int, int]):  # type: ignore[no-untyped-def]
    """Graph of both sheets; an edge costs the mean of its ends, times its length."""
    from scipy.sparse import coo_array

    rows, columns = step.shape
    begins, ends, weights, crossing = [], [], [], []
    for down, right in STEPS:
        a = (slice(0, rows - down), slice(max(0, -right), columns - max(0, right)))
        b = (slice(down, rows), slice(max(0, right), columns + min(0, right)))
        weight = (step[a] + step[b]) / 2 * np.hypot(down, right)
        # the ray runs half a row above the centre's, so that no place lies on it
        row = np.arange(rows - down)[:, None]
        column = np.maximum(np.arange(columns)[a[1]], np.arange(columns)[b[1]])[None, :]
        flips = np.broadcast_to((down == 1) & (row == centre[0] - 1) & (column > centre[1]), weight.shape)
        good = np.isfinite(weight)
        begins.append(number[a][good])
        ends.append(number[b][good])
        weights.append(weight[good])
        crossing.append(flips[good])
    begin, end, weight, flip = (np.concatenate(x) for x in (begins, ends, weights, crossing))
    count = int(number.max()) + 1
    other = np.where(flip, count, 0)
    one = np.concatenate([begin, begin + count])
    two = np.concatenate([end + other, end + count - other])
    both = np.concatenate([weight] * 4)
    places = np.concatenate([one, two]), np.concatenate([two, one])
    return coo_array((both, places), shape=(2 * count, 2 * count)).tocsr()
