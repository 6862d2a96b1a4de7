"""Boxes of detected objects: their overlap, and their match with the truth.

Boxes are ``(z0, y0, x0, z1, y1, x1)`` (or ``(y0, x0, y1, x1)``), in voxels or mm, half-open: a box of one voxel at
index 3 spans 3..4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isocenter.errors import ConfigError, GeometryError
from isocenter.metrics._check import as_finite, same_length

__all__ = ["Matches", "box_iou", "match_boxes"]


@dataclass(frozen=True)
class Matches:
    """Detections of one scan, each with the true object it hits.

    Attributes:
        scores: ``(detection,)``.
        hits: ``(detection,)``, index of the true object, -1 for a false positive.
        truths: Number of true objects in the scan.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.int64]
    truths: int


def box_iou(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes.

    Args:
        first: ``(n, 6)`` or ``(n, 4)``, lower corner then upper corner.
        second: ``(m, 6)`` or ``(m, 4)``.

    Returns:
        ``(n, m)``, 0..1. Boxes that only touch, and boxes without volume, have 0.

    Raises:
        GeometryError: Not boxes, or an upper corner below the lower one.
        ValueRangeError: NaN or infinite corners.

    Example:
        >>> box_iou([[0, 0, 0, 2, 2, 2]], [[0, 0, 0, 2, 2, 1], [2, 0, 0, 4, 2, 2]]).tolist()
        [[0.5, 0.0]]
    """
    a, b = _boxes(first, "first"), _boxes(second, "second")
    if a.shape[1] != b.shape[1]:
        if a.size and b.size:
            raise GeometryError(f"boxes of {a.shape[1]} and of {b.shape[1]} numbers cannot be compared")
        return np.zeros((len(a), len(b)))
    axes = a.shape[1] // 2
    low = np.maximum(a[:, None, :axes], b[None, :, :axes])
    high = np.minimum(a[:, None, axes:], b[None, :, axes:])
    common: NDArray[np.float64] = np.clip(high - low, 0, None).prod(axis=2)
    sizes = [(boxes[:, axes:] - boxes[:, :axes]).prod(axis=1) for boxes in (a, b)]
    union = sizes[0][:, None] + sizes[1][None, :] - common
    iou = np.zeros_like(common)
    np.divide(common, union, out=iou, where=union > 0)
    return iou


def match_boxes(
    boxes: ArrayLike,
    scores: ArrayLike,
    truths: ArrayLike,
    *,
    min_iou: float | None = None,
    radius_mm: float | ArrayLike | None = None,
) -> Matches:
    """Assigns detections to true objects, greedily, from the highest score down.

    Each detection takes the best object that it hits and that no better-scored one has taken; a second detection of
    the same object is a false positive. Equal scores go in the order given.

    Exactly one hit criterion: ``min_iou``, the overlap is at least this; or ``radius_mm``, the centre of the
    detection lies within this distance of the object's centre (boxes in mm; one radius, or one an
    object, as in LUNA16).

    Args:
        boxes: ``(n, 6)`` detections of one class in one scan.
        scores: ``(n,)``.
        truths: ``(m, 6)`` true objects of this class.
        min_iou: Above 0, at most 1; 0.1 is common in 3-D, where a small shift costs much overlap.
        radius_mm: Above 0.

    Returns:
        Which detection hits which object, in the order of ``boxes``.

    Raises:
        ConfigError: Lengths differ; none or both of the criteria, or one out of range.
        GeometryError: Not boxes.
        ValueRangeError: NaN or infinite corners or scores.

    Example:
        >>> truth = [[0, 0, 0, 4, 4, 4]]
        >>> found = match_boxes([[0, 0, 0, 4, 4, 3], [0, 0, 0, 4, 4, 4]], [0.9, 0.8], truth, min_iou=0.1)
        >>> found.hits.tolist()
        [0, -1]
    """
    detections, values, objects = (
        _boxes(boxes, "boxes"),
        as_finite(scores, "scores").reshape(-1),
        _boxes(truths, "truths"),
    )
    same_length(boxes=detections, scores=values)
    closeness = _closeness(detections, objects, min_iou, radius_mm)
    hits = np.full(len(values), -1, dtype=np.int64)
    free = np.ones(len(objects), dtype=bool)
    for k in np.argsort(-values, kind="stable"):
        row = np.where(free, closeness[k], -np.inf)
        if row.size and row.max() >= 0:
            hits[k] = row.argmax()
            free[hits[k]] = False
    return Matches(values, hits, len(objects))


def _boxes(array: ArrayLike, what: str) -> NDArray[np.float64]:
    found = as_finite(array, what)
    if found.size == 0:
        return np.zeros((0, 6))
    if found.ndim != 2 or found.shape[1] not in (4, 6):
        raise GeometryError(f"{what} have shape {found.shape}; give (n, 6): z0, y0, x0, z1, y1, x1, or (n, 4)")
    axes = found.shape[1] // 2
    wrong = np.flatnonzero((found[:, axes:] < found[:, :axes]).any(axis=1))
    if wrong.size:
        raise GeometryError(f"{what}: box {int(wrong[0])} ends before it starts: {found[wrong[0]].tolist()}")
    return found


def _closeness(
    boxes: NDArray[np.float64], truths: NDArray[np.float64], min_iou: float | None, radius_mm: float | ArrayLike | None
) -> NDArray[np.float64]:
    """``(n, m)``; 0 or more is a hit, the higher the better."""
    if (min_iou is None) == (radius_mm is None):
        raise ConfigError("give exactly one hit criterion: min_iou or radius_mm")
    if min_iou is not None:
        if not 0 < min_iou <= 1:
            raise ConfigError(f"min_iou {min_iou} is not above 0 and at most 1")
        return box_iou(boxes, truths) - min_iou
    radii = as_finite(radius_mm if radius_mm is not None else 0, "radius_mm").reshape(1, -1)
    if radii.min(initial=np.inf) <= 0 or (len(truths) and radii.size not in (1, len(truths))):
        raise ConfigError(f"radius_mm needs one positive number, or one for each of {len(truths)} objects")
    if not (len(boxes) and len(truths)):
        return np.zeros((len(boxes), len(truths)))
    axes = boxes.shape[1] // 2
    centres = [(b[:, :axes] + b[:, axes:]) / 2 for b in (boxes, truths)]
    distances: NDArray[np.float64] = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    return radii - distances
