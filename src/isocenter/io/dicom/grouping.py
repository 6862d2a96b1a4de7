"""One series to its stacks: images that differ in kind are parted, and volumes over the same places told apart.

Two steps. What the images *are* (orientation, size, kind, echo, b-value, kernel ...) parts them whether or not their
places meet. What only tells volumes over the same places apart (time, phase, trigger, direction of a gradient,
acquisition) is looked at where places meet, since it may vary from slice to slice of one volume. The first element
that parts a group into volumes over the same places is taken; the order of instance numbers is the last resort, and
only where it leaves no doubt. What still meets is left for `Stack.problems` to name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import IsocenterError
from isocenter.io.dicom.geometry import SAME_PLACE_MM

if TYPE_CHECKING:
    from isocenter.io.dicom.header import Header

__all__ = ["Group", "split"]

_TURN_TOLERANCE = 1e-3
_SAME_NUMBER = 2e-3  # of 1, and of the number itself where that is larger
_KIND = (
    ("FrameOfReferenceUID", "frame of reference"),
    ("StackID", "stack"),
    ("ComplexImageComponent", "component"),
    ("EchoNumbers", "echo"),
    ("EchoTime", "echo time"),
    ("DiffusionBValue", "b-value"),
    ("InversionTime", "inversion time"),
    ("ConvolutionKernel", "kernel"),
    ("KVP", "tube voltage"),
)
_MR_ONLY = {"EchoNumbers", "EchoTime", "InversionTime"}  # of other modalities these may say anything
_SAME_PLACES = (
    ("TemporalPositionIdentifier", "time"),
    ("TemporalPositionIndex", "time"),
    ("NominalPercentageOfCardiacPhase", "phase"),
    ("TriggerTime", "trigger time"),
    ("DiffusionGradientOrientation", "direction"),
    ("FlipAngle", "flip angle"),
    ("RepetitionTime", "repetition time"),
    ("AcquisitionNumber", "acquisition"),
    ("FrameReferenceTime", "frame time"),
    ("AcquisitionDateTime", "acquisition time"),
    ("AcquisitionTime", "acquisition time"),
    ("ContentTime", "content time"),
    ("file", "file"),  # each multi-frame file a volume
)
_NUMBERED = {"frame of reference", "file", "acquisition time", "content time"}  # whose values say nothing, or too much


@dataclass(frozen=True)
class Group:
    """Images of one stack, and what tells it from the others of its series: name to value."""

    headers: tuple[Header, ...]
    keys: tuple[tuple[str, str], ...] = ()


def split(headers: Sequence[Header]) -> list[Group]:
    """Parts of one series, in the order of their values.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> from isocenter.io.dicom.header import read_header
        >>> [len(g.headers) for g in split([read_header(get_testdata_file("CT_small.dcm"))])]
        [1]
    """
    groups = [Group(tuple(headers))]
    groups = _by(groups, "size", lambda h: (h.text("Rows"), h.text("Columns")))
    groups = [part for group in groups for part in _by_turn(group)]
    groups = _by(groups, "spacing", lambda h: _rounded(h, "PixelSpacing"))
    groups = _by(groups, "kind", _kind)
    for keyword, name in _KIND:
        groups = _by(groups, name, lambda h, k=keyword: _value(h, k))  # type: ignore[misc]
    return [part for group in groups for part in _apart(group)]


def _value(header: Header, keyword: str) -> Hashable:
    if keyword in _MR_ONLY and header.text("Modality") != "MR":
        return ""
    if keyword == "file":
        return header.file
    value = header.tags.get(keyword, "")
    return value if isinstance(value, Hashable) else str(value)


def _kind(header: Header) -> tuple[str, ...]:
    """The first values of Image Type; those after the third tell of processing that may differ from slice to slice."""
    parts = header.image_type
    return (*parts[:3], *(p for p in parts[3:4] if header.frame is not None), *({"LOCALIZER"} & set(parts[3:])))


def _rounded(header: Header, keyword: str) -> Hashable:
    value = header.tags.get(keyword, ())
    try:
        return tuple(round(float(v), 3) for v in value)
    except (TypeError, ValueError):
        return str(value)


def _by(groups: Iterable[Group], name: str, key: Callable[[Header], Hashable]) -> list[Group]:
    return [part for group in groups for part in _parted(group, name, key)]


def _parted(group: Group, name: str, key: Callable[[Header], Hashable]) -> list[Group]:
    parts: dict[Hashable, list[Header]] = defaultdict(list)
    values = [key(header) for header in group.headers]
    near = _joined(values)
    for header, value in zip(group.headers, values, strict=True):
        parts[near.get(value, value)].append(header)
    if len(parts) == 1:
        return [group]
    ordered = sorted(parts, key=_ordered)
    shown = [str(k) for k in range(1, len(ordered) + 1)] if name in _NUMBERED else _told_apart(ordered)
    return [Group(tuple(parts[value]), (*group.keys, (name, word))) for value, word in zip(ordered, shown, strict=True)]


def _joined(values: Sequence[Hashable]) -> dict[Hashable, Hashable]:
    """The smallest of the numbers that differ by rounding alone, for each; other values are left out."""
    numbers = sorted({v for v in values if isinstance(v, float)})
    first: dict[Hashable, Hashable] = {}
    for k, number in enumerate(numbers):
        close = k > 0 and number - numbers[k - 1] <= _SAME_NUMBER * max(1.0, abs(number))
        first[number] = first[numbers[k - 1]] if close else number
    return first


def _told_apart(values: Sequence[Hashable]) -> list[str]:
    """Values in words; of lists that differ in one place only that one."""
    if all(isinstance(v, tuple) for v in values):
        lists = [tuple(v) for v in values if isinstance(v, tuple)]
        if len({len(v) for v in lists}) == 1:
            differing = [k for k, column in enumerate(zip(*lists, strict=True)) if len(set(column)) > 1]
            if len(differing) == 1:
                return [_shown(v[differing[0]]) for v in lists]
    return [_shown(v) for v in values]


def _ordered(value: Hashable) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    try:
        return 0, float(str(value)), ""
    except ValueError:
        return 1, 0.0, str(value)


def _shown(value: Hashable) -> str:
    if isinstance(value, tuple):
        return " x ".join(str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def _by_turn(group: Group) -> list[Group]:
    """Parted by orientation, the largest part first: images within a thousandth of a part's first belong to it."""
    turns: list[NDArray[np.float64]] = []
    parts: list[list[Header]] = []
    unknown: list[Header] = []
    for header in group.headers:
        try:
            turn = np.array(header.numbers("ImageOrientationPatient", 6))
        except IsocenterError:
            unknown.append(header)
            continue
        near = next((k for k, t in enumerate(turns) if np.abs(t - turn).max() < _TURN_TOLERANCE), None)
        if near is None:
            turns.append(turn)
            parts.append([header])
        else:
            parts[near].append(header)
    if unknown and parts:
        parts[0] += unknown  # named there as what it is: an image that does not say how it lies
    if len(parts) < 2:
        return [group]
    largest = sorted(range(len(parts)), key=lambda k: -len(parts[k]))
    return [Group(tuple(parts[k]), (*group.keys, ("orientation", str(n)))) for n, k in enumerate(largest, start=1)]


def _apart(group: Group) -> list[Group]:
    """Volumes over the same places, each on its own."""
    counts = _meeting(group.headers)
    if counts is None or counts.max() == 1:
        return [group]
    for keyword, name in _SAME_PLACES:
        parts = _parted(group, name, lambda h, k=keyword: _value(h, k))  # type: ignore[misc]
        if len(parts) > 1 and (_same_places(parts) or _one_each(parts, int(counts.max()))):
            return [finer for part in parts for finer in _apart(part)]
    return _by_instance(group, counts) or [group]


def _places(headers: Sequence[Header]) -> NDArray[np.float64] | None:
    """Depth of every image along the normal of the first; ``None`` where one does not say."""
    try:
        turn = np.array(headers[0].numbers("ImageOrientationPatient", 6))
        positions = np.array([h.numbers("ImagePositionPatient", 3) for h in headers])
    except IsocenterError:
        return None
    depth: NDArray[np.float64] = positions @ np.cross(turn[:3], turn[3:])
    return depth


def _place_index(depth: NDArray[np.float64]) -> NDArray[np.intp]:
    """Number of the place of every image, counted along the normal."""
    order = np.argsort(depth, kind="stable")
    steps = np.concatenate([[0], np.cumsum(np.diff(depth[order]) >= SAME_PLACE_MM)])
    out = np.empty(len(depth), np.intp)
    out[order] = steps
    return out


def _meeting(headers: Sequence[Header]) -> NDArray[np.intp] | None:
    """How many images there are at each place; ``None`` where one does not say where it is."""
    depth = _places(headers)
    return None if depth is None else np.bincount(_place_index(depth))


def _same_places(parts: Sequence[Group]) -> bool:
    """Whether every part has images at the places of the first, equally often."""
    whole = [h for part in parts for h in part.headers]
    depth = _places(whole)
    if depth is None:
        return False
    index = _place_index(depth)
    starts = np.cumsum([0, *(len(p.headers) for p in parts)])
    counts = [np.bincount(index[a:b], minlength=index.max() + 1) for a, b in pairwise(starts)]
    return all(c.min() == c.max() == counts[0][0] for c in counts)


def _one_each(parts: Sequence[Group], most: int) -> bool:
    """Whether each part is one volume, if not a whole one: as many parts as images meet, none of which meet in one."""
    if len(parts) != most:
        return False
    return all((counts := _meeting(part.headers)) is not None and counts.max() == 1 for part in parts)


def _by_instance(group: Group, counts: NDArray[np.intp]) -> list[Group] | None:
    """By the order of instance numbers, where volumes follow each other whole or every place has its turn."""
    depth = _places(group.headers)
    if depth is None or counts.min() != counts.max() or len(counts) < 2:
        return None
    try:
        number = np.array([(h.integer("InstanceNumber"), h.frame or 0) for h in group.headers])
    except IsocenterError:
        return None
    order = np.lexsort((number[:, 1], number[:, 0]))
    if (np.diff(number[order], axis=0) == 0).all(axis=1).any():
        return None
    place, volumes = _place_index(depth)[order].reshape(-1), int(counts[0])
    rounds = place.reshape(volumes, -1)
    turns = place.reshape(-1, volumes)
    if (rounds == rounds[0]).all() and len(set(rounds[0])) == len(counts):
        rows = order.reshape(volumes, -1)
    elif (turns == turns[:, :1]).all() and len(set(turns[:, 0])) == len(counts):
        rows = order.reshape(-1, volumes).T
    else:
        return None
    return [
        Group(tuple(group.headers[i] for i in row), (*group.keys, ("time", str(k))))
        for k, row in enumerate(rows, start=1)
    ]
