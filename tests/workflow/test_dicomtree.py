"""`inspect` on DICOM: the tree of patients, studies, series and stacks, from any folder, file or archive."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from tests.io.conftest import CANARY, write_series
from tests.workflow.test_converting import times

from isocenter.data import Dataset as Cases
from isocenter.errors import DatasetError
from isocenter.io.dicom import scan_folder
from isocenter.workflow.dicomtree import dicom_tree, pseudonym
from isocenter.workflow.inspecting import inspect


def of_patient(name: str, study: str) -> Callable[[int, Dataset], None]:
    def edit(_: int, ds: Dataset) -> None:
        ds.PatientID, ds.StudyInstanceUID = name, study

    return edit


def test_patients_studies_and_series(tmp_path: Path) -> None:
    first, second, third = (generate_uid() for _ in range(3))
    for k, (name, study) in enumerate((("b", first), ("a", second), ("b", third), ("b", first))):
        write_series(tmp_path / str(k), of_patient(name, study))
    tree = dicom_tree(scan_folder(tmp_path))
    found = {(s.patient, s.study): 0 for s in tree.series}
    for s in tree.series:
        found[s.patient, s.study] += 1
    a, b = pseudonym("a"), pseudonym("b")
    assert {patient for patient, _ in found} == {a, b}
    assert found[a, "study1"] == 1
    assert {found[b, "study1"], found[b, "study2"]} == {1, 2}
    assert [s.patient for s in tree.series] == sorted([a, b, b, b])
    (stack,) = tree.series[0].stacks
    assert (stack.slices, stack.rows, stack.columns, stack.spacing_mm) == (6, 5, 7, (2.5, 0.7, 0.9))
    assert (stack.orientation, stack.unit, stack.label, stack.problems, stack.flags) == ("SPL", "HU", "", (), ())


def test_a_pseudonym_is_the_one_that_cases_have(tmp_path: Path) -> None:
    write_series(tmp_path / "one", of_patient("somebody", generate_uid()))
    assert Cases.read(tmp_path).patients == (pseudonym("somebody"),)


def test_stacks_of_one_series(tmp_path: Path) -> None:
    times(tmp_path, 3, lambda t, _, ds: setattr(ds, "EchoNumbers", t + 1))
    (series,) = dicom_tree(scan_folder(tmp_path)).series
    assert [s.label for s in series.stacks] == ["echo 1", "echo 2", "echo 3"]
    assert [s.keys for s in series.stacks] == [{"echo": "1"}, {"echo": "2"}, {"echo": "3"}]
    assert series.files == 18


def test_problems_flags_and_what_is_set_aside(tmp_path: Path) -> None:
    def edit(z: int, ds: Dataset) -> None:
        if z == 5:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    scout = write_series(tmp_path / "scout", edit)
    uneven = write_series(tmp_path / "uneven", lambda z, ds: setattr(ds, "ImagePositionPatient", [0, 0, z * z]))
    tilted = write_series(tmp_path / "tilted", step=(0, 0.8, 2.5))
    by_uid = {s.uid: s for s in dicom_tree(scan_folder(tmp_path)).series}
    aside = by_uid[scout.datasets[0].SeriesInstanceUID].aside
    assert [(Path(file).parent.name, "scout" in reason) for file, reason in aside.items()] == [("scout", True)]
    (stack,) = by_uid[uneven.datasets[0].SeriesInstanceUID].stacks
    assert [p.code for p in stack.problems] == ["variable-spacing"]
    assert stack.spacing_mm == (None, 0.7, 0.9)
    assert "slice spacing varies" in stack.problems[0].text
    (stack,) = by_uid[tilted.datasets[0].SeriesInstanceUID].stacks
    assert stack.problems == ()
    assert "tilt" in stack.flags[0]


def test_a_file_or_an_archive_is_no_dataset_and_shown_all_the_same(tmp_path: Path) -> None:
    truth = write_series(tmp_path / "in", lambda z, ds: setattr(ds, "ImagePositionPatient", [0, 0, z * z]))
    one = inspect(truth.files[0])
    assert (one.kind, one.cases, one.patients, len(one.series)) == ("dicom", (), 1, 1)
    with zipfile.ZipFile(tmp_path / "disc.zip", "w") as archive:
        for file in truth.files:
            archive.write(file, f"{CANARY}/{Path(file).name}")
        archive.writestr("broken.dcm", Path(truth.files[0]).read_bytes()[:200])
        archive.writestr("note.txt", "hello")
    disc = inspect(tmp_path / "disc.zip")
    assert (disc.kind, len(disc.series), disc.ignored, len(disc.damaged)) == ("dicom", 1, 1, 1)
    told = json.dumps(disc.to_dict())
    assert str(tmp_path / "disc.zip") in told
    assert "isocenter-" not in told.replace(str(tmp_path), "")
    assert CANARY not in told


def test_files_behind_many_others_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for k in range(250):  # more than a layout looks at
        (tmp_path / "a" / f"{k}.txt").touch()
    write_series(tmp_path / "z")
    found = inspect(tmp_path)
    assert (found.kind, len(found.series), found.ignored) == ("dicom", 1, 250)
    with pytest.raises(DatasetError, match="no layout fits"):
        inspect(tmp_path / "a")


def test_a_dicom_dataset_has_both_faces(tmp_path: Path) -> None:
    write_series(tmp_path / "one", of_patient("x", generate_uid()))
    found = inspect(tmp_path)
    assert (found.kind, len(found.cases), len(found.series)) == ("dicom", 1, 1)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["series"][0]["stacks"][0]["spacing_mm"] == [2.5, 0.7, 0.9]
    assert "Canary" not in json.dumps(told)
