"""How much of what the headers state is in what a reader gave: pixel by pixel, each image once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from _dicom.truth import Floats, Frame

__all__ = ["Lattice", "Score", "Sheets", "interpolated", "score", "value_score"]

SAMPLES, NEAR_MM, RIGHT = 300, 0.01, 0.999
Indices = NDArray[np.intp]
Hit = tuple[tuple[int, int], NDArray[np.bool_], NDArray[Any]]


@dataclass(frozen=True)
class Lattice:
    """A volume as a reader gave it: an array and the affine from its indices to LPS mm."""

    array: NDArray[Any]
    affine: Floats

    def look_up(self, frame: Frame, place: Floats) -> Iterator[Hit]:
        """The slice that ``frame`` falls on, as axis and index; which samples lie on a voxel; the values there."""
        matrix = self.affine[:3, :3]
        if not np.isfinite(self.affine).all() or abs(np.linalg.det(matrix)) < 1e-9:
            return
        inverse = np.linalg.inv(matrix)
        index = (place - self.affine[:3, 3]) @ inverse.T
        voxel = np.rint(index).astype(int)
        near = np.linalg.norm((voxel - index) @ matrix.T, axis=1) <= NEAR_MM
        inside = ((voxel >= 0) & (voxel < self.array.shape)).all(axis=1)
        # the axis along which a slice does not extend: its row of the inverse is parallel to the slice's normal
        axis = int(np.argmax(np.abs(inverse @ frame.normal()) / np.linalg.norm(inverse, axis=1)))
        if not inside.any():
            return
        values = self.array[tuple(np.clip(voxel, 0, np.array(self.array.shape) - 1).T)]
        yield (axis, int(np.median(voxel[inside, axis]))), near & inside, values


@dataclass(frozen=True)
class Sheets:
    """Slices as a reader gave them, each with a place of its own: arrays of ``n`` beside the values."""

    array: NDArray[Any]
    position: Floats
    across: Floats
    down: Floats
    spacing: Floats

    def look_up(self, frame: Frame, place: Floats) -> Iterator[Hit]:
        """Like `Lattice.look_up`, for every slice in the plane of ``frame``."""
        limits = np.array(self.array.shape[1:]) - 1
        normal = np.cross(self.across, self.down)
        off = np.abs(((self.position - place[0]) * normal).sum(axis=1))
        for k in np.flatnonzero(off <= 2 * NEAR_MM):
            away = place - self.position[k]
            index = np.stack([away @ self.down[k], away @ self.across[k]], axis=1) / self.spacing[k]
            voxel = np.rint(index).astype(int)
            found = self.position[k] + voxel[:, :1] * self.down[k] * self.spacing[k, 0]
            found = found + voxel[:, 1:] * self.across[k] * self.spacing[k, 1]
            good = (np.linalg.norm(found - place, axis=1) <= NEAR_MM) & ((voxel >= 0) & (voxel <= limits)).all(axis=1)
            row, column = np.clip(voxel, 0, limits).T
            yield (0, int(k)), good, self.array[k, row, column]


@dataclass(frozen=True)
class Score:
    """What was found of an input.

    Attributes:
        right: Share of all samples that have their stated value at their stated place, 0 to 1.
        unstated: Slices that the reader gave and no header states (their values, or where they are, are wrong).
        given: Slices that the reader gave.
    """

    right: float
    unstated: int
    given: int


def score(frames: Sequence[Frame], volumes: Sequence[Lattice | Sheets], *, codec_step: int = 0, seed: int = 0) -> Score:
    """Match every image with one slice of one volume, as well as it goes, and count.

    A slice stands for one image at most, and a volume for images of one kind: the others are wrong where they are.
    """
    slots: dict[tuple[int, tuple[int, int]], int] = {}
    table = np.zeros((len(frames), 0))
    for f, frame in enumerate(frames):
        _, place, value, tolerance = _samples(frame, seed + f, codec_step)
        for v, volume in enumerate(volumes):
            for slot, near, values in volume.look_up(frame, place):
                s = slots.setdefault((v, slot), len(slots))
                if s == table.shape[1]:
                    table = np.pad(table, ((0, 0), (0, 1)))
                hit = near & (np.abs(values.astype(np.float64) - value) <= tolerance)
                table[f, s] = max(table[f, s], float(hit.mean()))
    volume_of = {s: v for (v, _), s in slots.items()}
    pairs = [(f, s) for f, s in zip(*linear_sum_assignment(table, maximize=True), strict=True) if table[f, s] > 0]
    kinds: dict[int, Counter[tuple[str, ...]]] = {}
    for f, s in pairs:
        kinds.setdefault(volume_of[s], Counter())[frames[f].kind] += 1
    shares = [table[f, s] for f, s in pairs if kinds[volume_of[s]].most_common(1)[0][0] == frames[f].kind]
    axes: dict[int, dict[int, float]] = {}
    for (v, (axis, _)), s in slots.items():
        weights = axes.setdefault(v, defaultdict(float))  # the axis along which slices were found
        weights[axis] += float(table[:, s].max())
    given = sum(v.array.shape[max(axes[n], key=axes[n].__getitem__) if n in axes else 0] for n, v in enumerate(volumes))
    stated = sum(bool(share >= RIGHT) for share in shares)
    return Score(float(sum(shares)) / max(len(frames), 1), given - stated, given)


def _samples(frame: Frame, seed: int, codec_step: int) -> tuple[tuple[Indices, Indices], Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    row, column = (rng.integers(0, n, SAMPLES) for n in frame.stored.shape)
    place = frame.place(row, column) if frame.position is not None else np.zeros((SAMPLES, 3))
    value = frame.value(row, column)
    # a thousandth of a step, or what single precision keeps of the numbers that make the value
    size = np.abs(frame.stored[row, column].astype(np.float64) * frame.slope) + abs(frame.intercept)
    return (row, column), place, value, (1e-3 + codec_step) * abs(frame.slope) + 2e-6 * size


def value_score(frames: Sequence[Frame], arrays: Sequence[NDArray[Any]], *, seed: int = 0) -> Score:
    """Like `score` where no place is stated: a slice of the same size with the same values."""
    table = np.zeros((len(frames), sum(map(len, arrays))))
    for f, frame in enumerate(frames):
        (row, column), _, value, tolerance = _samples(frame, seed + f, 0)
        for s, plane in enumerate(plane for array in arrays for plane in array):
            if plane.shape == frame.stored.shape:
                table[f, s] = float((np.abs(plane[row, column].astype(np.float64) - value) <= tolerance).mean())
    shares = [table[f, s] for f, s in zip(*linear_sum_assignment(table, maximize=True), strict=True)]
    stated = sum(bool(share >= RIGHT) for share in shares)
    return Score(float(sum(shares)) / max(len(frames), 1), table.shape[1] - stated, table.shape[1])


def interpolated(frames: Sequence[Frame], place: Floats) -> Floats:
    """Values at any places between parallel slices, linear in and across slices; NaN outside them.

    Across slices it goes along the line on which they follow each other, as in a sheared grid.
    """
    normal = frames[0].normal()
    ordered = sorted((f for f in frames if f.position is not None), key=lambda f: float(f.place(_ZERO, _ZERO) @ normal))
    origins = np.stack([f.place(_ZERO, _ZERO) for f in ordered])
    depth = origins @ normal
    below = np.clip(np.searchsorted(depth, place @ normal, side="right") - 1, 0, len(ordered) - 2)
    share = (place @ normal - depth[below]) / (depth[below + 1] - depth[below])
    away = place - origins[below] - share[:, None] * (origins[below + 1] - origins[below])
    index = np.stack([away @ frames[0].down / frames[0].spacing[0], away @ frames[0].across / frames[0].spacing[1]])
    stacked = np.stack([f.stored * f.slope + f.intercept for f in ordered])
    found: Floats = (1 - share) * _bilinear(stacked, below, index) + share * _bilinear(stacked, below + 1, index)
    return np.where((share < -1e-6) | (share > 1 + 1e-6), np.nan, found)


_ZERO = np.array(0)


def _bilinear(stacked: Floats, k: Indices, index: Floats) -> Floats:
    limits = np.array(stacked.shape[1:])[:, None] - 1
    outside = ((index < -1e-6) | (index > limits + 1e-6)).any(axis=0)
    low = np.clip(np.floor(index).astype(int), 0, limits - 1)
    (r, c), (y, x) = low, np.clip(index - low, 0, 1)
    top = stacked[k, r, c] * (1 - x) + stacked[k, r, c + 1] * x
    bottom = stacked[k, r + 1, c] * (1 - x) + stacked[k, r + 1, c + 1] * x
    return np.where(outside, np.nan, top * (1 - y) + bottom * y)
