"""Small synthetic series, with the truth their own headers state."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from isocenter.volume import Volume

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
CANARY = "Canary"

Edit = Callable[[int, Dataset], Any]


@dataclass(frozen=True)
class Truth:
    """What the headers of the files written state."""

    folder: Path
    datasets: list[Dataset]

    @property
    def files(self) -> list[str]:
        return [d.filename for d in self.datasets]


def _slice(z: int, position: Sequence[float], orientation: Sequence[float], pixels: np.ndarray) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CT, generate_uid(), "CT"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = CT, ds.SOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = f"{CANARY}^Name", f"{CANARY}-ID", "19000101"
    ds.PatientSex, ds.StudyID, ds.AccessionNumber = "", "1", f"{CANARY}-Acc"
    ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "20200101", "120000", f"{CANARY}^Doctor"
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber, ds.Laterality = 3, z + 1, 1, ""
    ds.Manufacturer, ds.ManufacturerModelName, ds.ConvolutionKernel = "Maker", "Model", "B30f"
    ds.ImageType, ds.PatientPosition, ds.KVP, ds.PositionReferenceIndicator = (
        ["ORIGINAL", "PRIMARY", "AXIAL"],
        "HFS",
        "120",
        "",
    )
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [f"{v:.10g}" for v in position], list(orientation)
    ds.PixelSpacing, ds.SliceThickness = [0.7, 0.9], 2.5
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelData = pixels.astype("<u2").tobytes()
    return ds


@pytest.fixture
def make_series(tmp_path: Path) -> Callable[..., Truth]:
    """Writes ``count`` slices in a folder; ``edit(z, dataset)`` may change each before it is written."""
    return lambda *args, **kwargs: write_series(tmp_path / f"series{len(list(tmp_path.iterdir()))}", *args, **kwargs)


def write_series(
    folder: Path,
    edit: Edit | None = None,
    *,
    count: int = 6,
    shape: tuple[int, int] = (5, 7),
    across: Sequence[float] = (1, 0, 0),
    down: Sequence[float] = (0, 1, 0),
    step: Sequence[float] | float = 2.5,
    origin: Sequence[float] = (-100.25, -80.5, 20.125),
) -> Truth:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    across, down = np.asarray(across, float), np.asarray(down, float)
    move = np.cross(across, down) * step if isinstance(step, (int, float)) else np.asarray(step, float)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    datasets = []
    names = rng.permutation(count)  # file names follow neither position nor instance number
    for z in range(count):
        cosines = [f"{v:.10g}" for v in (*across, *down)]
        ds = _slice(z, np.asarray(origin) + z * move, cosines, rng.integers(0, 4096, shape))
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        if edit is not None:
            edit(z, ds)
        path = folder / f"{names[z]:03d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        datasets.append(dcmread(path))
    return Truth(folder, datasets)


@pytest.fixture
def assert_right() -> Callable[[Volume, Sequence[Dataset]], None]:
    """Every pixel of every dataset is in the volume, at the place and with the value that its header states."""
    return check_volume


def check_volume(volume: Volume, datasets: Sequence[Dataset], *, tolerance_mm: float = 0.01) -> None:
    assert volume.grid.shape == (len(datasets), datasets[0].Rows, datasets[0].Columns)
    rows, columns = np.meshgrid(np.arange(datasets[0].Rows), np.arange(datasets[0].Columns), indexing="ij")
    seen = set()
    for ds in datasets:
        turn = np.array(ds.ImageOrientationPatient, float)
        row_mm, column_mm = (float(v) for v in ds.PixelSpacing)
        world = (
            np.array(ds.ImagePositionPatient, float)
            + rows[..., None] * turn[3:] * row_mm
            + columns[..., None] * turn[:3] * column_mm
        )
        index = np.rint(volume.grid.to_index(world)).astype(int)
        assert np.abs(volume.grid.to_world(index) - world).max() <= tolerance_mm
        value = ds.pixel_array * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
        found = volume.array[0][tuple(np.moveaxis(index, -1, 0))]
        np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-6)
        seen.add(int(index[0, 0, 0]))
    assert len(seen) == len(datasets)


@pytest.fixture
def dciodvfy_errors() -> Callable[..., list[str]]:
    """Errors that dciodvfy (Debian's dicom3tools) finds in a segmentation, or another object by its name there."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        reason = "dciodvfy is not installed (apt-get install dicom3tools)"
        if os.environ.get("CI") and shutil.which("apt-get"):
            pytest.fail(reason)
        pytest.skip(reason)

    def errors(path: Path, kind: str = "Segmentation") -> list[str]:
        done = subprocess.run([tool, "-new", str(path)], capture_output=True, text=True, check=False)
        assert kind in done.stderr  # it ran, and knew what it saw
        return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]

    return errors
