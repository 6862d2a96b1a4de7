"""nnU-Net raw folders: channels, regions, ignore, test folders, patients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isocenter.data import UNLABELLED, Dataset
from isocenter.errors import DatasetError, SplitError
from isocenter.records import ClassLabel, LabelMap

Make = Callable[..., Path]


def test_channels_become_images_and_labels_a_schema(nnunet_folder: Make) -> None:
    dataset = Dataset.read(nnunet_folder())
    assert (dataset.name, dataset.layout) == ("Dataset001_Test", "nnunet")
    assert dataset.ids == ("a", "b", "c")
    assert dataset.patients == ("a", "b", "c")
    assert dataset.images == ("t1w", "flair")
    assert dataset.modalities == {"t1w": "MR", "flair": "MR"}
    assert dataset.splits is None
    assert dataset.schema is not None
    assert [(s.name, s.values) for s in dataset.schema.structures] == [("tumour_core", (1,)), ("edema", (2,))]
    label = dataset["b"].find(LabelMap)
    assert label is not None
    assert label.read().array.shape == (1, 8, 16, 16)
    assert dataset["b"].image("flair").read().unit == "a.u."


def test_ct_is_in_hounsfield_units(nnunet_folder: Make) -> None:
    dataset = Dataset.read(nnunet_folder(channel_names={"0": "CT", "1": "noNorm"}))
    assert dataset.images == ("ct", "nonorm")
    assert dataset.modalities == {"ct": "CT"}
    assert dataset["a"].image("ct").read().unit == "HU"


def test_regions_and_ignore(nnunet_folder: Make) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    dataset = Dataset.read(nnunet_folder(labels=labels, regions_class_order=[1, 2]))
    assert dataset.schema is not None
    assert (dataset.schema.exclusive, dataset.schema.ignore) == (False, 3)
    assert dataset.schema["whole"].values == (1, 2)
    with pytest.raises(DatasetError, match="regions_class_order is"):
        Dataset.read(nnunet_folder(labels=labels, regions_class_order=[1, 2, 3]))


def test_version_1_keys(nnunet_folder: Make) -> None:
    folder = nnunet_folder(
        channel_names=None, modality={"0": "T1", "1": "T1"}, labels={"0": "background", "1": "a", "2": "b"}
    )
    text = (folder / "dataset.json").read_text().replace('"channel_names": null, ', "")
    (folder / "dataset.json").write_text(text)
    dataset = Dataset.read(folder)
    assert dataset.images == ("t1", "t1_1")
    assert dataset.schema is not None
    assert dataset.schema.names == ("a", "b")


def test_test_folders_become_splits(nnunet_folder: Make, files: Any) -> None:
    folder = nnunet_folder()
    for case in ("x", "y"):
        files.image(folder / "imagesTs" / f"{case}_0000.nii.gz")
        files.image(folder / "imagesTs" / f"{case}_0001.nii.gz")
    unlabelled = Dataset.read(folder)
    assert unlabelled.ids == ("a", "b", "c", "x", "y")
    assert unlabelled.splits == {"train": ("a", "b", "c"), UNLABELLED: ("x", "y")}
    assert unlabelled.annotated(LabelMap).ids == ("a", "b", "c")
    files.json(folder / "splits.json", {"val": ["b"]})
    assert Dataset.read(folder).splits == {"train": ("a", "c"), "val": ("b",), UNLABELLED: ("x", "y")}
    (folder / "splits.json").unlink()
    files.label(folder / "labelsTs" / "x.nii.gz")
    files.label(folder / "labelsTs" / "y.nii.gz")
    assert Dataset.read(folder).splits == {"train": ("a", "b", "c"), "test": ("x", "y")}


def test_cases_csv_gives_patients_classes_and_attributes(nnunet_folder: Make, caplog: pytest.LogCaptureFixture) -> None:
    folder = nnunet_folder(("p1_early", "p1_late", "p2_early", "p3"))
    (folder / "cases.csv").write_text(
        "case,patient,class.grade,scanner\np1_early,p1,low,A\np1_late,p1,low,A\np2_early,p2,high,\n"
    )
    dataset = Dataset.read(folder)
    assert dataset.patients == ("p1", "p2")
    label = dataset["p2_early"].find(ClassLabel, name="grade")
    assert label is not None
    assert (label.classes, label.values) == (("high", "low"), ("high",))
    assert dataset["p1_late"].attributes == {"scanner": "A"}
    assert [(p.case, p.kept) for p in dataset.problems] == [("p3", False)]
    assert "patient is unknown" in caplog.text
    files = folder / "splits.json"
    files.write_text('{"train": ["p1_early"], "val": ["p1_late"]}')
    with pytest.raises(SplitError, match="patient p1 is in two splits"):
        Dataset.read(folder)


def test_missing_parts_are_named(nnunet_folder: Make, files: Any) -> None:
    folder = nnunet_folder(("a", "b", "c", "d"))
    (folder / "imagesTr" / "a_0001.nii.gz").unlink()
    (folder / "labelsTr" / "b.nii.gz").unlink()
    files.image(folder / "imagesTr" / "c_0007.nii.gz")
    files.image(folder / "imagesTr" / "stray.nii.gz")
    files.label(folder / "labelsTr" / "only_label.nii.gz")
    (folder / "imagesTr" / "._d_0000.nii.gz").write_bytes(b"left by a file manager")
    dataset = Dataset.read(folder)
    assert dataset.ids == ("a", "c", "d")
    assert list(dataset["a"].images) == ["t1w"]
    problems = {(p.case, p.kept): p.text for p in dataset.problems}
    assert "image 'flair' is missing" in problems["a", True]
    assert "no label" in problems["b", False]
    assert "channel 0007 is not declared" in problems["c", True]
    assert "is not named <case>_<channel" in problems["stray", False]
    assert "no image" in problems["only_label", False]
    assert len(dataset.problems) == 5


def test_files_listed_in_dataset_json(nnunet_folder: Make) -> None:
    listed = {
        "one": {"images": ["imagesTr/a_0000.nii.gz", "imagesTr/b_0001.nii.gz"], "label": "labelsTr/a.nii.gz"},
        "two": {"images": ["imagesTr/a_0000.nii.gz", "nowhere.nii.gz"], "label": "labelsTr/a.nii.gz"},
    }
    folder = nnunet_folder(dataset=listed)
    dataset = Dataset.read(folder)
    assert dataset.ids == ("one",)
    assert dataset["one"].image("flair").source == str(folder / "imagesTr" / "b_0001.nii.gz")
    assert [p.case for p in dataset.problems] == ["two"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_names": {"1": "CT"}}, "channel_names"),
        ({"channel_names": {}}, "channel_names"),
        ({"labels": {}}, "labels"),
        ({"labels": {"a": 1, "b": 1, "c d": 2, "c-d": 3, "c/d": 4}}, 'two "labels" have one name'),
        ({"labels": {"a": [1], "ignore": 1}}, "ignore value 1 is also the value of a structure"),
        ({"file_ending": ".png"}, r"file_ending '\.png' cannot be read"),
    ],
)
def test_wrong_dataset_json(nnunet_folder: Make, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Dataset.read(nnunet_folder(**change))


def test_table_goes_before_dataset_json(nnunet_folder: Make, files: Any) -> None:
    folder = nnunet_folder()
    row = {"case": "z", "patient": "p", "image.flair": "imagesTr/a_0001.nii.gz", "label": "labelsTr/a.nii.gz"}
    files.table(folder, [row])
    table = Dataset.read(folder)
    assert (table.layout, table.ids) == ("table", ("z",))
    assert table.schema is not None
    assert table.schema.names == ("tumour_core", "edema")  # dataset.json stands beside the table
    assert Dataset.read(folder, layout="nnunet").ids == ("a", "b", "c")


def test_geometry_of_labels_is_compared(nnunet_folder: Make, files: Any) -> None:
    folder = nnunet_folder()
    files.label(folder / "labelsTr" / "b.nii.gz", affine=np.diag([-1.0, -1.0, 2.0, 1.0]))
    dataset = Dataset.read(folder)
    assert dataset.ids == ("a", "c")
    assert "spacing (3.0, 1.0, 1.0) against (2.0, 1.0, 1.0) mm" in dataset.problems[0].text
