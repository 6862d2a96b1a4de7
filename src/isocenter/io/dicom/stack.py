"""The slices of one series in their places, and the volume they make where they make one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isocenter.errors import ConfigError, IsocenterError, SeriesError, ValueRangeError
from isocenter.io.dicom.content import kind_problems, mixture_problems
from isocenter.io.dicom.geometry import arrange
from isocenter.io.dicom.mosaic import is_mosaic
from isocenter.io.dicom.planes import STRICT, Arrangement, GeometryPolicy, Planes, Problem
from isocenter.io.dicom.radiograph import detector_flags, detector_planes, is_placed
from isocenter.io.dicom.values import padding_value, read_slices, value_unit
from isocenter.io.dicom.values.suv import suv_factors, suv_scale
from isocenter.volume import Grid, Unit, Volume, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["STRICT", "GeometryPolicy", "Problem", "Stack"]


@dataclass(frozen=True)
class Stack:
    """Slices of one series, sorted by position along their normal.

    Attributes:
        uid: Series Instance UID, for messages.
        headers: One a slice (a file, a frame, or a tile of a mosaic), in the order of the volume.
        damaged: Files beside them that are DICOM and cannot be parsed: any of them may be a missing slice.
        keys: What tells it from the other stacks of its series, e.g. ``{"echo": "2", "time": "3"}``.
        fault: Why its images could not even be told apart; ``""`` where they could.

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
    keys: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""

    @staticmethod
    def of(
        uid: str, headers: tuple[Header, ...], damaged: tuple[str, ...] = (), *, keys: Mapping[str, str] | None = None
    ) -> Stack:
        """Sort ``headers`` along the normal; where one has no position they stay in the order of their files."""
        ordered = sorted(headers, key=lambda h: (h.file, h.frame or 0))
        try:
            depth = _planes(ordered).depth
        except (IsocenterError, ValueError):
            return Stack(uid, tuple(ordered), damaged, keys or {})
        return Stack(uid, tuple(ordered[i] for i in np.argsort(depth, kind="stable")), damaged, keys or {})

    def __len__(self) -> int:
        return len(self.headers)

    @property
    def label(self) -> str:
        """Its keys in words, e.g. ``"echo 2, time 3"``; ``""`` where it is the only stack of its series."""
        return ", ".join(f"{name} {value}" for name, value in self.keys.items())

    @property
    def files(self) -> tuple[str, ...]:
        """Paths, each once, in slice order."""
        return tuple(dict.fromkeys(h.file for h in self.headers))

    @cached_property
    def planes(self) -> Planes:
        """Stated position, orientation and spacing of every slice, exact whatever their distances are.

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
            found = self._contents()
            if not found:
                found = mixture_problems(self.headers)
                found += self._arranged(policy).problems
            if not found and len(self) == 1:
                self._thickness()
        except SeriesError as error:
            found = [Problem("bad-element", f"{error}; export it again")]
        return [Problem(p.code, f"{self._name}: {p.text}", p.geometry) for p in found]

    @property
    def _name(self) -> str:
        name = f"series {self.uid}" if self.uid else f"series without UID beside {self.headers[0].file}"
        return f"{name} ({self.label})" if self.keys else name

    def flags(self, policy: GeometryPolicy = STRICT, *, unit: Literal["SUVbw"] | None = None) -> tuple[str, ...]:
        """What was done to the slices to make one volume of them, in words; empty where they are as they were.

        Args:
            policy: As for `volume`.
            unit: As for `volume`: what was decided about times of PET comes with ``"SUVbw"``.

        Raises:
            SeriesError: See `volume`.
            GeometryError: See `volume`.
        """
        self._refuse(policy)
        notes = suv_scale(self.headers).notes if unit == "SUVbw" else ()
        return (*detector_flags(self.headers[0]), *self._arranged(policy).flags, *notes)

    def grid(self, policy: GeometryPolicy = STRICT) -> Grid:
        """Where the voxels are, from the headers alone.

        Raises:
            SeriesError: The files are not slices of one volume.
            GeometryError: Their places are not those of one regular grid.
        """
        grid = self._lattice(policy)
        return grid.rectified() if self._rectifies(policy) else grid

    def _rectifies(self, policy: GeometryPolicy) -> bool:
        return policy.tilt == "rectify" and self._arranged(policy).tilted

    def _lattice(self, policy: GeometryPolicy) -> Grid:
        """The grid before a tilt is taken out of it."""
        self._refuse(policy)
        found = self._arranged(policy)
        frame = self.headers[0].text("FrameOfReferenceUID") if is_placed(self.headers[0]) else ""
        return Grid((found.count, *self.planes.shape), found.affine, frame or None)

    def values(self, slices: tuple[int, int] | None = None) -> NDArray[Any]:
        """Rescaled values of the slices at hand, ``(slice, row, column)``, wherever they lie; int16 or float32.

        Args:
            slices: First (in) and last (out) slice to read; all by default.

        Raises:
            SeriesError: They are no images that can be read.
            FileFormatError: Pixels are truncated or damaged.
        """
        found = self._contents()
        if found:
            raise Problem(found[0].code, f"{self._name}: {found[0].text}", found[0].geometry).error()
        start, stop = slices or (0, len(self))
        return read_slices(self.headers[start:stop])

    def volume(
        self,
        policy: GeometryPolicy = STRICT,
        *,
        slices: tuple[int, int] | None = None,
        unit: Literal["SUVbw"] | None = None,
    ) -> Volume:
        """Voxels in their places: HU for CT, otherwise as rescaled.

        MONOCHROME1 is a matter of display and is not inverted. Pixel padding is kept; see `padding`.

        Args:
            policy: What is allowed.
            slices: First (in) and last (out) slice to read; all by default.
            unit: ``"SUVbw"`` turns PET into standardised uptake values; by default values are as rescaled.

        Raises:
            SeriesError: See `grid`; or an element that SUV needs is absent.
            GeometryError: See `grid`.
            FileFormatError: Pixels are truncated or damaged.
            ValueRangeError: Every voxel has the same value.
            ConfigError: Another unit is asked for; values would only be called so.
        """
        if unit not in (None, "SUVbw"):
            raise ConfigError(f"{self._name}: unit {unit!r} is asked for; give 'SUVbw', or none for values as rescaled")
        grid = self._lattice(policy)
        found = self._arranged(policy)
        resampled = found.places is not None or self._rectifies(policy)
        start, stop = slices or (0, grid.shape[0])
        part = (start, stop) if slices and not resampled else None
        array = self.values(part)
        if part is None and all((plane == array.flat[0]).all() for plane in array):
            raise ValueRangeError(
                f"{self._name}: every voxel is {array.flat[0]:g}; an image cannot be constant, export it again"
            )
        if unit == "SUVbw":
            factors = suv_factors(self.headers)[slice(*part) if part else slice(None)]
            array = (array * factors[:, None, None]).astype(np.float32)
        stated: Unit = unit or value_unit(self.headers[0])
        if part is not None:
            return Volume(array, grid.crop((start, 0, 0), (stop, *grid.shape[1:])), stated)
        if found.places is not None:
            array = _between(array, found.places)
        volume = Volume(array, grid, stated)
        if self._rectifies(policy):
            volume = resample(volume, grid.rectified(), antialias=False, fill=float(array.min()))
        return volume if slices is None else volume.crop((start, 0, 0), (stop, *volume.grid.shape[1:]))

    def _refuse(self, policy: GeometryPolicy) -> None:
        found = self.problems(policy)
        if found:
            raise found[0].error()

    def _contents(self) -> list[Problem]:
        """What forbids to read the images one by one."""
        if not self.headers:
            return [Problem("empty", "no files; give a folder with DICOM slices")]
        if self.fault:
            absent = [p for p in kind_problems(self.headers) if p.code == "no-pixels"]
            if absent:
                return absent
            mosaic = any(is_mosaic(h) for h in self.headers)
            return [Problem("mosaic" if mosaic else "undescribed-images", self.fault)]
        if self.damaged:
            return [
                Problem(
                    "damaged-file",
                    f"{self.damaged[0]} beside it cannot be parsed and may be one of its slices"
                    f" ({len(self.damaged)} such file(s)); send it again or remove it",
                )
            ]
        return kind_problems(self.headers)

    def _arranged(self, policy: GeometryPolicy) -> Arrangement:
        known: dict[GeometryPolicy, Arrangement] = self.__dict__.setdefault("_arrangements", {})
        if policy not in known:
            known[policy] = arrange(self.planes, policy, self._thickness() if len(self) == 1 else 1.0)
        return known[policy]

    def _thickness(self) -> float:
        header = self.headers[0]
        for keyword in ("SliceThickness", "SpacingBetweenSlices"):
            if keyword in header and header.number(keyword) > 0:
                return header.number(keyword)
        if not is_placed(header):
            return 1.0  # a projection has no thickness
        raise SeriesError(f"{header.file}: a single slice that states no SliceThickness (0018,0050)")


def _between(array: NDArray[Any], places: NDArray[np.float64]) -> NDArray[Any]:
    """Slices at fractional indices: those at whole ones as they are, others interpolated linearly."""
    out = np.empty((len(places), *array.shape[1:]), np.float32)
    low = np.clip(np.floor(places + 1e-6).astype(int), 0, len(array) - 1)
    share = np.clip(places - low, 0, 1)
    for z, (below, part) in enumerate(zip(low, share, strict=True)):
        out[z] = array[below]
        if part > 1e-6:
            out[z] += np.float32(part) * (array[below + 1].astype(np.float32) - out[z])
    return out


def _planes(headers: Sequence[Header]) -> Planes:
    if headers and not is_placed(headers[0]):
        return detector_planes(headers)
    turned = np.array([h.numbers("ImageOrientationPatient", 6) for h in headers])
    return Planes(
        position=np.array([h.numbers("ImagePositionPatient", 3) for h in headers]),
        across=turned[:, :3],
        down=turned[:, 3:],
        spacing=np.array([h.numbers("PixelSpacing", 2) for h in headers]),
        shape=(headers[0].integer("Rows"), headers[0].integer("Columns")),
    )
