"""Folders of DICOM files that differ from a regular CT in one thing each."""

from __future__ import annotations

import copy
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from _dicom.phantom import Layout, numbers, slices
from _dicom.synthetic import COUNT, SYNTHETIC, Files, pixels
from _dicom.traps import TRAPS

__all__ = ["base_series", "make"]


def base_series(folder: Path | None) -> list[Dataset]:
    """The 28 slices in the middle of a real CT, or a synthetic one."""
    if folder is None:
        return slices(Layout())
    found: list[Dataset] = sorted(
        (dcmread(f) for f in folder.iterdir()), key=lambda ds: float(ds.ImagePositionPatient[2])
    )
    start = (len(found) - COUNT) // 2
    return found[start : start + COUNT]


def make(name: str, base: Sequence[Dataset], out: Path) -> Path:
    """Write what ``made:name`` stands for into ``out``; gives the path that readers are handed."""
    rng = np.random.default_rng(sum(name.encode()))
    found = copy.deepcopy(list(base))
    if name in _MUTATIONS:
        files = _named(_MUTATIONS[name](found, rng), rng)
    elif name in SYNTHETIC:
        files = _named(SYNTHETIC[name](rng), rng)
    elif name in TRAPS:
        files = _named(TRAPS[name](), rng)
    else:
        return _ways_in(name, found, out)
    folder = out / name
    folder.mkdir(parents=True)
    for file, ds in files.items():
        (folder / file).parent.mkdir(exist_ok=True)
        ds.save_as(folder / file, enforce_file_format=True)
    _damage(name, folder)
    return folder


def _named(found: list[Dataset] | Files, rng: np.random.Generator) -> Files:
    """File names that follow neither place nor number."""
    if isinstance(found, dict):
        return found
    return {f"{k:03d}.dcm": ds for k, ds in zip(rng.permutation(len(found)), found, strict=True)}


def _beside(found: list[Dataset], extra: str, ds: Dataset, rng: np.random.Generator) -> Files:
    return {**_named(found, rng), extra: ds}


def _renumber(ds: Dataset) -> Dataset:
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return ds


def _shuffled(found: list[Dataset], rng: np.random.Generator) -> list[Dataset]:
    for ds, number in zip(found, rng.permutation(len(found)), strict=True):
        ds.InstanceNumber = int(number) + 1
    return found


def _unnumbered(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    for ds in found:
        del ds.InstanceNumber
    return found


def _no_positions(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    for ds in found:
        del ds.ImagePositionPatient
    return found


def _missing(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    return found[:11] + found[12:]


def _twice(found: list[Dataset], rng: np.random.Generator) -> Files:
    return _beside(found, "copy.dcm", copy.deepcopy(found[9]), rng)


def _twice_different(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    other = _renumber(copy.deepcopy(found[9]))
    pixels(other, np.roll(other.pixel_array, 3, axis=0))
    return [*found, other]


def _slopes(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    for k, ds in enumerate(found):
        ds.RescaleSlope = f"{1 + k / 7:.6f}"  # the first is 1, by which some readers choose the type of all
    return found


def _monochrome1(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    for ds in found:
        ds.PhotometricInterpretation = "MONOCHROME1"
    return found


def _localizer(found: list[Dataset], rng: np.random.Generator) -> Files:
    ds = _renumber(copy.deepcopy(found[0]))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    ds.InstanceNumber = 0
    return _beside(found, "localizer.dcm", ds, rng)


def _two_series(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    others, uid = [_renumber(copy.deepcopy(ds)) for ds in found], generate_uid()
    for ds in others:
        ds.SeriesInstanceUID, ds.SeriesNumber = uid, 99
        pixels(ds, np.roll(ds.pixel_array, 5, axis=1))
    return found + others


def _jitter(found: list[Dataset], rng: np.random.Generator) -> list[Dataset]:
    for ds in found:
        place = np.array([float(v) for v in ds.ImagePositionPatient])
        ds.ImagePositionPatient = numbers(place + rng.uniform(-0.003, 0.003, 3))
    return found


def _smaller(ds: Dataset) -> None:
    part = ds.pixel_array[:-10, :-14]
    ds.Rows, ds.Columns = part.shape
    pixels(ds, part)


def _two_sizes(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    for ds in found[COUNT // 2 :]:
        _smaller(ds)
    return found


def _odd_size(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    _smaller(found[11])
    return found


def _flipped(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    turn = [float(v) for v in found[11].ImageOrientationPatient]
    found[11].ImageOrientationPatient = numbers([-v for v in turn[:3]] + turn[3:])
    return found


def _same(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
    return found


def _reborn(ds: Dataset) -> Dataset:
    """Without a memory of the encoding that it was read in."""
    plain = Dataset()
    plain.update({e.tag: e for e in ds})
    plain.file_meta = ds.file_meta
    return plain


def _encoded(uid: UID) -> Callable[[list[Dataset], np.random.Generator], list[Dataset]]:
    def change(found: list[Dataset], _: np.random.Generator) -> list[Dataset]:
        for ds in (found := [_reborn(ds) for ds in found]):
            if uid.is_compressed and uid != DeflatedExplicitVRLittleEndian:
                ds.compress(uid, generate_instance_uid=False)
            elif uid == ExplicitVRBigEndian:
                ds.PixelData = ds.pixel_array.astype(">u2").tobytes()
            ds.file_meta.TransferSyntaxUID = uid
        return found

    return change


_MUTATIONS: dict[str, Callable[[list[Dataset], np.random.Generator], list[Dataset] | Files]] = {
    "shuffled": _shuffled, "unnumbered": _unnumbered, "missing": _missing, "twice": _twice,
    "twice-different": _twice_different, "slopes": _slopes, "monochrome1": _monochrome1, "localizer": _localizer,
    "two-series": _two_series, "jitter": _jitter, "two-sizes": _two_sizes, "cut-off": _same, "flipped": _flipped,
    "odd-size": _odd_size, "bad-header": _same, "no-positions": _no_positions, "rle": _encoded(RLELossless),
    "jpeg2000": _encoded(JPEG2000Lossless), "jpegls": _encoded(JPEGLSLossless),
    "big-endian": _encoded(ExplicitVRBigEndian), "implicit": _encoded(ImplicitVRLittleEndian),
    "deflated": _encoded(DeflatedExplicitVRLittleEndian),
}  # fmt: skip


def _damage(name: str, folder: Path) -> None:
    """What no writer of DICOM would write."""
    file = folder / ("027.dcm" if name == "last-damaged" else "011.dcm")
    if name == "cut-off":
        file.write_bytes(file.read_bytes()[:-1001])
    elif name in ("bad-header", "last-damaged"):
        data = bytearray(file.read_bytes())
        data[400:900] = b"\xff" * 500
        file.write_bytes(data)


_OF_A_DISC = {"PatientID": "1", "StudyID": "1", "StudyDate": "20200101", "StudyTime": "120000", "SeriesNumber": "1"}


def _ways_in(name: str, found: list[Dataset], out: Path) -> Path:
    """The unchanged series in a zip file, or on a disc."""
    plain = make("implicit", found, out / "plain")
    if name == "zipped":
        with zipfile.ZipFile(out / "zipped.zip", "w") as archive:
            for file in sorted(plain.iterdir()):
                archive.write(file, f"disc/series/{file.name}")
        shutil.rmtree(out / "plain")
        return out / "zipped.zip"
    disc = FileSet()
    for file in sorted(plain.iterdir()):
        ds = dcmread(file)
        for keyword, value in _OF_A_DISC.items():
            setattr(ds, keyword, ds.get(keyword) or value)
        disc.add(ds)
    disc.write(out / name)
    shutil.rmtree(out / "plain")
    return out / name
