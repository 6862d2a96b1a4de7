"""Stacks of one series that go into one file: volumes over the same voxels that differ in time or diffusion alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import IsocenterError
from isocenter.io.dicom.diffusion import b_value, gradient
from isocenter.io.dicom.values import value_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom import Series, Stack
    from isocenter.io.dicom.header import Header
    from isocenter.volume import Grid, Unit

__all__ = ["Joined", "acquired_s", "join"]

_CLOCK = ("time", "acquisition", "frame time", "acquisition time", "content time", "file")
_BEAT = ("phase", "trigger time")
_DIFFUSION = ("b-value", "direction")
_PLANES = {"S": "axial", "I": "axial", "L": "sagittal", "R": "sagittal", "P": "coronal", "A": "coronal"}
_REGULAR = 0.02  # of the step: how unequal steps may be that are still called one
_EPOCH = datetime(1900, 1, 1)


@dataclass(frozen=True)
class Joined:
    """One image of a series, of one or of several volumes.

    Attributes:
        series: Where it comes from.
        stacks: One a volume, in the order of the fourth axis.
        grid: Of each of them.
        label: What tells it from the other images of its series, in a word or two; empty where there is no other.
        left_out: Volumes that belong between them and cannot be used.
    """

    series: Series
    stacks: tuple[Stack, ...]
    grid: Grid
    label: str = ""
    left_out: int = 0

    @property
    def headers(self) -> tuple[Header, ...]:
        """Of all slices, volume after volume."""
        return tuple(h for stack in self.stacks for h in stack.headers)

    @property
    def files(self) -> tuple[Header, ...]:
        """Of the files that it was read from: of a multi-frame file, what it says of all frames."""
        read = {h.file for h in self.headers}
        return tuple(h for h in self.series.headers if h.file in read)

    @property
    def unit(self) -> Unit:
        """What a value means."""
        return value_unit(self.stacks[0].headers[0])

    @property
    def keys(self) -> Mapping[str, str]:
        """What tells it from the other images of its series."""
        return _own(self.stacks[0])

    @property
    def step_s(self) -> float | None:
        """Seconds from one volume to the next; ``None`` where they are no series in time, or irregular."""
        names = {name for stack in self.stacks for name in stack.keys if name in _TOGETHER}
        if len(self.stacks) < 2 or names & {*_DIFFUSION}:
            return None
        header = self.stacks[0].headers[0]
        if names <= {*_BEAT}:
            return _even([_first(s.headers, "TriggerTime") for s in self.stacks], scale=1e-3)
        if "FrameReferenceTime" in header and header.text("Modality") == "PT":
            return _even([_first(s.headers, "FrameReferenceTime") for s in self.stacks], scale=1e-3)
        moments = [_began(stack) for stack in self.stacks]
        step, stated = _even(moments), _repetition_s(header)
        # echo-planar imaging takes one volume each repetition; of others the repetition time says nothing here
        if stated and (len(set(moments)) == 1 or (step and abs(step - stated) < _REGULAR * stated)):
            return stated
        return step

    def weightings(self) -> list[float] | None:
        """b-value of every volume, s/mm2; ``None`` where they do not differ in it."""
        found = [b_value(stack.headers[0]) for stack in self.stacks]
        return [float(b) for b in found if b is not None] if None not in found and any(found) else None

    def directions(self) -> list[NDArray[np.float64]] | None:
        """Gradient of every volume in patient space, zero where b is; ``None`` where one is not stated."""
        found = []
        for stack in self.stacks:
            vector = gradient(stack.headers[0])
            if vector is None and b_value(stack.headers[0]):
                return None
            found.append(np.zeros(3) if vector is None else vector)
        return found


_TOGETHER = (*_CLOCK, *_BEAT, *_DIFFUSION)


def _own(stack: Stack) -> dict[str, str]:
    return {k: v for k, v in stack.keys.items() if k not in _TOGETHER}


def join(series: Series, sound: Sequence[tuple[Stack, Grid]], lost: Sequence[Stack] = ()) -> list[Joined]:
    """Images of one series.

    Args:
        series: The series.
        sound: Its stacks that can be used, with their grids.
        lost: Those that cannot.
    """
    groups: list[list[tuple[Stack, Grid]]] = []
    for stack, grid in sound:
        for group in groups:
            first, its_grid = group[0]
            if _own(first) == _own(stack) and its_grid.is_close(grid):
                group.append((stack, grid))
                break
        else:
            groups.append([(stack, grid)])
    labels = _labels([_own(stack) for (stack, _), *_ in groups], [_PLANES[g.orientation[0]] for (_, g), *_ in groups])
    return [_joined(series, group, label, lost) for group, label in zip(groups, labels, strict=True)]


def _joined(series: Series, group: Sequence[tuple[Stack, Grid]], label: str, lost: Sequence[Stack]) -> Joined:
    first, grid = group[0]
    stacks = [stack for stack, _ in group]
    if any(name in _DIFFUSION for name in first.keys):
        stacks.sort(key=_turn)  # as acquired, not by strength
    missing = sum(_own(stack) == _own(first) for stack in lost) if len(group) > 1 else 0
    return Joined(series, tuple(stacks), grid, label, missing)


def _labels(images: Sequence[Mapping[str, str]], planes: Sequence[str]) -> list[str]:
    """As few of the keys as tell the images apart, in words for a file name."""
    said: list[tuple[str, ...]] = [() for _ in images]
    words: list[list[str]] = [[] for _ in images]
    for name in dict.fromkeys(name for image in images for name in image):
        values = [image.get(name, "") for image in images]
        more = [(*s, v) for s, v in zip(said, values, strict=True)]
        if len(set(more)) > len(set(said)):
            said = more
            shown = planes if name == "orientation" else _words(name, values)
            for word, found in zip(shown, words, strict=True):
                found.append(word)
    return [" ".join(found).strip() for found in words]


def _words(name: str, values: Sequence[str]) -> list[str]:
    if name == "echo time":  # numbered as dcm2niix does
        order = sorted(set(values), key=lambda v: (float(v) if _is_number(v) else 0.0, v))
        return [f"e{order.index(v) + 1}" for v in values]
    if name == "echo":
        return [f"e{v}" for v in values]
    if name == "kind":
        parts = [v.split(" x ") for v in values]
        return ["_".join(p for p in own if not all(p in other for other in parts)) for own in parts]
    return [f"{name} {v}" if v else "" for v in values]


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _turn(stack: Stack) -> tuple[int, int]:
    return min((h.integer("InstanceNumber", 0), h.frame or 0) for h in stack.headers)


def acquired_s(header: Header) -> float | None:
    """When an image was acquired, in seconds; only differences mean something."""
    clock = header.text("AcquisitionTime")
    stamp = header.text("AcquisitionDateTime") or (header.text("AcquisitionDate") + clock if clock else "")
    stamp = stamp.partition("+")[0].partition("-")[0].replace(":", "")
    day, clock = (stamp[:8], stamp[8:]) if len(stamp.partition(".")[0]) > 8 else (_EPOCH.strftime("%Y%m%d"), stamp)
    whole, _, fraction = clock.partition(".")
    try:
        moment = datetime.strptime(day + whole.ljust(6, "0")[:6], "%Y%m%d%H%M%S") if whole else None
        return (moment - _EPOCH) / timedelta(seconds=1) + float(f"0.{fraction or 0}") if moment else None
    except ValueError:
        return None


def _began(stack: Stack) -> float | None:
    return min((t for h in stack.headers if (t := acquired_s(h)) is not None), default=None)


def _first(headers: Sequence[Header], keyword: str) -> float | None:
    try:
        return min(h.number(keyword) for h in headers)
    except IsocenterError:
        return None


def _even(moments: Sequence[float | None], *, scale: float = 1.0) -> float | None:
    """The one distance between moments that follow each other evenly."""
    if None in moments or len(moments) < 2:
        return None
    steps = np.diff(np.array(moments, float)) * scale
    step = float(steps.mean())
    return round(step, 6) if step > 0 and float(np.abs(steps - step).max()) <= _REGULAR * step else None


def _repetition_s(header: Header) -> float | None:
    planar = "EP" in header.text("ScanningSequence").split("\\") or header.text("EchoPlanarPulseSequence") == "YES"
    if not planar or "RepetitionTime" not in header:
        return None
    return round(header.number("RepetitionTime") / 1000, 9) or None
