"""Rules for grids: orientation, dimensions, spacing, patch, stages of the network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isocenter.planner.fingerprint import Fingerprint
from isocenter.volume import Grid

__all__ = [
    "Sizes",
    "Topology",
    "choose_dimensions",
    "choose_orientation",
    "choose_patch",
    "choose_spacing",
    "choose_topology",
    "voxel_cost",
]

CASE_VOXELS = 2_500_000
PATCH_VOXELS = 96**3
"""Of a patch whose three axes are equally fine; thick slices are not pooled by the stem and count double."""
MAX_OBLIQUITY_DEG = 30.0
CONTEXT_VOXELS = 96
"""Least edge of a 3-D patch, where a case is that long: what lies around a small structure tells it from others."""
THICK = 3.0
THICKNESS_VOXELS = 3.0
LEAST = 7
"""Voxels along an axis below which it is not halved again."""

Reason = str
Sizes = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Topology:
    """Stem, strides, kernels and channels of an encoder."""

    stem: Sizes
    strides: tuple[Sizes, ...]
    kernels: tuple[Sizes, ...]
    channels: tuple[int, ...]

    @property
    def multiple(self) -> Sizes:
        """Voxels that a patch must be a multiple of."""
        z, y, x = np.prod([self.stem, *self.strides], axis=0)
        return int(z), int(y), int(x)


def choose_orientation(found: Fingerprint) -> tuple[str | None, Reason]:
    """Patient directions of the working axes, where all images have any in common."""
    grids = [c.grid for c in found.cases.values()]
    worst = max(g.obliquity_deg for g in grids)
    if worst > MAX_OBLIQUITY_DEG:
        return None, (
            f"axes are up to {worst:.0f} degrees from the patient's, so turning to the nearest ones could differ from"
            " case to case: axes stay as stored"
        )
    planes = Counter(_canonical(g) for g in grids)
    best, count = planes.most_common(1)[0]
    return (
        best,
        f"slice, row and column towards {best} in every case; {count} of {len(grids)} are stored in these planes",
    )


def _canonical(grid: Grid) -> str:
    return grid.orientation.translate(str.maketrans("RAI", "LPS"))


def choose_dimensions(
    spacing: NDArray[np.float64], size_mm: NDArray[np.float64], *, objects: bool = False
) -> tuple[Literal[2, 3], Reason]:
    """2-D where slices are thick and few, else 3-D; whole objects need 3-D wherever there are slices."""
    slices = round(float(size_mm[0] / spacing[0]))
    ratio = float(spacing[0] / min(spacing[1:]))
    if slices <= 3:
        return 2, f"images have {slices} slice(s)"
    if objects:
        return 3, f"{slices} slices: an object is found as a whole, not slice by slice"
    if ratio >= THICK and slices <= 32:
        return 2, f"slices are {ratio:.1f} times as thick as pixels and only {slices}: neighbours tell little"
    return 3, f"{slices} slices, {ratio:.1f} times as thick as pixels: neighbours tell much"


def choose_spacing(
    found: Fingerprint, spacing: NDArray[np.float64], size_mm: NDArray[np.float64], dimensions: int
) -> tuple[Spacing, Reason]:
    """Working spacing: the median, coarsened until a case fits the voxel budget, but not below what structures need."""
    if dimensions == 2:
        y, x = (round(float(s), 4) for s in spacing[1:])
        return (0.0, y, x), f"median in the plane ({y:g} x {x:g} mm); slices stay where they are"
    target = spacing.astype(np.float64).copy()
    if target[0] / min(target[1:]) >= THICK:
        target[0] = np.percentile([c.grid.spacing_mm[0] for c in found.cases.values()], 10)
    start = target.copy()
    thickness = found.thickness_mm()
    need = min(thickness.values()) / THICKNESS_VOXELS if thickness else np.inf
    while np.prod(size_mm / target) > CASE_VOXELS:
        finest = target <= target.min() * 1.01
        step = target * np.where(finest, 1.05, 1.0)
        if step.max() > need and np.prod(size_mm / target) <= 4 * CASE_VOXELS:
            break
        target = step
    a, b, c = (round(float(s), 3) for s in target)
    voxels = float(np.prod(size_mm / target))
    if np.allclose(target, start):
        return (a, b, c), f"median of the cases; a case has {voxels / 1e6:.1f} million voxels"
    thin = min(thickness, key=lambda k: thickness[k]) if thickness else ""
    detail = f"; the thinnest structure, {thin}, is {thickness[thin]:.0f} mm thick" if thin else ""
    return (a, b, c), f"coarser than the median so that a case has {voxels / 1e6:.1f} million voxels{detail}"


def choose_topology(
    patch: NDArray[np.int64], spacing: NDArray[np.float64], dimensions: int, *, reach: int = 1
) -> Topology:
    """Stem of 2 and stages that halve every even axis that is not coarser than twice the finest, until 7 to 13 remain.

    Small patches are halved further until columns are ``reach`` voxels apart, where a head needs that stride.

    The fewer millimetres a voxel has along an axis, the more often it is pooled, so that deep features see a cube.
    Along an axis whose steps are more than twice the finest a convolution does not mix: neighbours there have little in
    common.
    """
    size, step = patch.astype(float).copy(), spacing.astype(float).copy()
    stem = _stride(size, step, dimensions)
    size, step = size / stem, step * stem
    strides: list[Sizes] = [(1, 1, 1)]
    kernels = [_kernel(step, dimensions)]  # what has begun to mix goes on, however coarse it gets
    while len(strides) < 6:
        stride = _stride(size, step, dimensions)
        if max(stride) == 1 and patch[2] / size[2] < reach:
            stride = np.where((np.arange(3) > 0) & (size % 2 == 0), 2, 1)
        if max(stride) == 1:
            break
        strides.append((int(stride[0]), int(stride[1]), int(stride[2])))
        size, step = size / stride, step * stride
        z, y, x = (max(a, b) for a, b in zip(kernels[-1], _kernel(step, dimensions), strict=True))
        kernels.append((z, y, x))
    channels = tuple(min(32 * 2**k, 256) for k in range(len(strides)))
    return Topology((int(stem[0]), int(stem[1]), int(stem[2])), tuple(strides), tuple(kernels), channels)


def _stride(size: NDArray[np.float64], step: NDArray[np.float64], dimensions: int) -> NDArray[np.int64]:
    fine = step < 2 * step[3 - dimensions :].min()
    stride = np.where(fine & (size >= 2 * LEAST) & (size % 2 == 0), 2, 1)
    if dimensions == 2:
        stride[0] = 1
    return stride.astype(np.int64)


def _kernel(step: NDArray[np.float64], dimensions: int) -> Sizes:
    wide = step <= 2 * step[3 - dimensions :].min()
    z, y, x = (3 if w else 1 for w in wide.tolist())
    return (z if dimensions == 3 else 1), y, x


def voxel_cost(spacing: NDArray[np.float64]) -> int:
    """Work a voxel, against one of equal spacings: convolutions run behind the stem, which leaves thick axes whole."""
    return int(2 ** np.count_nonzero(spacing >= 2 * spacing.min()))


def choose_patch(
    found: Fingerprint, spacing: NDArray[np.float64], shape: NDArray[np.int64], dimensions: int
) -> tuple[Sizes, Reason]:
    """Patch on the working grid.

    2-D: what covers the annotated box of 95 % of the cases with a fifth around it. 3-D: that box, at least
    `CONTEXT_VOXELS` long where the case is, cut where it is longest until it fits the voxel budget. Multiples of 16
    (less where short), so that pooling divides it.
    """
    extent = found.extent_mm()
    if dimensions == 2:
        wanted = shape.astype(float)
        if extent is not None:
            wanted = np.minimum(shape, np.maximum(1.4 * extent / spacing, 64))
        y, x = (int(np.ceil(n / 16) * 16) for n in wanted[1:])
        scale = min(1.0, (512 * 512 / (y * x)) ** 0.5)
        y, x = (max(32, int(n * scale) // 16 * 16) for n in (y, x))
        if extent is None:
            return (1, y, x), "the median slice"
        box = f"{extent[1]:.0f} x {extent[2]:.0f} mm"
        return (1, y, x), f"covers the annotated box of 95 % of the cases ({box}) and around it"
    budget = PATCH_VOXELS // voxel_cost(spacing)
    patch = shape.astype(float)
    if extent is not None:
        patch = np.minimum(patch, np.maximum(1.4 * extent / spacing, CONTEXT_VOXELS))
    while np.prod(patch) > budget:
        patch[np.argmax(patch * spacing)] *= 0.98
    grain = np.where(patch >= 48, 16, np.where(patch >= 16, 8, 2))
    sizes = np.maximum(np.minimum(grain, 8), np.round(patch / grain) * grain).astype(np.int64)
    while np.prod(sizes) > budget:  # rounding took it over the budget
        longest = np.argmax(np.where(sizes > grain, sizes * spacing, 0))
        sizes[longest] -= grain[longest]
    whole = float(np.prod(np.minimum(sizes, shape)) / np.prod(shape))
    z, y, x = (int(n) for n in sizes)
    box = ", what covers the annotated box" if extent is not None and np.all(sizes >= extent / spacing) else ""
    return (z, y, x), f"{100 * whole:.0f} % of the median case{box}, within {budget / 1e6:.1f} million voxels"
