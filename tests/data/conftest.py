"""Small datasets on disk, one for each layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

SHAPE = (16, 16, 8)  # as NIfTI stores it: (i, j, k)
AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])  # RAS: spacing 1 x 1 x 3 mm


def write_image(path: Path, *, seed: int = 0, channels: int = 1, affine: Any = AFFINE, shape: Any = SHAPE) -> None:
    rng = np.random.default_rng(seed)
    size = shape if channels == 1 else (*shape, channels)
    values = rng.normal(100, 20, size).astype(np.float32)
    if channels > 1:
        values += 1000 * np.arange(channels, dtype=np.float32)
    save(path, values, affine)


def write_label(path: Path, *, values: Sequence[int] = (1, 2), affine: Any = AFFINE, shape: Any = SHAPE) -> None:
    """A cube of 2 x 2 x 2 voxels for each value, one after the other along the first axis."""
    array = np.zeros(shape, np.uint8)
    for i, value in enumerate(values):
        array[4 * i : 4 * i + 2, 2:4, 1:3] = value
    save(path, array, affine)


def save(path: Path, array: Any, affine: Any = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def write_table(folder: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    columns = list(dict.fromkeys(c for row in rows for c in row))
    lines = [",".join(columns), *(",".join(row.get(c, "") for c in columns) for row in rows)]
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_json(path: Path, obj: Any) -> None:
    path.write_text(json.dumps(obj), encoding="utf-8")


@pytest.fixture(scope="session")
def files() -> SimpleNamespace:
    """The writers above, for tests."""
    return SimpleNamespace(
        image=write_image,
        label=write_label,
        save=save,
        table=write_table,
        json=write_json,
        series=write_series,
        seg=write_segmentation,
        affine=AFFINE,
    )


@pytest.fixture
def table_folder(tmp_path: Path) -> Path:
    """Four cases of three patients, CT with a label, one of them also with a PET."""
    folder = tmp_path / "study"
    rows = []
    for i, patient in enumerate(("anna", "bert", "bert", "carl")):
        write_image(folder / f"ct{i}.nii.gz", seed=i)
        write_label(folder / f"seg{i}.nii.gz")
        row = {
            "case": f"c{i}",
            "patient": patient,
            "image.ct": f"ct{i}.nii.gz",
            "image.pet": "",
            "label": f"seg{i}.nii.gz",
        }
        row |= {"class.grade": "high" if patient == "bert" else "low", "scanner": f"S{i % 2}"}
        rows.append(row)
    write_image(folder / "pet3.nii.gz", seed=9, shape=(8, 8, 8), affine=np.diag([-2.0, -2.0, 3.0, 1.0]))
    rows[3]["image.pet"] = "pet3.nii.gz"
    return write_table(folder, rows)


@pytest.fixture
def nnunet_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes an nnU-Net folder of ``cases`` with two channels; keywords go into ``dataset.json``."""

    def make(cases: Sequence[str] = ("a", "b", "c"), **extra: Any) -> Path:
        folder = tmp_path / "Dataset001_Test"
        for i, case in enumerate(cases):
            for channel in range(2):
                write_image(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz", seed=2 * i + channel)
            write_label(folder / "labelsTr" / f"{case}.nii.gz")
        facts = {
            "channel_names": {"0": "T1w", "1": "FLAIR"},
            "labels": {"background": 0, "tumour core": 1, "edema": 2},
            "numTraining": len(cases),
            "file_ending": ".nii.gz",
        }
        write_json(folder / "dataset.json", facts | extra)
        return folder

    return make


def write_series(folder: Path, **tags: Any) -> list[Path]:
    """Six CT slices of 16 x 16 pixels with a rising ramp; keywords replace elements."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "PatientID": "P1"} | tags
    frame, paths = generate_uid(), []
    for k in range(6):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.Modality, ds.Manufacturer, ds.FrameOfReferenceUID = "CT", "Maker", frame
        ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "Canary^Bird", "", ""
        ds.StudyID, ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "", "", "", ""
        ds.SeriesNumber, ds.InstanceNumber, ds.ImageType = 1, k + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], 3, 16, 16
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.PixelData = (np.arange(256, dtype=np.uint16) + 100 * k).tobytes()
        for keyword, value in wanted.items():
            setattr(ds, keyword, value)
        paths.append(folder / f"slice{k}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_segmentation(path: Path, source: Sequence[Path], boxes: Mapping[str, tuple[slice, slice, slice]]) -> None:
    """A DICOM SEG with one block a structure."""
    from isocenter.io.dicom import write_seg
    from isocenter.records import LabelSchema
    from isocenter.volume import Grid, Volume

    masks = np.zeros((len(boxes), 6, 16, 16), np.uint8)
    for mask, box in zip(masks, boxes.values(), strict=True):
        mask[box] = 1
    grid = Grid.regular((6, 16, 16), spacing_mm=(3, 1, 1))
    schema = LabelSchema.of({name: k for k, name in enumerate(boxes, start=1)})
    volume = Volume(masks, grid, "label")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_seg(path, volume, schema, source, algorithm_name="", algorithm_version="", manual=True)
