"""What headers state about every image in some files: read with pydicom alone, and not with what is measured.

Of a single-frame image its own elements count; of a multi-frame image its functional groups (PS3.3 C.7.6.16); of a
Siemens mosaic the tiles, in rows, along the normal that the private CSA header states, from the position that belongs
to an image of the mosaic's size about the same centre.
"""

from __future__ import annotations

import os
import struct
import tempfile
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

__all__ = ["Frame", "frames_of"]

Floats = NDArray[np.float64]
_TELLING = ("EchoTime", "DiffusionBValue", "DiffusionGradientOrientation", "TemporalPositionIdentifier")


@dataclass(frozen=True)
class Frame:
    """One image, and what is stated about it.

    Attributes:
        name: File, and number of the frame or tile.
        position: Centre of its first pixel, mm; ``None`` where none is stated.
        across: Direction of increasing column index.
        down: Direction of increasing row index.
        spacing: Between rows, between columns, mm.
        stored: Pixels as stored, ``(rows, columns)``.
        slope: Of the rescaling.
        intercept: Of the rescaling.
        kind: What it has in common with the other images of its volume.
        order: In which images at one place follow each other.
    """

    name: str
    position: Floats | None
    across: Floats
    down: Floats
    spacing: tuple[float, float]
    stored: NDArray[Any]
    slope: float
    intercept: float
    kind: tuple[str, ...]
    order: tuple[float, ...]

    def normal(self) -> Floats:
        """Unit vector."""
        found = np.cross(self.across, self.down)
        unit: Floats = found / np.linalg.norm(found)
        return unit

    def place(self, row: NDArray[Any], column: NDArray[Any]) -> Floats:
        """Stated places of pixels, mm."""
        if self.position is None:
            raise ValueError(f"{self.name} states no position")
        down, across = self.down * self.spacing[0], self.across * self.spacing[1]
        found: Floats = self.position + row[..., None] * down + column[..., None] * across
        return found

    def value(self, row: NDArray[Any], column: NDArray[Any]) -> Floats:
        """Rescaled values of pixels."""
        found: Floats = self.stored[row, column].astype(np.float64) * self.slope + self.intercept
        return found


def frames_of(path: Path, aside: tuple[str, ...] = ()) -> list[Frame]:
    """Every image in a file, folder or zip, but for files named in ``aside`` and those that pydicom cannot read."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
            path = Path(folder)
        files = [path] if path.is_file() else [Path(f, n) for f, _, names in os.walk(path) for n in sorted(names)]
        found = [frame for file in files if file.name not in aside for frame in _of_file(file)]
    return _told_apart(found)


def _of_file(file: Path) -> Iterator[Frame]:
    try:
        ds = dcmread(file)
        stored = _looked_up(ds, _stored_bits(ds, ds.pixel_array))
    except (InvalidDicomError, AttributeError, ValueError, TypeError, KeyError, RuntimeError, struct.error):
        return
    if "PerFrameFunctionalGroupsSequence" in ds:
        yield from _functional(ds, stored.reshape(-1, ds.Rows, ds.Columns), file.name)
    elif "MOSAIC" in ds.get("ImageType", []):
        yield from _mosaic(ds, stored, file.name)
    elif stored.ndim == 2:
        yield _single(ds, stored, file.name)


def _stored_bits(ds: Dataset, array: NDArray[Any]) -> NDArray[Any]:
    """The BitsStored lowest bits as a number, signed where PixelRepresentation says so: others mean nothing."""
    if array.dtype.kind not in "iu" or ds.BitsStored >= ds.BitsAllocated:
        return array
    wide: NDArray[np.int64] = array.astype(np.int64) & ((1 << int(ds.BitsStored)) - 1)
    if ds.PixelRepresentation:
        wide -= (wide >> (int(ds.BitsStored) - 1)) << int(ds.BitsStored)
    return wide


def _looked_up(ds: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    """Values by the Modality LUT where there is one, in which case there is no slope (PS3.3 C.11.1)."""
    if "ModalityLUTSequence" not in ds:
        return stored
    table = ds.ModalityLUTSequence[0]
    count, first, bits = (int(v) for v in table.LUTDescriptor)
    data = table.LUTData if isinstance(table.LUTData, bytes) else np.array(table.LUTData, f"<u{bits // 8}").tobytes()
    entries = np.frombuffer(data, f"<u{bits // 8}")
    found: NDArray[Any] = entries[np.clip(stored.astype(np.int64) - first, 0, count - 1)]
    return found


def _vector(value: Any) -> Floats:
    return np.array([float(v) for v in value])


def _single(ds: Dataset, stored: NDArray[Any], name: str) -> Frame:
    placed = bool(ds.get("ImagePositionPatient"))
    turn = _vector(ds.ImageOrientationPatient) if placed else np.array([1.0, 0, 0, 0, 1, 0])
    kind = (
        str(ds.get("SeriesInstanceUID", "")),
        str(stored.shape),
        str(np.round(turn, 2) + 0.0),
        str([round(float(v), 4) for v in ds.get("PixelSpacing") or ()]),
        "\\".join(ds.get("ImageType", [])[:3]),
        *(str(ds.get(k, "")) for k in _TELLING),
    )
    return Frame(
        name,
        _vector(ds.ImagePositionPatient) if placed else None,
        turn[:3],
        turn[3:],
        (float(ds.PixelSpacing[0]), float(ds.PixelSpacing[1])) if ds.get("PixelSpacing") else (1.0, 1.0),
        stored,
        float(ds.RescaleSlope) if "RescaleSlope" in ds else 1.0,
        float(ds.RescaleIntercept) if "RescaleIntercept" in ds else 0.0,
        kind,
        (float(ds.get("AcquisitionNumber") or 0), float(ds.get("InstanceNumber") or 0)),
    )


def _functional(ds: Dataset, stored: NDArray[Any], name: str) -> Iterator[Frame]:
    shared = ds.SharedFunctionalGroupsSequence[0]
    for k, each in enumerate(ds.PerFrameFunctionalGroupsSequence):

        def group(sequence: str, each: Dataset = each) -> Dataset:
            for holder in (each, shared):
                if holder.get(sequence):
                    found: Dataset = holder[sequence][0]
                    return found
            return Dataset()

        turn = _vector(group("PlaneOrientationSequence").ImageOrientationPatient)
        spacing = group("PixelMeasuresSequence").PixelSpacing
        scale, content = group("PixelValueTransformationSequence"), group("FrameContentSequence")
        frame_type = group("MRImageFrameTypeSequence").get("FrameType", [])
        kind = (
            str(ds.SeriesInstanceUID),
            str(stored.shape[1:]),
            str(np.round(turn, 2) + 0.0),
            "\\".join(frame_type[3:]),
            str(group("MREchoSequence").get("EffectiveEchoTime", "")),
            str(group("MRDiffusionSequence").get("DiffusionBValue", "")),
            str(content.get("TemporalPositionIndex", "")),
        )
        yield Frame(
            f"{name} frame {k + 1}",
            _vector(group("PlanePositionSequence").ImagePositionPatient),
            turn[:3],
            turn[3:],
            (float(spacing[0]), float(spacing[1])),
            stored[k],
            float(scale.get("RescaleSlope", 1)),
            float(scale.get("RescaleIntercept", 0)),
            kind,
            (float(ds.get("InstanceNumber") or 0), float(k)),
        )


def _mosaic(ds: Dataset, stored: NDArray[Any], name: str) -> Iterator[Frame]:
    whole = _single(ds, stored, name)
    if whole.position is None or "SpacingBetweenSlices" not in ds:
        return
    csa = _csa(ds.private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value)
    count, normal = int(float(csa["NumberOfImagesInMosaic"][0])), _vector(csa["SliceNormalVector"])
    side = next(n for n in range(1, 65) if n * n >= count)
    rows, columns = stored.shape[0] // side, stored.shape[1] // side
    edge = np.array([(stored.shape[0] - rows) / 2, (stored.shape[1] - columns) / 2])
    first = whole.place(edge[0], edge[1])
    for k in range(count):
        row, column = divmod(k, side)
        yield replace(
            whole,
            name=f"{name} tile {k + 1}",
            position=first + k * float(ds.SpacingBetweenSlices) * normal,
            stored=stored[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns],
        )


def _csa(data: bytes) -> dict[str, list[str]]:
    """Entries of a Siemens CSA2 header (nipy.org/nibabel/dicom/siemens_csa.html)."""
    if data[:4] != b"SV10":
        raise ValueError("not a CSA2 header")
    found, at = {}, 16
    for _ in range(struct.unpack_from("<I", data, 8)[0]):
        name = data[at : at + 64].split(b"\0")[0].decode("latin-1")
        items = struct.unpack_from("<I", data, at + 76)[0]
        at += 84
        values = []
        for _ in range(items):
            length = struct.unpack_from("<4I", data, at)[1]
            values.append(data[at + 16 : at + 16 + length].split(b"\0")[0].decode("latin-1").strip())
            at += 16 + -(-length // 4) * 4
        found[name] = [v for v in values if v]
    return found


def _told_apart(frames: list[Frame]) -> list[Frame]:
    """The n-th image of one kind at one place belongs to the n-th volume of that kind."""
    at_place: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        place = None if frame.position is None else tuple(np.round(frame.position, 3) + 0.0)
        at_place[frame.kind, place].append(frame)
    found = []
    for same in at_place.values():
        for n, frame in enumerate(sorted(same, key=lambda f: f.order)):
            found.append(replace(frame, kind=(*frame.kind, f"volume {n + 1}")))
    return found
