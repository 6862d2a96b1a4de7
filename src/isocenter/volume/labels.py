"""Encoded label maps on other grids: structures are compared by the share that they have of each voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.grid import Affine, Grid
from isocenter.volume.mapping import aligned_axes, shrink_factors
from isocenter.volume.resample import axis_tables, fill_beyond, resample_array

__all__ = ["resample_labels"]


def resample_labels(encoded: NDArray[np.uint8], source: Grid, target: Grid, *, ignore: int = 255) -> NDArray[np.uint8]:
    """Encoded targets on another grid: each structure's mask is interpolated and the largest share wins.

    Finer than nearest neighbour (no jagged borders, thin structures survive longer), and no structure is blended with
    another's number. Shares are the weights of linear interpolation, widened where the grid becomes coarser. Between
    equal shares a structure wins against the background, and the lower number against the higher.

    Args:
        encoded: ``(1, ...)`` numbers 0..K of exclusive structures, or ``(structure, ...)`` of 0 and 1.
        source: Grid of ``encoded``.
        target: Grid wanted.
        ignore: Value that marks unannotated voxels; taken by nearest neighbour, and by what lies outside ``source``.

    Returns:
        The same channels on ``target``.

    Example:
        >>> row = Grid.regular((1, 1, 8), spacing_mm=(1, 1, 1))
        >>> resample_labels(np.array([[[[0, 0, 0, 2, 2, 2, 1, 1]]]], np.uint8), row, row.respaced((1, 1, 2))).tolist()
        [[[[0, 2, 2, 1]]]]
    """
    if source == target:
        return encoded
    matrix = target.index_map_to(source)
    plain = np.round(matrix)
    if np.allclose(matrix, plain, atol=1e-6) and np.allclose(np.abs(plain[:3, :3]).sum(0), 1):
        exact = resample_array(encoded, plain, target.shape, interpolation="nearest", fill=ignore)
        return np.asarray(exact, dtype=np.uint8)
    return _by_shares(encoded, matrix, target.shape, ignore)


def _by_shares(
    encoded: NDArray[np.uint8], matrix: Affine, shape: tuple[int, int, int], ignore: int
) -> NDArray[np.uint8]:
    from isocenter.volume.voting import vote_axes, vote_turned

    sizes = encoded.shape[1:]
    widen = shrink_factors(matrix)
    out = np.empty((len(encoded), *shape), np.uint8)
    maps = aligned_axes(matrix, shape)
    if maps is None:
        for labels, place in zip(encoded, out, strict=True):
            vote_turned(labels, matrix, place, widen=widen, ignore=ignore)
        return out
    tables = axis_tables(sizes, maps, (False,) * 3, widen)
    for labels, place in zip(encoded, out, strict=True):
        vote_axes(labels, tables, [m.axis for m in maps], place, ignore=ignore)
    fill_beyond(out, maps, sizes, ignore)
    return out
