"""Images as a case holds them: described by their headers, read when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from isocenter.errors import ConfigError, GeometryError
from isocenter.io.nifti import read_nifti, read_nifti_grid
from isocenter.records import ImageRef, Region
from isocenter.volume import Grid, Unit, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from isocenter.io.dicom.series import Series

__all__ = ["nifti_ref", "series_ref"]

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
class _SeriesReader:
    name: str
    series: Series

    def __call__(self, region: Region | None, level: int) -> Volume:
        _only_level_0(self.name, level)
        stack = self.series.stack()
        if region is None:
            return stack.volume()
        (z0, y0, x0), (z1, y1, x1) = region
        _check_region(self.name, region, stack.grid().shape)
        return stack.volume(slices=(z0, z1)).crop((0, y0, x0), (z1 - z0, y1, x1))

    def grid(self) -> Grid:
        return self.series.stack().grid()


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


def series_ref(name: str, series: Series) -> ImageRef:
    """A DICOM series as an image of a case; a region reads only the files of its slices.

    Args:
        name: Role of the image in the case.
        series: As `isocenter.io.dicom.find_series` gives it. Defects are raised when grid or voxels are asked for.
    """
    reader = _SeriesReader(name, series)
    uids = {"study": series.study_uid, "series": series.uid, "instances": ",".join(series.instance_uids)}
    return ImageRef(name, series.source, reader, reader.grid, modality=series.modality, uids=uids, files=series.files)


def _only_level_0(name: str, level: int) -> None:
    if level != 0:
        raise ConfigError(f"image {name!r}: resolution level {level} asked for, this format has level 0 only")


def _check_region(name: str, region: Region, shape: tuple[int, int, int]) -> None:
    for a, b, n in zip(*region, shape, strict=True):
        if not 0 <= a < b <= n:
            raise GeometryError(f"image {name!r}: region {region[0]} to {region[1]} lies outside its shape {shape}")
