"""Further things that real series do: bits that mean nothing, streams cut short, times told apart by little."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from _dicom.phantom import ENHANCED_CT, MR, Layout, enhanced, mosaic, slice_of, slices
from _dicom.synthetic import COUNT, Files, pixels

__all__ = ["TRAPS"]

Found = list[Dataset] | Files


def _named(found: list[Dataset], prefix: str = "") -> Files:
    return {f"{prefix}{k:03d}.dcm": ds for k, ds in enumerate(found)}


def _two_folders() -> Found:
    found = slices(Layout())
    return _named(found) | {f"backup/copy{k:02d}.dcm": copy.deepcopy(ds) for k, ds in enumerate(found)}


def _signed_12() -> Found:
    """Negative numbers in twelve bits, the four above them empty."""
    found = slices(Layout())
    for ds in found:
        values = ds.pixel_array.astype(np.int32) - 1024
        ds.PixelRepresentation, ds.RescaleIntercept = 1, "0"
        ds.PixelData = (values & 0xFFF).astype("<u2").tobytes()
    return found


def _upper_bits() -> Found:
    """An overlay in bits 12 and 13, as scanners of the nineties wrote it."""
    found = slices(Layout())
    for ds in found:
        rng = np.random.default_rng(int(ds.InstanceNumber))
        overlay = rng.integers(0, 4, ds.pixel_array.shape, dtype=np.uint16)
        pixels(ds, np.bitwise_or(ds.pixel_array, overlay << 12).astype(np.uint16))
    return found


def _full_range() -> Found:
    found = slices(Layout())
    for ds in found:
        ds.BitsStored, ds.HighBit, ds.RescaleIntercept = 16, 15, "-1000.5"
        pixels(ds, ds.pixel_array * np.uint16(37))
    return found


def _half_signed() -> Found:
    found = slices(Layout())
    for ds in found[COUNT // 2 :]:
        values = ds.pixel_array.astype(np.int16) - 1024
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit, ds.RescaleIntercept = 1, 16, 15, "0"
        pixels(ds, values)
    return found


def _half_packed() -> Found:
    found = slices(Layout())
    for ds in found[::2]:
        ds.compress(RLELossless, generate_instance_uid=False)
    return found


def _cut_short(uid: UID) -> Callable[[], Found]:
    """One stream ends early; the file around it is sound."""

    def change() -> Found:
        found = slices(Layout())
        for ds in found:
            ds.compress(uid, generate_instance_uid=False)
        stream = next(generate_frames(found[11].PixelData, number_of_frames=1))
        part = stream[: len(stream) * 2 // 3 // 2 * 2]
        found[11].PixelData = encapsulate([part])
        return _named(found)

    return change


def _fragments() -> Found:
    found = slices(Layout())
    for ds in found:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        stream = next(generate_frames(ds.PixelData, number_of_frames=1))
        ds.PixelData = encapsulate([stream], fragments_per_frame=3)
    return found


def _packed_frames() -> Found:
    ds = enhanced(Layout(), [(k, 0) for k in range(COUNT)], ENHANCED_CT)
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    return {"frames.dcm": ds}


def _several(change: Callable[[Dataset, int, int], None], times: int = 3, count: int = 10) -> list[Dataset]:
    """A few MR images at each place; ``change`` gets the image, its place and which one of them it is."""
    found = []
    for k, position in enumerate(Layout(count=count).positions()):
        for n in range(times):
            ds = slice_of(_SEVERAL, position, k + count * n + 1, MR)
            pixels(ds, ds.pixel_array + 40 * n)
            change(ds, k, n)
            found.append(ds)
    return found


_SEVERAL = Layout(count=10)


def _cine() -> Found:
    def change(ds: Dataset, k: int, n: int) -> None:
        ds.TriggerTime, ds.InstanceNumber = f"{40 * n + 1.5 * k:g}", 3 * k + n + 1
        ds.HeartRate = 60

    return _several(change)


def _place_by_place() -> Found:
    def change(ds: Dataset, k: int, n: int) -> None:
        ds.InstanceNumber = 3 * k + n + 1

    return _several(change)


def _directions() -> Found:
    def change(ds: Dataset, _: int, n: int) -> None:
        ds.DiffusionBValue = 1000.0 if n else 0.0
        if n:
            ds.DiffusionGradientOrientation = [float(v) for v in np.eye(3)[n - 1]]

    return _several(change, times=4)


def _late_gap() -> Found:
    def change(ds: Dataset, _: int, n: int) -> None:
        ds.TemporalPositionIdentifier = n + 1

    found = _several(change)
    del found[3 * 4 + 1]  # the fifth slice of the second time
    return found


def _two_fields() -> Found:
    first = Layout()
    second = Layout(spacing=(0.45, 0.35), origin=(-11.2, -10.8, -30.0), uids=first.uids)
    return slices(first) + slices(second)


def _reformatted() -> Found:
    found = slices(Layout())
    others = copy.deepcopy(found)
    for ds in others:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.ImageType = ["DERIVED", "SECONDARY", "MPR"]
        pixels(ds, np.roll(ds.pixel_array, 4, axis=1))
    return found + others


def _each(edit: Callable[[Dataset, int], Any]) -> Callable[[], Found]:
    def change() -> Found:
        found = slices(Layout())
        for k, ds in enumerate(found):
            edit(ds, k)
        return _named(found)

    return change


def _other_patient(ds: Dataset, k: int) -> None:
    if k >= COUNT // 2:
        ds.PatientID, ds.PatientName = "other", "Other"


def _turned(ds: Dataset, k: int) -> None:
    if k == 11:
        angle = np.radians(0.05)
        turn = (np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0)
        ds.ImageOrientationPatient = [f"{v:.10f}" for v in turn]


def _without(keyword: str) -> Callable[[Dataset, int], None]:
    def edit(ds: Dataset, k: int) -> None:
        if k == 11:
            delattr(ds, keyword)

    return edit


def _same_uid(ds: Dataset, _: int) -> None:
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")


def _no_slope(ds: Dataset, k: int) -> None:
    if k == 11:
        ds.RescaleSlope = "0"


def _no_step() -> Found:
    ds = mosaic(Layout(), 2.5)
    ds.SliceThickness = "2"
    del ds.SpacingBetweenSlices
    return {"mosaic.dcm": ds}


def _lookup(ds: Dataset, _: int) -> None:
    """Stored values below 500 and above 1499 take the value of the first and the last entry (PS3.3 C.11.1.1)."""
    item = Dataset()
    item.add_new(0x00283002, "US", [1000, 500, 16])
    item.ModalityLUTType = "HU"
    item.add_new(0x00283006, "OW", (np.arange(1000) ** 2 // 20 + 7).astype("<u2").tobytes())
    ds.ModalityLUTSequence = [item]
    del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType


TRAPS: dict[str, Callable[[], Found]] = {
    "two-folders": _two_folders, "signed-12": _signed_12, "upper-bits": _upper_bits, "full-range": _full_range,
    "half-signed": _half_signed, "half-packed": _half_packed, "short-jpeg2000": _cut_short(JPEG2000Lossless),
    "short-rle": _cut_short(RLELossless), "short-jpegls": _cut_short(JPEGLSLossless), "fragments": _fragments,
    "enhanced-jpeg2000": _packed_frames, "cine": _cine, "place-by-place": _place_by_place, "directions": _directions,
    "late-gap": _late_gap, "two-fields": _two_fields, "reformatted": _reformatted,
    "two-patients": _each(_other_patient), "turned": _each(_turned),
    "one-unplaced": _each(_without("ImagePositionPatient")),
    "one-unscaled": _each(_without("RescaleSlope")), "same-uid": _each(_same_uid), "lookup": _each(_lookup),
    "zero-slope": _each(_no_slope), "mosaic-no-step": _no_step, "last-damaged": _each(lambda _ds, _k: None),
}  # fmt: skip
