"""Topology of structures in every slice: how many pieces and holes they have, and what they enclose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from isocenter.tasks.priors.betti import betti_2d, persistent_loop
from isocenter.tasks.priors.closing import cheapest_loop
from isocenter.tasks.priors.contract import Labels, Maps, Prior, Violation, prior
from isocenter.volume import Grid

__all__ = ["Ring", "Topology"]

Mask = NDArray[np.bool_]
MARGIN = 1.0
"""By which a repaired class leads, in logits, so that interpolation to the image's own grid keeps it."""
FEWEST = 4
"""Voxels of a structure in a slice below which nothing is said of its shape."""


@prior("topology")
class Topology(Prior):
    """A structure has one piece in a slice, without holes or with exactly one.

    A repair closes a loop that is nearly closed, fills other holes, and drops other pieces. It is left undone, and
    flagged, where the loop's weakest place is less probable than ``least_probability``, or more than ``most_change`` of
    the structure would change.

    Attributes:
        structure: Its name.
        holes: 0 or 1.
        least_probability: Of the structure at the weakest place of a loop that is closed.
        most_change: Share of the structure's voxels in the slice.
    """

    structure: str
    holes: Literal[0, 1] = 0
    least_probability: float = Field(default=0.02, ge=0, le=1)
    most_change: float = Field(default=0.5, ge=0)

    @property
    def structures(self) -> tuple[str, ...]:
        """See `Prior`."""
        return (self.structure,)

    def check(self, labels: Labels, grid: Grid) -> list[Violation]:
        """Slices in which it has other than one piece, or other holes."""
        wrong = []
        for k, plane in enumerate(labels[self.structure]):
            if plane.sum() < FEWEST:
                continue
            parts, holes = betti_2d(plane)
            if (parts, holes) != (1, self.holes):
                text = f"{_count(parts, holes)}, expected {_count(1, self.holes)}"
                wrong.append(Violation(self.kind, f"{self.structure}, slice {k}: {text}", k))
        return wrong

    def repair(self, maps: Maps, numbers: Mapping[str, int]) -> Maps:
        """See `Prior`."""
        number = numbers[self.structure]
        mask = maps.argmax(0) == number
        if mask.sum() < FEWEST or betti_2d(mask) == (1, self.holes):
            return maps
        wanted = self._wanted(maps, number, mask)
        if wanted is None or (wanted ^ mask).sum() > self.most_change * mask.sum():
            return maps
        return _relabelled(maps, number, mask, wanted)

    def _wanted(self, maps: Maps, number: int, mask: Mask) -> Mask | None:
        if self.holes == 0:
            return _without_holes(_largest(mask))
        share = _softmax(maps)[number]
        loop = persistent_loop(share)
        if loop is None or loop.birth < self.least_probability:
            return None
        return closed_around(mask, maps.max(0) - maps[number], loop.centre)


@prior("ring")
class Ring(Prior):
    """A structure is a ring around another in every slice in which both are: myocardium around a ventricle's cavity.

    Where the ring is nearly closed it is closed, what it encloses becomes the inner structure, and pieces of either
    elsewhere are dropped. Slices in which the ring would have to be invented (the base of the heart, where the wall is
    open) are left alone, and flagged.

    Attributes:
        inner: What is enclosed.
        outer: The ring.
        least_probability: Of the outer structure at the weakest place of a ring that is closed.
        most_change: Share of the voxels of both in the slice.
    """

    inner: str
    outer: str
    least_probability: float = Field(default=0.02, ge=0, le=1)
    most_change: float = Field(default=0.5, ge=0)

    @property
    def structures(self) -> tuple[str, ...]:
        """See `Prior`."""
        return (self.inner, self.outer)

    def check(self, labels: Labels, grid: Grid) -> list[Violation]:
        """Slices in which the outer structure is no ring, or part of the inner one lies outside of it."""
        wrong = []
        for k, (inner, outer) in enumerate(zip(labels[self.inner], labels[self.outer], strict=True)):
            if min(inner.sum(), outer.sum()) < FEWEST:
                continue
            parts, holes = betti_2d(outer)
            beyond = int((inner & ~_without_holes(outer)).sum())
            if (parts, holes) != (1, 1):
                found = _count(parts, holes)
                wrong.append(Violation(self.kind, f"{self.outer}, slice {k}: {found}, expected a ring", k))
            elif beyond:
                text = f"{self.inner}, slice {k}: {beyond} voxels lie outside of {self.outer}"
                wrong.append(Violation(self.kind, text, k))
        return wrong

    def repair(self, maps: Maps, numbers: Mapping[str, int]) -> Maps:
        """See `Prior`."""
        inner, outer = numbers[self.inner], numbers[self.outer]
        best = maps.argmax(0)
        core, wall = best == inner, best == outer
        if min(core.sum(), wall.sum()) < FEWEST:
            return maps
        if betti_2d(wall) == (1, 1) and not (core & ~_without_holes(wall)).any():
            return maps
        share = _softmax(maps)
        loop = persistent_loop(share[outer])
        if loop is None or loop.birth < self.least_probability or not _near(core, loop.centre):
            return maps
        ring = closed_around(wall, maps.max(0) - maps[outer], loop.centre)
        if ring is None:
            return maps
        inside = _without_holes(ring) & ~ring
        changed = (ring ^ wall) | (inside ^ core)
        if changed.sum() > self.most_change * (core.sum() + wall.sum()):
            return maps
        return _relabelled(_relabelled(maps, outer, wall, ring), inner, core & ~ring, inside)


def closed_around(mask: Mask, cost: NDArray[np.floating], centre: tuple[int, int]) -> Mask | None:
    """A mask that is one ring around ``centre``: closed by the cheapest path, without other holes and pieces.

    Args:
        mask: ``(row, column)``.
        cost: Of taking a place that is not in the mask.
        centre: Row and column, which stays outside of the mask.

    Returns:
        The ring, or ``None`` where no path leads around the centre.
    """
    path = cheapest_loop(np.where(mask, 0.0, cost), centre)
    if path is None:
        return None
    from scipy.ndimage import label

    # a path of one voxel would not outlive interpolation: what it adds is made two wide
    added = path & ~mask
    thick = added | np.roll(added, 1, 0) | np.roll(added, 1, 1)
    thick[0], thick[:, 0], thick[centre] = added[0], added[:, 0], False
    ring = mask | thick
    ring[centre] = False
    holes, _ = label(np.pad(~ring, 1, constant_values=True))
    outside, middle = holes[0, 0], holes[centre[0] + 1, centre[1] + 1]
    if middle == outside:
        return None
    ring |= ~np.isin(holes[1:-1, 1:-1], (outside, middle))
    pieces, _ = label(ring, np.ones((3, 3)))
    return np.asarray(pieces == pieces[path][0])


def _relabelled(maps: Maps, number: int, was: Mask, wanted: Mask) -> Maps:
    """Maps in which a class wins exactly where wanted; where it must not, the next best class does."""
    out = maps.copy()
    gained, lost = wanted & ~was, was & ~wanted
    out[number][gained] = maps.max(0)[gained] + MARGIN
    others = np.delete(maps, number, 0).max(0)
    out[number][lost] = others[lost] - MARGIN
    return out


def _largest(mask: Mask) -> Mask:
    from scipy.ndimage import label

    pieces, count = label(mask, np.ones((3, 3)))
    if count < 2:
        return mask
    return np.asarray(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())


def _without_holes(mask: Mask) -> Mask:
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(mask))


def _near(mask: Mask, place: tuple[int, int]) -> bool:
    """The place lies in the mask or beside it."""
    row, column = place
    return bool(mask[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].any())


def _softmax(maps: Maps) -> Maps:
    shifted = np.exp(maps - maps.max(0))
    return np.asarray(shifted / shifted.sum(0))


def _count(parts: int, holes: int) -> str:
    return f"{parts} piece{'s' * (parts != 1)} with {holes or 'no'} hole{'s' * (holes != 1)}"
