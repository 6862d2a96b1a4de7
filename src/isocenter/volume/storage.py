"""Voxels as kernels want them: axes as they lie in memory, and no copy where a view will do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import in_parts

__all__ = ["as_stored", "by_rows", "flat_view"]

LEAST = 1 << 15  # output voxels below which a thread does not pay
BLOCK = 16  # slices that are turned at once: a cache line of float32


def as_stored(values: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, ...], tuple[bool, bool, bool]]:
    """A view of three axes in memory order, the old axis of each of its axes, and which old axes it reverses.

    Example:
        >>> turned = np.zeros((2, 3, 4)).transpose(2, 1, 0)[:, ::-1]
        >>> view, order, flipped = as_stored(turned)
        >>> view.flags.c_contiguous, order, flipped
        (True, (2, 1, 0), (False, True, False))
    """
    a, b, c = (n > 1 and s < 0 for n, s in zip(values.shape, values.strides, strict=True))
    values = np.flip(values, tuple(axis for axis, flip in enumerate((a, b, c)) if flip))
    steps = [-s if n > 1 else -(1 << 60) for n, s in zip(values.shape, values.strides, strict=True)]
    order = tuple(sorted(range(3), key=steps.__getitem__))
    return values.transpose(order), order, (a, b, c)


def flat_view(values: NDArray[Any], kinds: Sequence[str] = ("i2", "u1", "f4")) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Voxels as one row, and the steps in it along every axis but the last, whose step is 1.

    Read-only, so that one compiled kernel serves memory maps too. A box out of a contiguous array is not copied.

    Args:
        values: Any number of axes.
        kinds: Data types to keep; others become float32.

    Example:
        >>> flat, steps = flat_view(np.arange(24, dtype=np.int16).reshape(2, 3, 4)[:, 1:, 1:])
        >>> int(flat[steps[0] + 1]), steps
        (18, (12, 4))
    """
    if values.dtype == np.bool_:
        values = values.view(np.uint8)
    if values.dtype not in [np.dtype(kind) for kind in kinds]:
        values = values.astype(np.float32)
    size = values.itemsize
    packed = values.shape[-1] == 1 or values.strides[-1] == size
    if not packed or min(values.strides) < 0 or any(s % size for s in values.strides) or not values.flags.aligned:
        values = np.ascontiguousarray(values)
    steps = tuple(s // size if n > 1 else 0 for n, s in zip(values.shape[:-1], values.strides[:-1], strict=True))
    length = sum((n - 1) * s for n, s in zip(values.shape[:-1], steps, strict=True)) + values.shape[-1]
    return np.lib.stride_tricks.as_strided(values, (length,), (size,), writeable=False), steps


def by_rows(
    work: Callable[[NDArray[Any], int, int, int], object],
    out: NDArray[Any],
    order: Sequence[int] = (0, 1, 2),
    *,
    threads: int | None = None,
) -> None:
    """Fill ``out`` row by row in threads.

    Args:
        work: Called with an array to fill, its first slice, and the range of rows, counted over all slices.
        out: Contiguous.
        order: Axis of ``out`` for each axis that ``work`` thinks in.
        threads: As for `isocenter.volume.compiled.in_parts`.
    """
    target = out.transpose(order)
    slices, rows, columns = target.shape

    def turned(start: int, stop: int) -> None:
        block = np.empty((min(BLOCK, stop - start), rows, columns), out.dtype)
        for low in range(start, stop, BLOCK):
            high = min(low + BLOCK, stop)
            work(block, low, low * rows, high * rows)
            target[low:high] = block[: high - low]

    if tuple(order) == (0, 1, 2):
        in_parts(lambda a, b: work(out, 0, a, b), slices * rows, threads=threads, least=LEAST // columns + 1)
    else:
        in_parts(turned, slices, threads=threads, least=LEAST // (rows * columns) + 1)
