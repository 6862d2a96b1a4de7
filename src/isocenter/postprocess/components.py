"""Rules on connected parts of a segmentation: keep the largest, remove the small, fill the holes.

All work on encoded labels, as `LabelSchema.encode` and the decoders give them: ``(1, slice, row, column)`` of structure
numbers where the schema is exclusive, else ``(structure, slice, row, column)`` of 0 and 1. They return a new array;
voxels marked `IGNORE` keep their mark. Each structure is handled inside its bounding box, or on runs of voxels, so that
the cost follows the size of the structure and not of the scan. Keeping the largest stands in
`isocenter.postprocess.largest`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isocenter.postprocess.largest import RANKS, Connectivity, check, keep_largest, keep_largest_values, positions
from isocenter.postprocess.measure import bounding_box
from isocenter.records import ValueRangeError

if TYPE_CHECKING:
    from isocenter.records import LabelSchema
    from isocenter.volume import Grid

__all__ = [
    "Connectivity",
    "component_sizes",
    "fill_holes",
    "keep_largest",
    "keep_largest_values",
    "remove_small",
]

Mask = NDArray[np.bool_]


def component_sizes(mask: Mask, *, connectivity: Connectivity = 26) -> list[int]:
    """Number of voxels of each connected part of a mask, largest first.

    Args:
        mask: ``(slice, row, column)``.
        connectivity: Neighbours that count as touching.

    Raises:
        ValueRangeError: ``connectivity`` is not 6, 18 or 26.

    Example:
        >>> component_sizes(np.array([[[True, True, False, True]]]))
        [2, 1]
    """
    _, sizes = _components(mask, connectivity)
    return sorted((int(n) for n in sizes[1:]), reverse=True)


def remove_small(
    encoded: NDArray[np.uint8],
    schema: LabelSchema,
    grid: Grid,
    *,
    min_ml: float | Mapping[str, float],
    structures: Sequence[str] | None = None,
    connectivity: Connectivity = 26,
) -> NDArray[np.uint8]:
    """Connected parts smaller than ``min_ml`` become background.

    Args:
        encoded: Encoded labels, see the head of this module.
        schema: What they encode.
        grid: Where the voxels are; gives the volume of one.
        min_ml: Least volume of a part that stays, in mL; one for all, or by name (only the named are treated).
        structures: Names to treat; all (or all named in ``min_ml``) where ``None``.
        connectivity: Neighbours that count as touching.

    Raises:
        LabelError: Unknown structure, or ``encoded`` does not have the shape that the schema asks for.
        ValueRangeError: ``min_ml`` is negative, or ``connectivity`` is not 6, 18 or 26.

    Example:
        >>> from isocenter.records import LabelSchema
        >>> from isocenter.volume import Grid
        >>> parts = np.array([[[[1, 1, 0, 1]]]], np.uint8)
        >>> remove_small(parts, LabelSchema.of({"liver": 1}), Grid((1, 1, 4), np.eye(4)), min_ml=0.002).tolist()
        [[[[1, 1, 0, 0]]]]
    """
    limits = dict(min_ml) if isinstance(min_ml, Mapping) else dict.fromkeys(schema.names, float(min_ml))
    wrong = [value for value in limits.values() if not value >= 0]
    if wrong:
        raise ValueRangeError(f"min_ml is {wrong[0]}; give a volume of 0 mL or more")
    chosen = [name for name in structures if name in limits] if structures is not None else list(limits)
    unit = grid.voxel_volume_ml

    def large(mask: Mask, limit: float) -> Mask:
        parts, sizes = _components(mask, connectivity)
        # a part of exactly the limit stays, whatever the last bit of the product says
        stays = sizes * unit >= limit * (1 - 1e-9)
        stays[0] = False
        return np.asarray(stays[parts])

    rules = {name: lambda mask, limit=limit: large(mask, limit) for name, limit in limits.items()}
    return _reduce(encoded, schema, chosen, rules, lambda mask: mask)


def fill_holes(
    encoded: NDArray[np.uint8],
    schema: LabelSchema,
    *,
    structures: Sequence[str] | None = None,
    per_slice: bool = False,
) -> NDArray[np.uint8]:
    """Background that a structure encloses on all sides becomes part of it.

    Other structures inside (the blood in the myocardium) and unannotated voxels stay what they are. Background is
    connected across faces only, so that a wall whose voxels touch at edges holds.

    Args:
        encoded: Encoded labels, see the head of this module.
        schema: What they encode.
        structures: Names to treat, in this order; all where ``None``.
        per_slice: Fill in each slice by itself: also what is open above and below.

    Raises:
        LabelError: Unknown structure, or ``encoded`` does not have the shape that the schema asks for.

    Example:
        >>> from isocenter.records import LabelSchema
        >>> ring = np.array([[[[1, 1, 1], [1, 0, 1], [1, 1, 1]]]], np.uint8)
        >>> int(fill_holes(ring, LabelSchema.of({"wall": 1}), per_slice=True)[0, 0, 1, 1])
        1
    """
    from scipy import ndimage

    out = encoded.copy()
    shape = np.zeros((3, 3, 3), dtype=bool)
    shape[1] = ndimage.generate_binary_structure(2, 1)
    if not per_slice:
        shape = ndimage.generate_binary_structure(3, 1)
    for index in positions(encoded, schema, structures):
        plane, value = (out[0], index + 1) if schema.exclusive else (out[index], 1)
        box = _box(plane == value)
        if box is not None:
            part = plane[box]
            filled = ndimage.binary_fill_holes(part == value, structure=shape)
            part[filled & (part == 0)] = value
    return out


def _reduce(
    encoded: NDArray[np.uint8],
    schema: LabelSchema,
    structures: Sequence[str] | None,
    rules: Mapping[str, Callable[[Mask], Mask]],
    otherwise: Callable[[Mask], Mask],
) -> NDArray[np.uint8]:
    """Encoded labels where each chosen structure keeps what its rule returns (a part of its mask)."""
    out = encoded.copy()
    for index in positions(encoded, schema, structures):
        plane, value = (out[0], index + 1) if schema.exclusive else (out[index], 1)
        box = _box(plane == value)
        if box is not None:
            part = plane[box]
            mask = part == value
            part[mask & ~rules.get(schema.names[index], otherwise)(mask)] = 0
    return out


def _components(mask: Mask, connectivity: Connectivity) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number of the part that each voxel belongs to (0: none), and the size of each part by number."""
    from scipy import ndimage

    check(connectivity)
    parts, _ = ndimage.label(mask, structure=ndimage.generate_binary_structure(3, RANKS[connectivity]))
    return parts, np.bincount(parts.ravel())


def _box(mask: Mask) -> tuple[slice, ...] | None:
    found = bounding_box(mask)
    return None if found is None else tuple(slice(a, b) for a, b in zip(*found, strict=True))
