"""Kernels: the largest connected part of each class, found on runs of voxels instead of on voxels.

A row of a label map is a few runs of equal class. Runs of neighbouring rows that touch are joined (union-find); whole
volumes are labelled at the cost of reading them, and memory follows the number of runs (He, Chao, Suzuki 2008). Import
this module inside functions: it starts the compiler.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import compiled, in_parts

__all__ = ["keep_largest_runs"]

Table = NDArray[np.uint8]


def keep_largest_runs(labels: Table, classes: Table, instead: Table, rank: int) -> NDArray[np.uint8]:
    """Labels of which each class keeps only its largest connected part; of equal ones the first.

    Args:
        labels: ``(slice, row, column)``, C-contiguous.
        classes: ``(256,)`` class of each label value; 0: not looked at.
        instead: ``(256,)`` what a voxel of each value becomes where it is not of the largest part.
        rank: 1 neighbours across faces, 2 also across edges, 3 also across corners.

    Returns:
        A new array.
    """
    depth, height, _ = labels.shape
    out = labels.copy()
    first = np.zeros(depth * height + 1, np.int64)
    in_parts(lambda a, b: _count(labels, classes, first, a, b), depth, least=8)
    np.cumsum(first, out=first)
    runs = int(first[-1])
    start, stop, parent = (np.empty(runs, np.int32) for _ in range(3))
    kind = np.empty(runs, np.uint8)
    in_parts(lambda a, b: _fill(labels, classes, first, start, stop, kind, a, b), depth, least=8)
    _join(first, start, stop, kind, parent, height, rank)
    kept = _largest(start, stop, kind, parent)
    in_parts(lambda a, b: _write(out, instead, first, start, stop, kept, a, b), depth, least=8)
    return out


@compiled
def _count(labels: Any, classes: Any, first: Any, low: int, high: int) -> None:
    """Runs of each row, one place on, so that their running sum is where each row begins."""
    for z in range(low, high):
        for y in range(labels.shape[1]):
            count, before = 0, 0
            for x in range(labels.shape[2]):
                here = classes[labels[z, y, x]]
                if here != before:
                    before = here
                    if here:
                        count += 1
            first[z * labels.shape[1] + y + 1] = count


@compiled
def _fill(labels: Any, classes: Any, first: Any, start: Any, stop: Any, kind: Any, low: int, high: int) -> None:
    for z in range(low, high):
        for y in range(labels.shape[1]):
            run = first[z * labels.shape[1] + y] - 1
            before = 0
            for x in range(labels.shape[2]):
                here = classes[labels[z, y, x]]
                if here != before:
                    if before:
                        stop[run] = x
                    if here:
                        run += 1
                        start[run], kind[run] = x, here
                    before = here
            if before:
                stop[run] = labels.shape[2]


@compiled
def _root(parent: Any, run: int) -> int:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@compiled
def _touch(runs: Any, parent: Any, one: int, one_end: int, other: int, other_end: int, reach: int) -> None:
    """Join the touching runs of two rows; the earlier run becomes the root, so that a root is a part's first run."""
    start, stop, kind = runs
    for run in range(one, one_end):
        while other < other_end and stop[other] + reach <= start[run]:
            other += 1
        near = other
        while near < other_end and start[near] < stop[run] + reach:
            if kind[near] == kind[run]:
                a, b = _root(parent, run), _root(parent, near)
                if a < b:
                    parent[b] = a
                elif b < a:
                    parent[a] = b
            near += 1


@compiled
def _join(first: Any, start: Any, stop: Any, kind: Any, parent: Any, height: int, rank: int) -> None:
    for run in range(len(parent)):
        parent[run] = run
    for row in range(len(first) - 1):
        if first[row] == first[row + 1]:
            continue
        z, y = row // height, row % height
        for back in range(2):  # the row before in this slice, then those of the slice before
            for step in range(-1, 2):
                near = y + step
                if z < back or near < 0 or near >= height or (back == 0 and step != -1):
                    continue
                apart = back + abs(step)
                if apart > rank:
                    continue
                other = (z - back) * height + near
                reach = 1 if apart < rank else 0
                _touch((start, stop, kind), parent, first[row], first[row + 1], first[other], first[other + 1], reach)


@compiled
def _largest(start: Any, stop: Any, kind: Any, parent: Any) -> Any:
    """Whether each run belongs to the largest part of its class."""
    size = np.zeros(len(parent), np.int64)
    for run in range(len(parent)):
        size[_root(parent, run)] += stop[run] - start[run]
    best = np.full(256, -1, np.int64)
    for run in range(len(parent)):
        if parent[run] == run and (best[kind[run]] < 0 or size[run] > size[best[kind[run]]]):
            best[kind[run]] = run
    kept = np.empty(len(parent), np.bool_)
    for run in range(len(parent)):
        kept[run] = _root(parent, run) == best[kind[run]]
    return kept


@compiled
def _write(out: Any, instead: Any, first: Any, start: Any, stop: Any, kept: Any, low: int, high: int) -> None:
    for z in range(low, high):
        for y in range(out.shape[1]):
            row = z * out.shape[1] + y
            for run in range(first[row], first[row + 1]):
                if not kept[run]:
                    for x in range(start[run], stop[run]):
                        out[z, y, x] = instead[out[z, y, x]]
