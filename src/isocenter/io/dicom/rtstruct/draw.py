"""Contours of a structure set drawn on the slices of a grid, or refused by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from isocenter.errors import ConfigError, FileFormatError, GeometryError
from isocenter.io.dicom.rtstruct.contours import REACH, Patch, filled, united

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from isocenter.io.dicom.rtstruct.file import StructureSet
    from isocenter.io.dicom.rtstruct.roi import Roi
    from isocenter.volume import Grid

__all__ = ["ContourPolicy", "Drawing"]

_LOG = logging.getLogger(__name__)
# What a file may cost, in voxels looked at: some seconds. Whole bodies with a hundred structures stay far below.
_MAX_WORK = 1 << 31
_MAX_SLICE = 1 << 27
_PER_CROSSING, _PER_PAIR = 8, 1 << 14


@dataclass(frozen=True)
class ContourPolicy:
    """What may be done to contours that do not say clearly which voxels they enclose.

    Attributes:
        tolerance_mm: How far the points of a contour may be from the plane of a slice. Planes are often rounded to a
            tenth of a millimetre. ``math.inf`` takes every contour to the nearest slice.
        crossing: Of contours on one slice that partly overlap, and do not lie one in the other, it is not said whether
            they add up (``"unite"``) or cut out what they share (``"cut"``). The latter is what ``CLOSEDPLANAR_XOR``
            says.
        outside: What lies outside the images is an error, or left out (``"clip"``): couches, and bodies larger
            than the field of view. A structure that lies wholly outside is an error in any case.
    """

    tolerance_mm: float = 0.1
    crossing: Literal["refuse", "unite", "cut"] = "refuse"
    outside: Literal["refuse", "clip"] = "refuse"

    def __post_init__(self) -> None:
        if not self.tolerance_mm >= 0:
            raise ConfigError(f"ContourPolicy.tolerance_mm is {self.tolerance_mm}, it must be 0 or more")
        for name, allowed in (("crossing", ("refuse", "unite", "cut")), ("outside", ("refuse", "clip"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"ContourPolicy.{name} is {getattr(self, name)!r}, it must be one of {', '.join(allowed)}"
                )


@dataclass(frozen=True)
class _Placed:
    """A contour on a slice: ``(n, 2)`` row and column indices."""

    number: int
    cuts: bool
    points: NDArray[np.float64]

    @cached_property
    def key(self) -> bytes:
        """Equal for the same points in whatever order they are walked."""
        fixed = np.rint(self.points * 1024)
        return np.asarray(fixed[np.lexsort(fixed.T)] + 0.0).tobytes()


@dataclass
class Drawing:
    """Draws structures of one file on one grid."""

    source: StructureSet
    grid: Grid
    policy: ContourPolicy
    _work: int = field(default=0, init=False)

    def slices(self, roi: Roi) -> Iterator[tuple[int, Patch]]:
        """Each slice with contours, and what they enclose there.

        Raises:
            GeometryError: They do not lie on slices of the grid, lie outside it, or cross each other.
            FileFormatError: Their points are damaged.
        """
        if self.grid.frame and roi.frame and self.grid.frame != roi.frame:
            raise GeometryError(
                f"{self.source.path}: the frame of reference of '{roi.name}' is not that of the images; choose their"
                " series"
            )
        found: dict[int, list[_Placed]] = {}
        beyond = True
        for contour in self.source.contours(roi):
            where = f"{self.source.path}: contour {contour.number} of '{roi.name}'"
            index = self.grid.to_index(contour.points_mm)
            place = self._slice(index[:, 0], where)
            if place is not None:
                points = np.ascontiguousarray(index[:, 1:])
                beyond &= self._is_beyond(points, where)
                found.setdefault(place, []).append(_Placed(contour.number, contour.cuts, points))
        if beyond and roi.contours:
            raise GeometryError(
                f"{self.source.path}: '{roi.name}' lies wholly outside the images; choose the series it was drawn on"
            )
        for place in sorted(found):
            patch = self._slice_of(found[place], f"{self.source.path}: '{roi.name}' on slice {place + 1}")
            if patch.count:
                yield place, patch

    @cached_property
    def _plane_mm(self) -> float:
        """Distance between the planes of neighbouring slices."""
        step, down, across = self.grid.affine[:3, :3].T
        normal = np.cross(down, across)
        return float(abs(step @ normal) / np.linalg.norm(normal))

    def _slice(self, depth: NDArray[np.float64], where: str) -> int | None:
        """Slice of a contour; ``None`` where it is to be left out."""
        count, allowed = self.grid.shape[0], self.policy.tolerance_mm
        if depth.min() > count - 0.5 or depth.max() < -0.5:
            beyond = max(float(depth.max()) - (count - 1), -float(depth.min())) * self._plane_mm
            self._outside(f"{where} lies {beyond:.3f} mm beyond the first or last slice")
            return None
        place = min(max(int(np.rint(depth.mean())), 0), count - 1)
        off = float(np.abs(depth - place).max()) * self._plane_mm
        if off > allowed:
            through = float(np.ptp(depth)) * self._plane_mm
            how = f"runs through {through:.3f} mm of slices" if through > 2 * allowed else f"lies {off:.3f} mm off"
            raise GeometryError(
                f"{where} is off-plane: it {how} the plane of slice {place + 1}, {allowed:g} mm is allowed; choose the"
                " series it was drawn on, or widen ContourPolicy.tolerance_mm"
            )
        return place

    def _is_beyond(self, points: NDArray[np.float64], where: str) -> bool:
        """Whether a contour meets no part of the slice."""
        edge = np.array(self.grid.shape[1:]) - 0.5
        over = np.maximum(points - edge, -0.5 - points).max(axis=0) * self.grid.spacing_mm[1:]
        if over.max() > self.policy.tolerance_mm or not np.isfinite(points).all():
            self._outside(f"{where} lies up to {over.max():.3f} mm outside the images")
        if not np.abs(points).max() <= REACH:
            raise GeometryError(f"{where} lies {over.max():.0f} mm away from the images; export it again")
        return bool((points.min(axis=0) > edge).any() or (points.max(axis=0) < -0.5).any())

    def _outside(self, what: str) -> None:
        if self.policy.outside == "refuse":
            raise GeometryError(
                f"{what}; choose the series it was drawn on, or leave out what is outside"
                " (ContourPolicy.outside='clip')"
            )

    def _slice_of(self, contours: Sequence[_Placed], where: str) -> Patch:
        seen: dict[bytes | int, _Placed] = {}
        for contour in contours:
            seen.setdefault(contour.number if contour.cuts else contour.key, contour)
        chosen = list(seen.values())
        if len(chosen) < len(contours):
            _LOG.info("%s: %d contours are given twice and drawn once", where, len(contours) - len(chosen))
        patches: list[Patch] = []
        room = _MAX_SLICE
        for contour in chosen:
            patches.append(self._filled(contour.points, where))
            room -= patches[-1].mask.size
            if room < 0:
                raise FileFormatError(f"{where}: {len(chosen)} contours cover each other; export it again")
        out = united(patches)
        if self.policy.crossing == "cut" or out.count == sum(patch.count for patch in patches):
            return out
        groups = list(range(len(patches)))
        for one, other, voxels in self._crossing(chosen, patches, where):
            if self.policy.crossing == "refuse":
                raise GeometryError(
                    f"{where}: contours {chosen[other].number} and {chosen[one].number} cross ({voxels} voxels), so it"
                    " is not clear whether they add up or cut out; mend them, or say it by ContourPolicy.crossing"
                )
            groups = [groups[other] if group == groups[one] else group for group in groups]
        members = [[p for p, own in zip(patches, groups, strict=True) if own == group] for group in sorted(set(groups))]
        return united([united(same, any_of=True) for same in members])

    def _crossing(
        self, contours: Sequence[_Placed], patches: Sequence[Patch], where: str
    ) -> Iterator[tuple[int, int, int]]:
        """Pairs that partly overlap, and by how many voxels."""
        low, high = np.array([p.low for p in patches]), np.array([p.high for p in patches])
        for one in range(1, len(patches)):
            near = (low[:one] < high[one]).all(axis=1) & (low[one] < high[:one]).all(axis=1)
            for other in np.flatnonzero(near).tolist():
                self._spend(_PER_PAIR, where)
                voxels = patches[one].crosses(patches[other])
                if voxels and not (contours[one].cuts or contours[other].cuts):
                    yield one, other, voxels

    def _filled(self, points: NDArray[np.float64], where: str) -> Patch:
        rows, columns = self.grid.shape[1:]
        crossings = float(np.abs(np.diff(points[:, 0], append=points[:1, 0])).sum())
        area = np.minimum(np.ptp(points, axis=0), (rows, columns)).prod()
        self._spend(int(_PER_CROSSING * crossings + area), where)
        return filled(points, (rows, columns))

    def _spend(self, work: int, where: str) -> None:
        self._work += work
        if self._work > _MAX_WORK:
            raise FileFormatError(f"{where}: more contours than can be drawn in reasonable time; export it again")
