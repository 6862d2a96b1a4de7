"""A ring around a structure: myocardium around a ventricle's cavity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from isocenter.tasks.priors.betti import betti_2d, persistent_loops, require_gudhi
from isocenter.tasks.priors.contract import Labels, Maps, Prior, Violation, prior
from isocenter.tasks.priors.mending import Mask, least_ring, relabelled, softmax, without_holes
from isocenter.tasks.priors.topology import FEWEST, counted
from isocenter.volume import Grid

__all__ = ["Ring"]

NEAR = 2
"""Voxels beside the inner structure in which the middle of a ring may lie."""

ENCLOSED = 0.5
"""Share of the inner structure that a ring must enclose."""


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

    Reference:
        Byrne et al., *A persistent homology-based topological loss for CNN-based multi-class segmentation of CMR*,
        IEEE Transactions on Medical Imaging 2023, for what must hold; the repair is ours.
    """

    inner: str
    outer: str
    least_probability: float = Field(default=0.02, ge=0, le=1)
    most_change: float = Field(default=0.5, ge=0)

    def model_post_init(self, context: Any) -> None:
        """What a repair needs is missed when the plan is read, not at the first slice that is broken."""
        require_gudhi()

    @property
    def structures(self) -> tuple[str, ...]:
        """See `Prior`."""
        return (self.inner, self.outer)

    def check(self, labels: Labels, grid: Grid) -> list[Violation]:
        """Slices in which the outer structure is no ring, or does not enclose the inner one and nothing else."""
        wrong = []
        for k, (inner, outer) in enumerate(zip(labels[self.inner], labels[self.outer], strict=True)):
            if min(inner.sum(), outer.sum()) < FEWEST:
                continue
            pieces, holes = betti_2d(outer)
            beyond, lacking = _amiss(inner, outer)
            if (pieces, holes) != (1, 1):
                text = f"{self.outer}, slice {k}: {counted(pieces, holes)}, expected a ring"
            elif beyond:
                text = f"{self.inner}, slice {k}: {beyond} voxels lie outside of {self.outer}"
            elif lacking:
                text = f"{self.outer}, slice {k}: encloses {lacking} voxels that are not {self.inner}"
            else:
                continue
            wrong.append(Violation(self.kind, text, k))
        return wrong

    def repair(self, maps: Maps, numbers: Mapping[str, int]) -> Maps:
        """See `Prior`."""
        inner, outer = numbers[self.inner], numbers[self.outer]
        best = maps.argmax(0)
        core, wall = best == inner, best == outer
        if min(core.sum(), wall.sum()) < FEWEST:
            return maps
        if betti_2d(wall) == (1, 1):
            if not any(_amiss(core, wall)):
                return maps
            ring: Mask | None = wall
        else:
            ring = self._closed(maps, outer, core, wall)
        if ring is None or (core & _within(ring)).sum() < ENCLOSED * core.sum():
            return maps
        if _changed(ring, core, wall) > self.most_change * (core.sum() + wall.sum()):
            return maps
        inside = _within(ring)
        # what either loses outside goes to others, not from one to the other
        out = relabelled(maps, [inner, outer], ring | inside)
        out = relabelled(out, [outer], ring)
        return relabelled(out, [inner], inside)

    def _closed(self, maps: Maps, outer: int, core: Mask, wall: Mask) -> Mask | None:
        from scipy.ndimage import binary_dilation

        middle = binary_dilation(core, iterations=NEAR) & ~wall
        loops = persistent_loops(softmax(maps)[outer], least=self.least_probability, inside=middle)
        return least_ring(wall, maps, [outer], loops, lambda ring: _changed(ring, core, wall))


def _within(ring: Mask) -> Mask:
    return without_holes(ring) & ~ring


def _changed(ring: Mask, core: Mask, wall: Mask) -> int:
    """Voxels that a ring, and what it encloses, would take from what was found."""
    return int(((ring ^ wall) | (_within(ring) ^ core)).sum())


def _amiss(inner: Mask, outer: Mask) -> tuple[int, int]:
    """Voxels of the inner structure that the outer does not enclose, and those it encloses that are of neither."""
    whole = without_holes(outer)
    return int((inner & ~whole).sum()), int((whole & ~outer & ~inner).sum())
