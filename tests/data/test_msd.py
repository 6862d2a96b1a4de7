"""Medical Segmentation Decathlon folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isocenter.data import UNLABELLED, Dataset, make_splits
from isocenter.errors import DatasetError
from isocenter.records import LabelMap


@pytest.fixture
def msd_folder(tmp_path: Path, files: Any) -> Path:
    folder = tmp_path / "Task01_Test"
    for i, case in enumerate(("br_1", "br_2", "br_3")):
        files.image(folder / "imagesTr" / f"{case}.nii.gz", seed=i, channels=3)
        files.label(folder / "labelsTr" / f"{case}.nii.gz")
    files.image(folder / "imagesTs" / "br_9.nii.gz", channels=3)
    entries = [
        {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"}
        for case in ("br_1", "br_2", "br_3")
    ]
    facts = {
        "modality": {"0": "FLAIR", "1": "T1w", "2": "CT"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor"},
        "training": entries,
        "test": ["./imagesTs/br_9.nii.gz"],
    }
    files.json(folder / "dataset.json", facts)
    return folder


def test_channels_of_one_file_are_images(msd_folder: Path) -> None:
    dataset = Dataset.read(msd_folder)
    assert (dataset.layout, dataset.images) == ("msd", ("flair", "t1w", "ct"))
    assert dataset.modalities == {"flair": "MR", "t1w": "MR", "ct": "CT"}
    assert dataset.schema is not None
    assert dataset.schema.names == ("edema", "non-enhancing_tumor")
    case = dataset["br_2"]
    volumes = [case.image(name).read() for name in dataset.images]
    assert [v.array.shape for v in volumes] == [(1, 8, 16, 16)] * 3
    # each channel was written 1000 above the one before
    assert [round(float(v.array.mean()), -3) for v in volumes] == [0, 1000, 2000]
    assert [v.unit for v in volumes] == ["a.u.", "a.u.", "HU"]
    label = case.find(LabelMap)
    assert label is not None
    assert label.image == "flair"
    assert np.unique(label.read().array).tolist() == [0, 1, 2]


def test_test_list_is_unlabelled_and_stays_out_of_what_is_drawn(msd_folder: Path) -> None:
    dataset = Dataset.read(msd_folder)
    assert dataset.splits == {"train": ("br_1", "br_2", "br_3"), UNLABELLED: ("br_9",)}
    splits = make_splits(dataset, val=0.3, seed=1)
    assert splits[UNLABELLED] == ("br_9",)
    assert len(splits["val"]) == 1
    assert "br_9" not in splits["val"]


def test_files_that_do_not_fit_are_named(msd_folder: Path, files: Any) -> None:
    files.image(msd_folder / "imagesTr" / "br_1.nii.gz", channels=2)
    (msd_folder / "imagesTr" / "br_2.nii.gz").unlink()
    dataset = Dataset.read(msd_folder)
    assert dataset.ids == ("br_3", "br_9")
    problems = {p.case: p.text for p in dataset.problems}
    assert "2 channels, dataset.json declares 3 (flair, t1w, ct)" in problems["br_1"]
    assert "br_2.nii.gz" in problems["br_2"]


@pytest.mark.parametrize("entry", [3, "imagesTr/br_1.nii.gz", {"image": "imagesTr/br_1.nii.gz"}])
def test_wrong_entries(msd_folder: Path, files: Any, entry: object) -> None:
    facts = {"modality": {"0": "MRI"}, "labels": {"1": "a"}, "training": [entry]}
    files.json(msd_folder / "dataset.json", facts)
    with pytest.raises(DatasetError, match="expected"):
        Dataset.read(msd_folder)
