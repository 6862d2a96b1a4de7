"""Images as a case holds them: described by their headers, read when asked for."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from isocenter.errors import ConfigError, GeometryError, SeriesError
from isocenter.io.dicom.values.suv import suv_factors
from isocenter.io.nifti import read_nifti, read_nifti_grid
from isocenter.records import ImageRef, Region
from isocenter.volume import Grid, Unit, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from isocenter.io.dicom.series import Series
    from isocenter.io.dicom.stack import Stack

__all__ = ["nifti_ref", "series_ref", "stack_of"]

_LOG = logging.getLogger(__name__)
_UNITS: dict[str, Unit] = {"CT": "HU"}


@dataclass(frozen=True)
class _NiftiReader:
    """A class and not a closure, so that a case can be sent to another process."""

    name: str
    path: str
    unit: Unit
    channel: int | None

    def __call__(self, region: Region | None, level: int) -> Volume:
        _only_level_0(self.name, level)
        volume = read_nifti(self.path, unit=self.unit, channel=self.channel)
        if region is None:
            return volume
        _check_region(self.name, region, volume.grid.shape)
        return volume.crop(*region)

    def grid(self) -> Grid:
        return read_nifti_grid(self.path)


@dataclass(frozen=True)
class _StackReader:
    name: str
    stack: Stack
    aside: tuple[str, ...] = ()

    def __call__(self, region: Region | None, level: int) -> Volume:
        _only_level_0(self.name, level)
        unit = self._unit()
        if region is None:
            return self.stack.volume(unit=unit)
        (z0, y0, x0), (z1, y1, x1) = region
        _check_region(self.name, region, self.stack.grid().shape)
        return self.stack.volume(slices=(z0, z1), unit=unit).crop((0, y0, x0), (z1 - z0, y1, x1))

    def _unit(self) -> Literal["SUVbw"] | None:
        """PET in SUVbw, where its headers say enough; else as rescaled, and told."""
        why_not = self._no_suv()
        if why_not:
            _LOG.warning("image %r %s", self.name, why_not)
        return "SUVbw" if why_not == "" else None

    def _no_suv(self) -> str | None:
        """Why PET stays as the scanner gave it, ``""`` where it does not; ``None`` for other modalities."""
        if self.stack.headers[0].text("Modality") != "PT":
            return None
        try:
            suv_factors(self.stack.headers)
        except SeriesError as error:
            return f"stays in the unit of the scanner, not SUV: {error}"
        return ""

    def grid(self) -> Grid:
        return self.stack.grid()

    def notes(self) -> tuple[str, ...]:
        why_not = self._no_suv()
        unit: Literal["SUVbw"] | None = "SUVbw" if why_not == "" else None
        set_aside = [f"{n} file(s) set aside: {reason}" for reason, n in Counter(self.aside).items()]
        return (*self.stack.flags(unit=unit), *([why_not] if why_not else []), *set_aside)


def nifti_ref(name: str, path: str | Path, modality: str | None = None, *, channel: int | None = None) -> ImageRef:
    """A NIfTI file as an image of a case.

    Args:
        name: Role of the image in the case.
        path: ``.nii`` or ``.nii.gz``.
        modality: DICOM modality; ``"CT"`` makes the unit HU.
        channel: Entry of the fourth axis, for files that hold several images.
    """
    reader = _NiftiReader(name, str(path), _UNITS.get(modality or "", "a.u."), channel)
    return ImageRef(name, str(path), reader, reader.grid, modality=modality, files=(str(path),))


def series_ref(name: str, series: Series, stack: Stack | None = None) -> ImageRef:
    """A DICOM series as an image of a case; a region reads only the files of its slices. PET is read in SUVbw.

    Args:
        name: Role of the image in the case.
        series: As `isocenter.io.dicom.find_series` gives it. Defects are raised when grid or voxels are asked for.
        stack: Which of its stacks; needed where it has several.

    Raises:
        SeriesError: It has several stacks, and none was chosen.
    """
    stack = stack or series.stack()
    # the name of the file that a copy repeats tells a person nothing
    reader = _StackReader(name, stack, tuple(a.reason.partition(" of ")[0] for a in series.aside))
    instances = dict.fromkeys(h.text("SOPInstanceUID") for h in stack.headers)
    uids = {"study": series.study_uid, "series": series.uid, "instances": ",".join(instances)}
    return ImageRef(
        name, series.source, reader, reader.grid, modality=series.modality, uids=uids, files=stack.files,
        notes=reader.notes,
    )  # fmt: skip


def stack_of(image: ImageRef) -> Stack | None:
    """The slices of an image that `series_ref` made: which frames of its files it is; ``None`` for other images."""
    return image.open.stack if isinstance(image.open, _StackReader) else None


def _only_level_0(name: str, level: int) -> None:
    if level != 0:
        raise ConfigError(f"image {name!r}: resolution level {level} asked for, this format has level 0 only")


def _check_region(name: str, region: Region, shape: tuple[int, int, int]) -> None:
    for a, b, n in zip(*region, shape, strict=True):
        if not 0 <= a < b <= n:
            raise GeometryError(f"image {name!r}: region {region[0]} to {region[1]} lies outside its shape {shape}")
