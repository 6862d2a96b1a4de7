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

    A ray is drawn from the centre to the right. A closed path goes around the centre where it crosses the ray an odd
    number of times: the plane is taken twice, crossing leads from one sheet to the other, and the path sought is the
    shortest from a place on one sheet to itself on the other.

    Args:
        cost: ``(row, column)``, not negative, infinite where the path must not go; the centre is left out too.
        centre: Row and column.

    Example:
        >>> cost = np.full((5, 5), 9.0)
        >>> cost[1:4, 1:4] = 0.0
        >>> cheapest_loop(cost, (2, 2)).astype(int).tolist()
        [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    """
    from scipy.sparse.csgraph import dijkstra

    rows, columns = cost.shape
    step = np.maximum(np.asarray(cost, np.float64), 0) + LEAST
    step[centre] = np.inf
    graph = _two_sheets(step, centre)
    count = rows * columns
    # every loop crosses the ray, so it passes one of these places
    ray = [centre[0] * columns + c for c in range(centre[1] + 1, columns) if np.isfinite(step[centre[0], c])]
    if not ray:
        return None
    lengths, before = dijkstra(graph, indices=ray, return_predecessors=True)
    ends = np.array([lengths[k, place + count] for k, place in enumerate(ray)])
    best = int(np.argmin(ends))
    if not np.isfinite(ends[best]):
        return None
    path = np.zeros(count, bool)
    node = ray[best] + count
    while node >= 0:
        path[node % count] = True
        node = int(before[best, node])
    return path.reshape(rows, columns)


def _two_sheets(step: NDArray[np.float64], centre: tuple[int, int]):  # type: ignore[no-untyped-def]
    """Graph of both sheets; an edge costs the mean of its ends, times its length."""
    from scipy.sparse import coo_array

    rows, columns = step.shape
    number = np.arange(rows * columns).reshape(rows, columns)
    begins, ends, weights, crossing = [], [], [], []
    for down, right in STEPS:
        a = (slice(0, rows - down), slice(max(0, -right), columns - max(0, right)))
        b = (slice(down, rows), slice(max(0, right), columns + min(0, right)))
        weight = (step[a] + step[b]) / 2 * np.hypot(down, right)
        # the ray runs half a row above the centre's, so that no place lies on it
        row = np.arange(rows - down)[:, None] + np.zeros(weight.shape, int)
        column = np.maximum(np.arange(columns)[a[1]], np.arange(columns)[b[1]])[None, :] + np.zeros(weight.shape, int)
        flips = (down == 1) & (row == centre[0] - 1) & (column > centre[1])
        good = np.isfinite(weight)
        begins.append(number[a][good])
        ends.append(number[b][good])
        weights.append(weight[good])
        crossing.append(flips[good])
    begin, end, weight, flip = (np.concatenate(x) for x in (begins, ends, weights, crossing))
    count = rows * columns
    other = np.where(flip, count, 0)
    one = np.concatenate([begin, begin + count])
    two = np.concatenate([end + other, end + count - other])
    both = np.concatenate([weight, weight])
    return coo_array(
        (np.concatenate([both, both]), (np.concatenate([one, two]), np.concatenate([two, one]))),
        shape=(2 * count, 2 * count),
    ).tocsr()
