"""Keep the largest connected part of structures: of encoded labels, or of a label map as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from isocenter.records import LabelError, ValueRangeError

if TYPE_CHECKING:
    from isocenter.records import LabelSchema

__all__ = ["RANKS", "Connectivity", "check", "keep_largest", "keep_largest_values", "positions"]

Connectivity = Literal[6, 18, 26]
"""Which neighbours count as touching: across faces (6), also edges (18), also corners (26)."""

RANKS = {6: 1, 18: 2, 26: 3}
"""By connectivity: along how many axes a neighbour may differ."""


def keep_largest(
    encoded: NDArray[np.uint8],
    schema: LabelSchema,
    *,
    structures: Sequence[str] | None = None,
    together: bool = False,
    connectivity: Connectivity = 26,
) -> NDArray[np.uint8]:
    """Only the largest connected part of each structure; the rest becomes background.

    Of two parts of equal size the one that comes first in slice, row, column order stays.

    Args:
        encoded: Encoded labels, see `isocenter.postprocess.components`.
        schema: What they encode.
        structures: Names to treat; all where ``None``.
        together: Treat the structures as one: what stays is the largest connected part of their union.
        connectivity: Neighbours that count as touching.

    Raises:
        LabelError: Unknown structure, or ``encoded`` does not have the shape that the schema asks for.
        ValueRangeError: ``connectivity`` is not 6, 18 or 26.

    Example:
        >>> from isocenter.records import LabelSchema
        >>> keep_largest(np.array([[[[1, 1, 0, 1]]]], np.uint8), LabelSchema.of({"liver": 1})).tolist()
        [[[[1, 1, 0, 0]]]]
    """
    chosen = positions(encoded, schema, structures)
    if schema.exclusive:
        classes = {index + 1: 1 if together else k for k, index in enumerate(chosen, start=1)}
        return _largest(encoded[0], classes, {}, connectivity)[None]
    out = encoded.copy()
    if together and chosen:
        union = (encoded[chosen] == 1).any(0).astype(np.uint8)
        stray = union > _largest(union, {1: 1}, {}, connectivity)
        for index in chosen:
            out[index][stray & (out[index] == 1)] = 0
        return out
    for index in chosen:
        out[index] = _largest(encoded[index], {1: 1}, {}, connectivity)
    return out


def keep_largest_values(
    labels: NDArray[Any],
    schema: LabelSchema,
    *,
    structures: Sequence[str] | None = None,
    together: bool = False,
    connectivity: Connectivity = 26,
) -> NDArray[Any]:
    """As `keep_largest`, of a label map with any values; a structure of several values is one thing.

    Where structures share values (regions), a voxel that one of them loses takes the value that says so of that one
    alone, and becomes background where the schema has no such value.

    Args:
        labels: ``(slice, row, column)`` of label values, not encoded.
        schema: Whose values they are.
        structures: Names to treat, in this order; all where ``None``.
        together: See `keep_largest`.
        connectivity: Neighbours that count as touching.

    Raises:
        LabelError: Unknown structure, or more different values than 255.
        ValueRangeError: ``connectivity`` is not 6, 18 or 26.

    Example:
        >>> from isocenter.records import LabelSchema
        >>> tumour = LabelSchema.of({"whole": (4, 7), "core": 7})
        >>> keep_largest_values(np.array([[[7, 7, 4, 7, 0, 4]]]), tumour).tolist()
        [[[7, 7, 4, 4, 0, 0]]]
    """
    values, places = _small(labels, schema)
    numbers = {value: place for place, value in enumerate(values)}
    names = list(schema.names if structures is None else structures)
    groups = [names] if together else [[name] for name in names]
    shared = sum(len(s.values) for s in schema.structures) > len(schema.values)
    if not together and not shared:  # all at once
        classes = {numbers[v]: k for k, name in enumerate(names, 1) for v in schema[name].values if v in numbers}
        places = _largest(places, classes, {}, connectivity)
        groups = []
    for group in groups:
        classes = {numbers[v]: 1 for name in group for v in schema[name].values if v in numbers}
        places = _largest(places, classes, _without(group, schema, numbers), connectivity)
    return places if labels.dtype == np.uint8 else np.asarray(values, labels.dtype)[places]


def positions(encoded: NDArray[np.uint8], schema: LabelSchema, structures: Sequence[str] | None) -> list[int]:
    """Places of the chosen structures in the schema; refuses encoded labels that do not fit it."""
    channels = 1 if schema.exclusive else len(schema)
    if encoded.ndim != 4 or len(encoded) != channels:
        raise LabelError(
            f"encoded labels have shape {encoded.shape}; this schema of {len(schema)} structures"
            f" needs ({channels}, slice, row, column)"
        )
    names = list(schema.names if structures is None else structures)
    return [schema.names.index(schema[name].name) for name in names]


def _largest(
    labels: NDArray[np.uint8], classes: Mapping[int, int], instead: Mapping[int, int], connectivity: int
) -> NDArray[np.uint8]:
    """Labels whose classes (by value) keep their largest part; ``instead``: what a lost voxel of a value becomes."""
    from isocenter.postprocess.runs import keep_largest_runs

    check(connectivity)
    tables = np.zeros((2, 256), np.uint8)
    for table, entries in zip(tables, (classes, instead), strict=True):
        table[list(entries)] = list(entries.values())
    return keep_largest_runs(np.ascontiguousarray(labels, np.uint8), tables[0], tables[1], RANKS[connectivity])


def _small(labels: NDArray[Any], schema: LabelSchema) -> tuple[list[Any], NDArray[np.uint8]]:
    """Values with 0 first and every one of the schema, and the place of each voxel's value among them."""
    if labels.dtype == np.uint8:
        return list(range(256)), labels
    found = {v.item() for v in np.unique(labels)}
    values = [0, *sorted((found | schema.values) - {0})]
    if len(values) > 256:
        raise LabelError(f"the label map has {len(values) - 1} different values; at most 255 can be told apart")
    order = np.argsort(values)
    places = order[np.searchsorted(values, labels, sorter=order)]
    return values, places.astype(np.uint8)


def _without(group: Sequence[str], schema: LabelSchema, numbers: Mapping[Any, int]) -> dict[int, int]:
    """Place of the value that says of a voxel what its value says, but for ``group``; background where none does."""
    belongs = {v: frozenset(s.name for s in schema.structures if v in s.values) for v in sorted(schema.values)}
    of_names = {names: v for v, names in reversed(belongs.items())}
    left = {v: of_names.get(names - set(group)) for v, names in belongs.items() if names & set(group)}
    return {numbers[v]: numbers[other] for v, other in left.items() if other in numbers and v in numbers}


def check(connectivity: int) -> None:
    """Refuse a connectivity that there is not."""
    if connectivity not in RANKS:
        raise ValueRangeError(f"connectivity is {connectivity}; it must be 6 (faces), 18 (edges) or 26 (corners)")
