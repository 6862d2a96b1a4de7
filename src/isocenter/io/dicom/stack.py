"""The slices of one series in their places, and the volume they make where they make one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import IsocenterError, SeriesError, ValueRangeError
from isocenter.io.dicom.content import kind_problems, mixture_problems
from isocenter.io.dicom.geometry import Planes, Problem, fit_affine, geometry_problems
from isocenter.io.dicom.values import padding_value, read_slices, value_unit
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from isocenter.io.dicom.header import Header

__all__ = ["STRICT", "GeometryPolicy", "Problem", "Stack"]


@dataclass(frozen=True)
class GeometryPolicy:
    """What may be done to slices that are not one regular grid. As yet: nothing.

    Attributes:
        tolerance_mm: How far the place that a header states for a pixel may be from the place the grid gives it.
            Widen it for positions that were rounded to few digits.
    """

    tolerance_mm: float = 0.01


STRICT = GeometryPolicy()


@dataclass(frozen=True)
class Stack:
    """Slices of one series, sorted by position along their normal.

    Attributes:
        uid: Series Instance UID, for messages.
        headers: One a slice, in the order of the volume.
        damaged: Files beside them that are DICOM and cannot be parsed: any of them may be a missing slice.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> from isocenter.io.dicom import find_series
        >>> (series,) = find_series(get_testdata_file("CT_small.dcm"))
        >>> series.stack().problems()
        []
    """

    uid: str
    headers: tuple[Header, ...]
    damaged: tuple[str, ...] = ()

    @staticmethod
    def of(uid: str, headers: tuple[Header, ...], damaged: tuple[str, ...] = ()) -> Stack:
        """Sort ``headers`` along the normal; where one has no position they stay in the order of their files."""
        ordered = sorted(headers, key=lambda h: h.file)
        try:
            planes = _planes(ordered)
        except IsocenterError:
            return Stack(uid, tuple(ordered), damaged)
        return Stack(uid, tuple(ordered[i] for i in np.argsort(planes.depth, kind="stable")), damaged)

    def __len__(self) -> int:
        return len(self.headers)

    @cached_property
    def planes(self) -> Planes:
        """Stated position, orientation and spacing of every slice.

        Raises:
            SeriesError: A slice does not state one of them.
        """
        return _planes(self.headers)

    @property
    def padding(self) -> float | None:
        """Value that marks pixels outside the field of view, in units of the volume; kept in it as it is."""
        return padding_value(self.headers[0])

    def problems(self, policy: GeometryPolicy = STRICT) -> list[Problem]:
        """What forbids one regular volume, most telling first; empty where nothing does."""
        try:
            found = self._damage() or kind_problems(self.headers)
            if not found:
                found = mixture_problems(self.headers)
                found += self._orientations() or geometry_problems(self.planes, tolerance_mm=policy.tolerance_mm)
            if not found and len(self) == 1:
                self._thickness()
        except SeriesError as error:
            found = [Problem("bad-element", f"{error}; export it again")]
        return [Problem(p.code, f"{self._name}: {p.text}", p.geometry) for p in found]

    @property
    def _name(self) -> str:
        return f"series {self.uid}" if self.uid else f"series without UID beside {self.headers[0].file}"

    def grid(self, policy: GeometryPolicy = STRICT) -> Grid:
        """Where the voxels are, from the headers alone.

        Raises:
            SeriesError: The files are not slices of one volume.
            GeometryError: Their places are not those of one regular grid.
        """
        self._refuse(policy)
        affine = fit_affine(self.planes, self._thickness() if len(self) == 1 else 1.0)
        rows, columns = self.planes.shape
        return Grid((len(self), rows, columns), affine, self.headers[0].text("FrameOfReferenceUID") or None)

    def volume(self, policy: GeometryPolicy = STRICT, *, slices: tuple[int, int] | None = None) -> Volume:
        """Voxels in their places: HU for CT, otherwise as rescaled.

        MONOCHROME1 is a matter of display and is not inverted. Pixel padding is kept; see `padding`.

        Args:
            policy: What is allowed.
            slices: First (in) and last (out) slice to read; all by default.

        Raises:
            SeriesError: See `grid`.
            GeometryError: See `grid`.
            FileFormatError: Pixels are truncated or damaged.
            ValueRangeError: Every voxel has the same value.
        """
        grid = self.grid(policy)
        start, stop = slices or (0, len(self))
        array = read_slices(self.headers[start:stop])
        if slices is None and all((plane == array.flat[0]).all() for plane in array):
            raise ValueRangeError(
                f"{self._name}: every voxel is {array.flat[0]:g}; an image cannot be constant, export it again"
            )
        rows, columns = self.planes.shape
        return Volume(array, grid.crop((start, 0, 0), (stop, rows, columns)), value_unit(self.headers[0]))

    def _refuse(self, policy: GeometryPolicy) -> None:
        found = self.problems(policy)
        if found:
            raise found[0].error()

    def _damage(self) -> list[Problem]:
        if not self.headers:
            return [Problem("empty", "no files; give a folder with DICOM slices")]
        if self.damaged:
            return [
                Problem(
                    "damaged-file",
                    f"{self.damaged[0]} beside it cannot be parsed and may be one of its slices"
                    f" ({len(self.damaged)} such file(s)); send it again or remove it",
                )
            ]
        return []

    def _orientations(self) -> list[Problem]:
        turned = np.concatenate([self.planes.across, self.planes.down], axis=1)
        apart = float(np.abs(turned - turned[0]).max())
        steps = float(np.abs(self.planes.spacing - self.planes.spacing[0]).max())
        if apart > 1e-3:
            return [
                Problem(
                    "mixed-orientations",
                    f"ImageOrientationPatient (0020,0037) varies by up to {apart:.3g} within the series;"
                    " give a folder with one orientation",
                    geometry=True,
                )
            ]
        if steps > 1e-3:
            return [
                Problem(
                    "mixed-spacing",
                    f"PixelSpacing (0028,0030) varies by up to {steps:.3g} mm within the series;"
                    " give a folder with one spacing",
                    geometry=True,
                )
            ]
        return []

    def _thickness(self) -> float:
        header = self.headers[0]
        for keyword in ("SliceThickness", "SpacingBetweenSlices"):
            if keyword in header and header.number(keyword) > 0:
                return header.number(keyword)
        raise SeriesError(f"{header.file}: a single slice that states no SliceThickness (0018,0050)")


def _planes(headers: tuple[Header, ...] | list[Header]) -> Planes:
    turned = np.array([h.numbers("ImageOrientationPatient", 6) for h in headers])
    return Planes(
        position=np.array([h.numbers("ImagePositionPatient", 3) for h in headers]),
        across=turned[:, :3],
        down=turned[:, 3:],
        spacing=np.array([h.numbers("PixelSpacing", 2) for h in headers]),
        shape=(headers[0].integer("Rows"), headers[0].integer("Columns")),
    )
