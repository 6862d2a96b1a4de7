"""The table layout: every column kind, and every way in which a table can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isocenter.data import Dataset, Splits, check_case, make_splits
from isocenter.errors import DatasetError, FileFormatError, LabelError, SplitError
from isocenter.records import Boxes, ClassLabel, LabelMap, LabelSchema


def rows_of(folder: Path) -> list[dict[str, str]]:
    lines = [line.split(",") for line in (folder / "table.csv").read_text().splitlines()]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]]


def test_cases_images_labels_classes_and_attributes(table_folder: Path) -> None:
    dataset = Dataset.read(table_folder)
    assert (dataset.name, dataset.layout, dataset.path) == ("study", "table", table_folder)
    assert dataset.ids == ("c0", "c1", "c2", "c3")
    assert dataset.patients == ("anna", "bert", "carl")
    assert dataset.images == ("ct", "pet")
    assert dataset.modalities == {"ct": "CT", "pet": "PT"}
    assert dataset.schema is not None
    assert [(s.name, s.values) for s in dataset.schema.structures] == [("structure_1", (1,)), ("structure_2", (2,))]
    case = dataset["c1"]
    assert list(case.images) == ["ct"]
    assert case.attributes == {"scanner": "S1"}
    ct = case.image("ct").read()
    assert (ct.unit, ct.grid.shape, ct.grid.spacing_mm) == ("HU", (8, 16, 16), (3.0, 1.0, 1.0))
    label = case.find(LabelMap)
    assert label is not None
    assert label.image == "ct"
    assert label.schema is dataset.schema
    assert np.bincount(label.read().array.ravel()).tolist() == [2048 - 16, 8, 8]
    grade = case.find(ClassLabel, name="grade")
    assert grade is not None
    assert (grade.classes, grade.values, grade.exclusive) == (("high", "low"), ("high",), True)
    assert list(dataset["c3"].images) == ["ct", "pet"]
    assert dataset["c3"].image("pet").grid().shape == (8, 8, 8)


def test_the_table_file_itself_and_other_names(table_folder: Path) -> None:
    other = table_folder / "cohort.csv"
    (table_folder / "table.csv").rename(other)
    assert Dataset.read(other).ids == ("c0", "c1", "c2", "c3")


def test_sidecar_declares_structures_and_sets(files: Any, table_folder: Path) -> None:
    rows = rows_of(table_folder)
    files.label(table_folder / "scribble.nii.gz", values=(1, 4))
    rows[0]["label.scribble"] = "scribble.nii.gz"
    files.table(table_folder, rows)
    liver = {"background": 0, "liver_left": 1, "liver_right": 2}
    files.json(table_folder / "labels.json", {"labels": liver, "sets": {"scribble": {**liver, "ignore": 4}}})
    dataset = Dataset.read(table_folder)
    assert dataset.schema is not None
    assert dataset.schema.names == ("liver_left", "liver_right")
    assert dataset.schema["liver_left"].mirror == "liver_right"
    assert dataset.schema.ignore is None
    scribble = dataset["c0"].find(LabelMap, name="scribble")
    assert scribble is not None
    assert scribble.schema.ignore == 4
    check_case(dataset["c0"], name="scribble")
    assert dataset.annotated(LabelMap, name="scribble").ids == ("c0",)


def test_a_set_without_declaration_takes_the_main_one_and_can_be_given_another(files: Any, table_folder: Path) -> None:
    rows = rows_of(table_folder)
    files.label(table_folder / "scribble.nii.gz", values=(1, 4))
    rows[0]["label.scribble"] = "scribble.nii.gz"
    files.table(table_folder, rows)
    files.json(table_folder / "dataset.json", {"labels": {"a": 1, "b": 2}})
    dataset = Dataset.read(table_folder)
    with pytest.raises(LabelError, match=r"case c0: label value 4 is not declared \(declared: 0, 1, 2\)"):
        check_case(dataset["c0"], name="scribble")
    ignoring = LabelSchema.of({"a": 1, "b": 2, "ignore": 4})
    check_case(dataset.with_schema(ignoring, name="scribble")["c0"], name="scribble")
    assert dataset.with_schema(ignoring, name="scribble").schema == dataset.schema


def test_labels_on_several_images(files: Any, table_folder: Path) -> None:
    rows = rows_of(table_folder)
    files.label(table_folder / "pet_seg.nii.gz", shape=(8, 8, 8), affine=np.diag([-2.0, -2.0, 3.0, 1.0]), values=(1,))
    rows[3]["label@pet"] = "pet_seg.nii.gz"
    files.table(table_folder, rows)
    case = Dataset.read(table_folder)["c3"]
    on_pet, on_ct = case.find(LabelMap, image="pet"), case.find(LabelMap, image="ct")
    assert on_pet is not None
    assert on_ct is not None
    assert (on_pet.read().grid.shape, on_ct.read().grid.shape) == ((8, 8, 8), (8, 16, 16))


def test_split_column_file_and_argument(files: Any, table_folder: Path) -> None:
    rows = rows_of(table_folder)
    for row, split in zip(rows, ("train", "test", "test", ""), strict=True):
        row["split"] = split
    files.table(table_folder, rows)
    dataset = Dataset.read(table_folder)
    assert dataset.splits == {"train": ("c0",), "test": ("c1", "c2")}
    assert "split" not in dataset["c0"].attributes
    files.json(table_folder / "splits.json", {"test": ["carl"]})
    assert Dataset.read(table_folder).splits == {"train": ("c0", "c1", "c2"), "test": ("c3",)}
    given = Dataset.read(table_folder, splits=Splits({"train": ["c0"], "val": ["bert"]}))
    assert given.split("val").ids == ("c1", "c2")
    files.json(table_folder / "other.json", {"val": ["c1"]})
    with pytest.raises(SplitError, match="patient bert is in two splits, 'train' and 'val'"):
        Dataset.read(table_folder, splits=table_folder / "other.json")


def test_classes_that_do_not_exclude_each_other(files: Any, table_folder: Path) -> None:
    rows = rows_of(table_folder)
    for row, value in zip(rows, ("a;b", "b", "", "c"), strict=True):
        row["class.findings"] = value
    files.table(table_folder, rows)
    dataset = Dataset.read(table_folder)
    label = dataset["c0"].find(ClassLabel, name="findings")
    assert label is not None
    assert (label.classes, label.values, label.exclusive) == (("a", "b", "c"), ("a", "b"), False)
    assert dataset["c2"].find(ClassLabel, name="findings") is None
    assert make_splits(dataset, stratify_by="findings", seed=1)["val"]


def box_file(path: Path, boxes: object) -> str:
    path.write_text(json.dumps(boxes))
    return path.name


def test_boxes(files: Any, table_folder: Path) -> None:
    rows = rows_of(table_folder)
    two = [
        {"class": "nodule", "corners": [0.5, 1.5, 1.5, 3.5, 5.5, 6.5]},
        {"class": "cyst", "corners": [-0.5, -0.5, -0.5, 7.5, 15.5, 15.5]},
    ]
    rows[0]["boxes"] = box_file(table_folder / "b0.json", {"boxes": two})
    rows[1]["boxes"] = box_file(table_folder / "b1.json", {"boxes": []})
    rows[2]["boxes"] = box_file(
        table_folder / "b2.json", {"boxes": [{"class": "cyst", "corners": [0, 0, 0, 1, 1, 99]}]}
    )
    rows[3]["boxes"] = box_file(table_folder / "b3.json", {"boxes": [{"class": "cyst", "corners": [1, 1, 1, 1, 2, 2]}]})
    files.table(table_folder, rows)
    dataset = Dataset.read(table_folder)
    found = dataset["c0"].find(Boxes)
    assert found is not None
    assert found.schema.names == ("cyst", "nodule")
    assert found.classes.tolist() == [1, 0]
    assert found.corners.tolist() == [row["corners"] for row in two]
    assert found.image == "ct"
    empty = dataset["c1"].find(Boxes)
    assert empty is not None
    assert empty.corners.shape == (0, 6)
    problems = {p.case: str(p) for p in dataset.problems}
    assert "out of image 'ct'" in problems["c2"]
    assert "box 0 has no extent" in problems["c3"]


@pytest.mark.parametrize(
    "content",
    [[], {"boxes": [{"class": "x"}]}, {"boxes": [{"class": "x", "corners": [0, 0, 0, 1, 1]}]}, {"boxes": [3]}],
)
def test_damaged_boxes_name_the_file(files: Any, table_folder: Path, content: object) -> None:
    rows = rows_of(table_folder)
    rows[0]["boxes"] = box_file(table_folder / "b0.json", content)
    files.table(table_folder, rows)
    dataset = Dataset.read(table_folder)
    assert [p.case for p in dataset.problems] == ["c0"]
    assert "b0.json" in dataset.problems[0].text


def test_unusable_cases_are_named_and_counted(files: Any, table_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (table_folder / "ct0.nii.gz").unlink()
    shifted = files.affine.copy()
    shifted[0, 3] = 5
    files.label(table_folder / "seg1.nii.gz", affine=shifted)
    files.label(table_folder / "seg2.nii.gz", shape=(16, 16, 9))
    dataset = Dataset.read(table_folder)
    assert dataset.ids == ("c3",)
    problems = {p.case: (p.kind, str(p)) for p in dataset.problems}
    assert "no file" in problems["c0"][1]
    assert "ct0.nii.gz" in problems["c0"][1]
    assert problems["c1"][0] == "GeometryError"
    assert "case c1: image 'ct' and label 'main'" in problems["c1"][1]
    assert "positions up to 5 mm apart" in problems["c1"][1]
    assert "shape (8, 16, 16) against (9, 16, 16)" in problems["c2"][1]
    assert "3 of 4 cases cannot be used" in caplog.text


def test_no_usable_case_names_the_causes(table_folder: Path) -> None:
    for path in table_folder.glob("ct*"):
        path.write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"no case can be used: case c0: .*ct0\.nii\.gz.*; case c1: "):
        Dataset.read(table_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.append(rows[0]), "case c0 has 2 rows"),
        (lambda rows: rows[0].update({"case": ""}), "has no 'case'"),
        (lambda rows: [row.pop("case") for row in rows], "a column 'case' and one 'image.<name>' are needed"),
        (lambda rows: rows[0].update({"label@mr": "seg0.nii.gz"}), "column 'label@mr' speaks of image 'mr'"),
    ],
)
def test_tables_that_contradict_themselves(files: Any, table_folder: Path, change: object, message: str) -> None:
    rows = rows_of(table_folder)
    change(rows)  # type: ignore[operator]
    files.table(table_folder, rows)
    with pytest.raises(DatasetError, match=message):
        Dataset.read(table_folder)


@pytest.mark.parametrize(
    "labels", ["{", "[]", '{"labels": {}}', '{"labels": {"a": "x"}}', '{"labels": {"a": 1, "b": 1.5}}']
)
def test_damaged_sidecar(table_folder: Path, labels: str) -> None:
    (table_folder / "labels.json").write_text(labels)
    with pytest.raises((DatasetError, FileFormatError), match=r"labels\.json"):
        Dataset.read(table_folder)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        Dataset.read(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="is empty"):
        Dataset.read(tmp_path)
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(DatasetError, match="no layout fits"):
        Dataset.read(tmp_path)


def test_progress_counts_every_case(table_folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    Dataset.read(table_folder, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_one_name_cannot_be_two_modalities(table_folder: Path) -> None:
    first = Dataset.read(table_folder)
    ref = first["c3"].image("pet")
    from dataclasses import replace

    from isocenter.data import CaseDataset

    odd = replace(first["c0"], images={"ct": replace(ref, name="ct")})
    with pytest.raises(DatasetError, match="image 'ct' is PT in one case and CT in case c1"):
        CaseDataset("demo", (odd, first["c1"]))
    with pytest.raises(DatasetError, match="case c1 is there twice"):
        CaseDataset("demo", (first["c1"], first["c1"]))


def test_images_of_one_slice(files: Any, tmp_path: Path) -> None:
    files.image(tmp_path / "a.nii.gz", shape=(16, 16, 1))
    files.table(tmp_path, [{"case": "a", "image.xray": "a.nii.gz"}])
    dataset = Dataset.read(tmp_path)
    assert dataset.schema is None
    assert dataset["a"].patient == "a"
    assert dataset["a"].image("xray").read().array.shape == (1, 1, 16, 16)
