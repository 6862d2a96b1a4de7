"""Datasets of real patients in their layouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isocenter.data import Dataset, Splits, check_case, kfold, make_splits
from isocenter.errors import LabelError, SplitError
from isocenter.records import ClassLabel, LabelMap, LabelSchema

pytestmark = pytest.mark.real
Find = Callable[[str], Path]
GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")


def group_of(dataset: Dataset, case: str) -> str:
    label = dataset[case].find(ClassLabel, name="group")
    assert label is not None
    return label.values[0]


def test_acdc_as_table(real_data: Find) -> None:
    dataset = Dataset.read(real_data("acdc"))
    assert (dataset.layout, len(dataset), len(dataset.patients), dataset.problems) == ("table", 60, 30, ())
    assert dataset.modalities == {"cine_mr": "MR"}
    assert dataset.schema is not None
    assert dataset.schema.names == ("right_ventricle", "myocardium", "left_ventricle")
    assert dataset.schema.mirror_order == (0, 1, 2)  # the chambers of a heart are no mirror pair
    assert Counter(group_of(dataset, i) for i in dataset.ids) == dict.fromkeys(GROUPS, 12)
    assert {case.attributes["phase"] for case in dataset} == {"ED", "ES"}
    check_case(dataset["patient001_ED"])


def test_acdc_as_nnunet_agrees_with_its_table(real_data: Find) -> None:
    table = Dataset.read(real_data("acdc"))
    nnunet = Dataset.read(real_data("acdc"), layout="nnunet")
    assert nnunet.ids == table.ids
    assert nnunet.patients == table.patients
    assert nnunet.schema == table.schema
    assert nnunet.images == ("cinemri",)
    one, other = (d["patient063_ES"].find(LabelMap) for d in (table, nnunet))
    assert one is not None
    assert other is not None
    assert np.array_equal(one.read().array, other.read().array)


def test_acdc_scribbles_need_their_own_schema(real_data: Find) -> None:
    dataset = Dataset.read(real_data("acdc"))
    assert dataset.schema is not None
    with pytest.raises(LabelError, match="case patient001_ED: label value 4 is not declared"):
        check_case(dataset["patient001_ED"], name="scribble")
    labels = {s.name: s.values[0] for s in dataset.schema.structures}
    scribbles = dataset.with_schema(LabelSchema.of({**labels, "ignore": 4}), name="scribble")
    check_case(scribbles["patient001_ED"], name="scribble")


def test_the_acdc_protocol_as_a_file(real_data: Find, tmp_path: Path) -> None:
    """The last two patients of each diagnosis group are the test set; naming them is enough."""
    dataset = Dataset.read(real_data("acdc"))
    patients = {group: sorted({c.patient for c in dataset if group_of(dataset, c.id) == group}) for group in GROUPS}
    held = [patient for group in GROUPS for patient in patients[group][-2:]]
    Splits({"test": held}).write(tmp_path / "protocol.json")
    dataset = Dataset.read(real_data("acdc"), splits=tmp_path / "protocol.json")
    test, train = dataset.split("test"), dataset.split("train")
    assert (len(test), len(train)) == (20, 40)
    assert set(test.patients) == set(held)
    assert Counter(group_of(dataset, i) for i in test.ids) == dict.fromkeys(GROUPS, 4)
    for fold in kfold(dataset, 4, seed=1):
        assert fold["test"] == test.ids
        assert Counter(group_of(dataset, i) for i in fold["val"]) == dict.fromkeys(GROUPS, 2)
    whole = make_splits(dataset, val=0.2, seed=1)
    assert {name: len(ids) for name, ids in whole.items()} == {"train": 32, "val": 8, "test": 20}


def test_phases_of_a_heart_cannot_be_parted(real_data: Find) -> None:
    splits = Splits({"train": ["patient001_ED"], "val": ["patient001_ES"]})
    with pytest.raises(SplitError, match="patient patient001 is in two splits"):
        Dataset.read(real_data("acdc"), splits=splits)


def test_sarcoma_table(real_data: Find) -> None:
    dataset = Dataset.read(real_data("sarcoma_pet_ct_mr"))
    assert (len(dataset), dataset.problems) == (13, ())
    assert dataset.images == ("ct", "pet", "mr_t1")
    assert dataset.modalities == {"ct": "CT", "pet": "PT", "mr_t1": "MR"}
    assert dataset.schema is not None
    assert [(s.name, s.values) for s in dataset.schema.structures] == [("structure_1", (1,))]
    case = dataset["STS_008"]
    for image in dataset.images:
        label = case.find(LabelMap, image=image)
        assert label is not None
        assert label.image == image
        assert label.read().grid.is_close(case.image(image).grid())
    assert case.image("ct").read().unit == "HU"
    check_case(case)


def test_sarcoma_dicom_study(real_data: Find) -> None:
    dataset = Dataset.read(real_data("sarcoma_pet_ct_mr") / "dicom")
    assert dataset.ids == ("STS_008",)
    assert dataset.images == ("ct", "mr", "pet")
    assert all(p.kept and "RTSTRUCT" in p.text for p in dataset.problems)
    assert dataset["STS_008"].attributes["manufacturer"]
