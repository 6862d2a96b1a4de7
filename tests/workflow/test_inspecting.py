"""`inspect` says what is there and what is wrong, of datasets and of bare files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isocenter.errors import DatasetError, FileFormatError
from isocenter.io.files import write_json
from isocenter.io.nifti import write_nifti
from isocenter.volume import Grid, Volume
from isocenter.workflow.inspecting import inspect

GRID = Grid.regular((6, 10, 12), spacing_mm=(4, 1, 1))
WIDE = Grid.regular((8, 10, 12), spacing_mm=(2, 1, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three sound cases of two patients, and one whose label lies elsewhere."""
    lines = ["case,patient,image.ct,label,class.grade,vendor,model,age"]
    for i, grid in enumerate((GRID, GRID, WIDE, GRID)):
        image = np.random.default_rng(i).normal(0, 100, grid.shape).astype(np.float32)
        label = np.zeros(grid.shape, np.uint8)
        label[1:3, 2:4, : 2 + i] = 1
        write_nifti(tmp_path / f"ct{i}.nii.gz", Volume(image, grid))
        write_nifti(tmp_path / f"seg{i}.nii.gz", Volume(label, grid if i < 3 else WIDE.crop((0, 0, 0), GRID.shape)))
        lines.append(f"c{i},p{i // 2},ct{i}.nii.gz,seg{i}.nii.gz,{'low' if i else 'high'},Maker,M{i % 2},{40 + i}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    (tmp_path / "labels.json").write_text('{"labels": {"tumour": 1, "cyst": 2}}')
    return tmp_path


def test_a_dataset_from_headers(folder: Path) -> None:
    found = inspect(folder)
    assert (found.kind, [c.id for c in found.cases], found.patients) == ("table", ["c0", "c1", "c2"], 2)
    (ct,) = found.images
    assert (ct.name, ct.modality, ct.cases, ct.values) == ("ct", "CT", 3, None)
    assert [(s.low, s.median, s.high) for s in ct.spacing_mm] == [(2, 4, 4), (1, 1, 1), (1, 1, 1)]
    assert (ct.shape[0].low, ct.shape[0].high) == (6, 8)
    assert ct.orientations == {"SPL": 3}
    assert [(s.name, s.values, s.cases) for s in found.structures] == [("tumour", (1,), None), ("cyst", (2,), None)]
    assert found.annotations == {"LabelMap main": 3, "ClassLabel grade": 3}
    assert found.classes == {"grade": {"high": 1, "low": 2}}
    assert found.scanners == {"Maker M0": 2, "Maker M1": 1}
    assert found.attributes == {"age": {"40": 1, "41": 1, "42": 1}}
    assert (found.unusable, [p.case for p in found.problems], found.faults) == (1, ["c3"], ())
    assert "spacing" in found.problems[0].text


def test_a_dataset_from_voxels(folder: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    found = inspect(folder, deep=True, progress=lambda *step: steps.append(step))
    tumour, cyst = found.structures
    # 2 slices x 2 rows x (2, 3, 4) columns of 4, 4 and 2 mm3
    assert tumour.volume_ml is not None
    assert (tumour.cases, tumour.volume_ml.low, tumour.volume_ml.high) == (3, 0.032, 0.048)
    assert (cyst.cases, cyst.volume_ml) == (0, None)
    assert found.cases[1].volumes_ml == pytest.approx({"tumour": 0.048, "cyst": 0})
    values = found.images[0].values
    assert values is not None
    assert values[0] < -200 < 200 < values[1]
    assert steps[-1] == ("reading voxels", 3, 3)
    assert steps[3] == ("checking cases", 4, 4)


def test_what_only_voxels_show(folder: Path) -> None:
    image = np.ones(GRID.shape, np.float32)
    write_nifti(folder / "ct0.nii.gz", Volume(image, GRID))
    image[1, 2, 3] = np.nan
    write_nifti(folder / "ct1.nii.gz", Volume(image, GRID))
    write_nifti(folder / "seg2.nii.gz", Volume(np.full(WIDE.shape, 7, np.uint8), WIDE))
    assert len(inspect(folder).problems) == 1
    found = inspect(folder, deep=True)
    kinds = {p.case: p.kind for p in found.problems}
    assert kinds == {"c0": "ValueRangeError", "c1": "ValueRangeError", "c2": "LabelError", "c3": "GeometryError"}
    assert (found.cases, found.unusable) == ((), 4)
    assert "label value 7 is not declared" in next(p.text for p in found.problems if p.case == "c2")


def test_splits_and_what_is_wrong_with_them(folder: Path) -> None:
    write_json(folder / "splits.json", {"train": ["p0"], "test": ["c2"]})
    assert inspect(folder).splits == {"train": {"cases": 2, "patients": 1}, "test": {"cases": 1, "patients": 1}}
    write_json(folder / "splits.json", {"train": ["c0"], "test": ["c1"]})
    found = inspect(folder)
    assert found.splits == {}
    assert "patient p0 is in two splits" in found.faults[0]


def test_a_dataset_without_usable_cases_is_still_described(folder: Path) -> None:
    for path in folder.glob("ct*"):
        path.write_bytes(b"nothing")
    found = inspect(folder)
    assert (found.cases, found.unusable, len(found.problems)) == ((), 4, 4)


def test_bare_files(folder: Path) -> None:
    (folder / "table.csv").unlink()
    (folder / "ct3.nii.gz").write_bytes(b"\x1f\x8b broken")
    found = inspect(folder, deep=True)
    assert (found.kind, len(found.cases), found.structures) == ("files", 7, ())
    assert found.cases[0].images["image"].shape == GRID.shape
    assert [p.case for p in found.problems] == ["ct3.nii.gz"]
    one = inspect(folder / "ct2.nii.gz")
    assert [(c.id, c.images["image"].shape) for c in one.cases] == [("ct2.nii.gz", WIDE.shape)]


def test_it_is_plain_data(folder: Path) -> None:
    told = inspect(folder, deep=True).to_dict()
    again = json.loads(json.dumps(told))
    assert (again["kind"], again["usable"], again["unusable"]) == ("table", 3, 1)
    assert again["cases"][0]["images"]["ct"] == {"shape": [6, 10, 12], "spacing_mm": [4, 1, 1], "orientation": "SPL"}


def test_what_is_no_dataset_at_all(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        inspect(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="is empty"):
        inspect(tmp_path / "empty")
    (tmp_path / "empty" / "note.txt").touch()
    with pytest.raises(DatasetError, match="no layout fits"):
        inspect(tmp_path / "empty")
    (folder / "labels.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"labels\.json: not JSON"):
        inspect(folder)


@pytest.mark.real
def test_real_dicom_series_with_defects(real_data: Callable[[str], Path]) -> None:
    found = inspect(real_data("dcm_qa_ct"))
    assert (found.kind, found.cases) == ("dicom", ())
    assert found.unusable >= 1
    assert "slice spacing varies from 1.081 to 6.999 mm" in found.problems[0].text
    (series,) = found.series
    assert [(s.slices, s.rows, s.columns, [p.code for p in s.problems]) for s in series.stacks] == [
        (28, 512, 512, ["variable-spacing"])
    ]


@pytest.mark.real
def test_real_dataset(real_data: Callable[[str], Path]) -> None:
    found = inspect(real_data("acdc"), deep=True)
    assert (len(found.cases), found.patients, found.problems) == (60, 30, ())
    assert all(s.cases == 60 for s in found.structures)
    assert found.annotations == {"LabelMap main": 60, "LabelMap scribble": 60, "ClassLabel group": 60}
