"""Boxes as arrays: moved between grids, clipped, taken from instance masks, and freed of doubles.

Boxes are ``(n, 6)``: ``z0, y0, x0, z1, y1, x1`` in voxel indices, edges of voxels, as in `isocenter.records.Boxes`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isocenter.augment import SpatialMap
from isocenter.metrics import box_iou
from isocenter.volume import Grid

__all__ = ["clip_boxes", "drop_fragments", "instance_boxes", "map_boxes", "nms"]

Corners = NDArray[np.float64]


def map_boxes(corners: Corners, source: Grid, target: Grid) -> Corners:
    """Boxes of ``source`` in indices of ``target``; where the grids are turned, the boxes around the turned ones.

    Example:
        >>> fine = Grid.regular((4, 8, 8), spacing_mm=(1, 1, 1))
        >>> map_boxes(np.array([[-0.5, 1.5, 1.5, 3.5, 5.5, 5.5]]), fine, fine.respaced((1, 2, 2))).tolist()
        [[-0.5, 0.5, 0.5, 3.5, 2.5, 2.5]]
    """
    return SpatialMap(target.index_map_to(source), target.shape).corners(corners)


def clip_boxes(corners: Corners, shape: tuple[int, int, int]) -> tuple[Corners, Corners]:
    """Boxes cut to the voxels of an array of ``shape``, and the share ``(n,)`` of each one's volume that is left.

    Example:
        >>> clipped, left = clip_boxes(np.array([[-2.5, -0.5, -0.5, 1.5, 3.5, 3.5]]), (4, 4, 4))
        >>> clipped.tolist(), left.tolist()
        ([[-0.5, -0.5, -0.5, 1.5, 3.5, 3.5]], [0.5])
    """
    far = np.asarray(shape) - 0.5
    clipped = np.concatenate([np.clip(corners[:, :3], -0.5, far), np.clip(corners[:, 3:], -0.5, far)], axis=1)
    return clipped, _volumes(clipped) / np.maximum(_volumes(corners), 1e-12)


def instance_boxes(instances: NDArray[np.int16], count: int) -> tuple[Corners, NDArray[np.int64]]:
    """Boxes around the voxels of each instance.

    Args:
        instances: ``(k, slice, row, column)``, number ``i + 1`` on the voxels of instance ``i``, each in one of the
            ``k`` arrays (several where instances overlap).
        count: Instances in all.

    Returns:
        ``(count, 6)`` boxes, zeros where an instance has no voxel, and its voxels ``(count,)``.
    """
    from scipy import ndimage

    corners = np.zeros((count, 6))
    voxels = np.zeros(count, np.int64)
    for numbers in instances:
        voxels += np.bincount(numbers.ravel(), minlength=count + 1)[1 : count + 1]
        for k, where in enumerate(ndimage.find_objects(numbers, max_label=count)):
            if where is not None:
                corners[k] = [w.start - 0.5 for w in where] + [w.stop - 0.5 for w in where]
    return corners, voxels


def nms(corners: Corners, scores: NDArray[np.float64], classes: NDArray[np.int64], max_iou: float) -> NDArray[np.int64]:
    """Non-maximum suppression, class by class: no two boxes that are kept overlap by more than ``max_iou``.

    Args:
        corners: ``(n, 6)``.
        scores: ``(n,)``.
        classes: ``(n,)``.
        max_iou: 0 to 1.

    Returns:
        Positions that are kept, best score first; of equal scores the first given.

    Example:
        >>> boxes = np.array([[0, 0, 0, 4, 4, 4], [0, 0, 0, 4, 4, 5], [9, 9, 9, 12, 12, 12]], float)
        >>> nms(boxes, np.array([0.6, 0.9, 0.5]), np.zeros(3, int), 0.3).tolist()
        [1, 2]
    """
    left = np.argsort(-scores, kind="stable")
    kept = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(int(best))
        overlap = box_iou(corners[best : best + 1], corners[left]).reshape(-1)[: left.size]
        left = left[(classes[left] != classes[best]) | (overlap <= max_iou)] if left.size else left
    return np.array(kept, dtype=np.int64)


def drop_fragments(corners: Corners, classes: NDArray[np.int64], cut: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which boxes to keep when some were cut off by the border of their window.

    A cut box is a fragment, and goes, where more than half of it lies in a whole box of its class: another window saw
    the object better. Their overlap may be too small for `nms` to notice.

    Args:
        corners: ``(n, 6)``.
        classes: ``(n,)``.
        cut: ``(n,)``, the box reaches a border of its window beyond which the image goes on.

    Example:
        >>> boxes = np.array([[0, 0, 0, 4, 4, 8], [0, 0, 0, 4, 4, 1]], float)
        >>> drop_fragments(boxes, np.zeros(2, int), np.array([False, True])).tolist()
        [True, False]
    """
    keep = np.ones(len(corners), dtype=bool)
    whole = np.flatnonzero(~cut)
    for k in np.flatnonzero(cut):
        rivals = corners[whole[classes[whole] == classes[k]]]
        low, high = np.maximum(corners[k, :3], rivals[:, :3]), np.minimum(corners[k, 3:], rivals[:, 3:])
        common = np.clip(high - low, 0, None).prod(axis=1)
        keep[k] = not (common > 0.5 * _volumes(corners[k : k + 1])).any()
    return keep


def _volumes(corners: Corners) -> NDArray[np.float64]:
    volumes: NDArray[np.float64] = (corners[:, 3:] - corners[:, :3]).prod(axis=1)
    return volumes
