"""Synthetic series of kinds that a regular CT cannot be turned into: tilted, oblique, several times, multi-frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from _dicom.phantom import ENHANCED_CT, ENHANCED_MR, MR, Layout, enhanced, mosaic, slice_of, slices

__all__ = ["COUNT", "SYNTHETIC", "Files", "pixels"]

Files = dict[str, Dataset]
COUNT = 28
TILT = Layout(way=(0.0, -np.sin(np.radians(16)), np.cos(np.radians(16))))
TWO_STEPS = Layout(steps=[*np.arange(14) * 2.5, *(13 * 2.5 + np.arange(1, 15) * 4.0)])
OBLIQUE = Layout(across=(0.96, 0.28, 0.0), down=(-0.28 * 0.8, 0.96 * 0.8, -0.6))
SAGITTAL = Layout(across=(0.0, 1.0, 0.0), down=(0.0, 0.0, -1.0))


def pixels(ds: Dataset, values: NDArray[np.integer]) -> None:
    """Put ``values`` in, uncompressed."""
    ds.PixelData = values.astype("<i2" if ds.PixelRepresentation else "<u2").tobytes()


def _sagittal() -> list[Dataset]:
    found = slices(SAGITTAL)
    rows, columns = np.meshgrid(*(np.arange(n) - n / 2 for n in SAGITTAL.shape), indexing="ij")
    for ds in found:
        values = ds.pixel_array.astype(np.int16) - 1024
        values[np.hypot(rows, columns) > 28] = -2000
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit, ds.RescaleIntercept = 1, 16, 15, "0"
        ds.add_new(0x00280120, "SS", -2000)
        pixels(ds, values)
    return found


def _several(keyword: str, values: Sequence[object]) -> list[Dataset]:
    """A few MR images at each place, told apart by one element."""
    layout, found = Layout(count=10), []
    for k, position in enumerate(layout.positions()):
        for n, value in enumerate(values):
            ds = slice_of(layout, position, k * len(values) + n + 1, MR)
            setattr(ds, keyword, value)
            pixels(ds, ds.pixel_array + 40 * n)
            found.append(ds)
    return found


def _two_ways() -> list[Dataset]:
    other = Layout(across=SAGITTAL.across, down=SAGITTAL.down, uids=(axial := Layout()).uids)
    return slices(axial) + slices(other)


def _echoes() -> list[Dataset]:
    found = _several("EchoTime", ("15", "45"))
    for ds in found:
        ds.EchoNumbers = 1 + (ds.EchoTime == 45)
    return found


def _frames(sop_class: str, times: int, rng: np.random.Generator) -> Files:
    order = [(k, t) for t in range(times) for k in range(COUNT)]
    return {"frames.dcm": enhanced(Layout(), [order[i] for i in rng.permutation(len(order))], sop_class)}


def _against() -> Layout:
    return Layout(across=OBLIQUE.across, down=OBLIQUE.down, way=(-np.cross(OBLIQUE.across, OBLIQUE.down)).tolist())


SYNTHETIC: dict[str, Callable[[np.random.Generator], list[Dataset] | Files]] = {
    "tilt": lambda _: slices(TILT),
    "two-steps": lambda _: slices(TWO_STEPS),
    "oblique": lambda _: slices(OBLIQUE),
    "sagittal": lambda _: _sagittal(),
    "times": lambda _: _several("TemporalPositionIdentifier", (1, 2, 3)),
    "echoes": lambda _: _echoes(),
    "b-values": lambda _: _several("DiffusionBValue", (0.0, 1000.0)),
    "two-ways": lambda _: _two_ways(),
    "enhanced": lambda rng: _frames(ENHANCED_CT, 1, rng),
    "enhanced-times": lambda rng: _frames(ENHANCED_MR, 2, rng),
    "mosaic": lambda _: {"mosaic.dcm": mosaic(_against(), 2.5)},
}
