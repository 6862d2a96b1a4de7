"""Class maps of a slice with a structure changed to a wanted form: what repairs of priors are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from isocenter.tasks.priors.betti import Loop
from isocenter.tasks.priors.closing import cheapest_loop
from isocenter.tasks.priors.contract import Maps

__all__ = ["Mask", "closed_ring", "largest_piece", "least_ring", "relabelled", "softmax", "without_holes"]

Mask = NDArray[np.bool_]
MARGIN = 1.0
"""By which a repaired class leads, in logits, so that interpolation to the image's own grid keeps it."""
SLACK = 0.5
"""Share of a loop's birth that places of the closed path must reach: a little less than its weakest place."""
TRIES = 4
"""Firmest loops of which the one is closed that changes least."""
SQUARE = np.ones((2, 2), bool)
"""What must fit into a ring everywhere along its path."""
REACH = 2
"""Voxels beside the closing path that may join it."""


def least_ring(
    mask: Mask, maps: Maps, numbers: Sequence[int], loops: Sequence[Loop], changes: Callable[[Mask], int]
) -> Mask | None:
    """The ring, around one of the firmest loops, that changes least; ``None`` where none closes.

    Args:
        mask: ``(row, column)``, where one of the classes wins.
        maps: Of all classes.
        numbers: Of the classes.
        loops: The firmest first.
        changes: Voxels that a ring would change.
    """
    rings = [closed_ring(mask, maps, numbers, loop) for loop in loops[:TRIES]]
    return min((ring for ring in rings if ring is not None), key=changes, default=None)


def closed_ring(mask: Mask, maps: Maps, numbers: Sequence[int], loop: Loop) -> Mask | None:
    """A mask that is one ring around a loop's centre: closed by the cheapest path, without other holes and pieces.

    The path goes where the classes are at least about as probable as at the weakest place of the loop; a place costs
    what the best other leads by. What it adds takes in the places beside it that cost no more than its dearest, and is
    nowhere thinner than two voxels, so that it outlives interpolation.

    Args:
        mask: ``(row, column)``, where one of the classes wins.
        maps: Of all classes.
        numbers: Of the classes.
        loop: Of their probability, with its centre outside of the mask: a hole that is not there is not made.

    Returns:
        The ring, or ``None`` where no path leads around the centre.
    """
    from scipy.ndimage import binary_dilation, binary_opening, label

    chosen = list(numbers)
    lead = maps.max(0) - maps[chosen].max(0)
    allowed = mask | (softmax(maps)[chosen].sum(0) >= SLACK * loop.birth)
    path = cheapest_loop(np.where(allowed, np.where(mask, 0.0, lead), np.inf), loop.centre)
    if path is None:
        return None
    added = path & ~mask
    ring = mask | added
    if added.any():
        ring |= binary_dilation(added, iterations=REACH) & (lead <= lead[added].max())
    ring |= binary_dilation(path & ~binary_opening(ring, SQUARE), SQUARE)
    ring[loop.centre] = False  # it was not in the mask, and must not join it
    holes, _ = label(np.pad(~ring, 1, constant_values=True))
    outside, middle = holes[0, 0], holes[loop.centre[0] + 1, loop.centre[1] + 1]
    if middle == outside:
        return None
    ring |= ~np.isin(holes[1:-1, 1:-1], (outside, middle))
    pieces, _ = label(ring, np.ones((3, 3)))
    return np.asarray(pieces == pieces[path][0])


def relabelled(maps: Maps, numbers: Sequence[int], wanted: Mask) -> Maps:
    """Maps in which one of some classes wins exactly where wanted; where none must, the best of the others does.

    Example:
        >>> maps = np.array([[[3.0, 0.0]], [[1.0, 2.0]], [[0.0, 5.0]]], np.float32)
        >>> off = np.array([[False, False]])
        >>> relabelled(maps, [2], off).argmax(0)
        array([[0, 1]])
    """
    chosen = list(numbers)
    others = [k for k in range(len(maps)) if k not in chosen]
    ours, theirs = maps[chosen].max(0), maps[others].max(0)
    # all of them move alike, so that the best of them stays the best; what was right by little is made firm as well
    lead = ours - theirs
    shift = np.where(wanted, np.maximum(MARGIN - lead, 0), np.minimum(-MARGIN - lead, 0))
    out = maps.copy()
    out[chosen] += shift.astype(out.dtype)
    return out


def largest_piece(mask: Mask) -> Mask:
    """The largest piece of a mask; voxels touch by edges and corners."""
    from scipy.ndimage import label

    pieces, count = label(mask, np.ones((3, 3)))
    if count < 2:
        return mask
    return np.asarray(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())


def without_holes(mask: Mask) -> Mask:
    """A mask and what it encloses."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(mask))


def softmax(maps: Maps) -> NDArray[np.float32]:
    """Probabilities of classes."""
    shifted = np.exp(maps - maps.max(0))
    return np.asarray(shifted / shifted.sum(0))
