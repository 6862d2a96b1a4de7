"""Splits share no patient, are the same every time, and stay where they are when patients come."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocenter.data import UNLABELLED, CaseDataset, Splits, kfold, make_splits, read_folds, write_folds
from isocenter.data.problems import CaseProblem
from isocenter.errors import DatasetError, SplitError
from isocenter.records import Case, ClassLabel


def dataset_of(patients: list[str], groups: dict[str, str] | None = None) -> CaseDataset:
    """One case for each entry of ``patients``; ``groups`` gives each patient's class."""
    cases = []
    for i, patient in enumerate(patients):
        label = ClassLabel(name="group", classes=("x", "y"), values=(groups[patient],)) if groups else None
        cases.append(Case(f"case{i}", patient, {}, (label,) if label else (), {"site": f"s{i % 2}"}))
    return CaseDataset("demo", tuple(cases))


some_patients = st.lists(st.integers(0, 25).map(lambda i: f"p{i}"), min_size=4, max_size=60).filter(
    lambda who: len(set(who)) >= 3
)


@given(some_patients, st.integers(0, 99), st.floats(0.05, 0.45), st.floats(0.05, 0.45))
def test_parts_share_no_patient_and_make_the_whole(who: list[str], seed: int, val: float, test: float) -> None:
    dataset = dataset_of(who)
    splits = make_splits(dataset, val=val, test=test, seed=seed)
    assert set(splits) == {"train", "val", "test"}
    assert sorted(i for ids in splits.values() for i in ids) == sorted(dataset.ids)
    patients = {name: {dataset[i].patient for i in ids} for name, ids in splits.items()}
    assert not patients["train"] & patients["val"]
    assert not patients["train"] & patients["test"]
    assert not patients["val"] & patients["test"]
    count = len(set(who))
    assert abs(len(patients["test"]) - test * count) <= 1
    assert dict(splits) == dict(make_splits(dataset, val=val, test=test, seed=seed))


@given(some_patients, st.integers(0, 99))
def test_the_order_of_cases_does_not_matter(who: list[str], seed: int) -> None:
    first = dataset_of(who)
    other = first.subset(sorted(first.ids, reverse=True))
    assert set(make_splits(first, seed=seed)["val"]) == set(make_splits(other, seed=seed)["val"])


@given(st.sets(st.integers(0, 1000), min_size=12, max_size=40), st.integers(1001, 2000))
def test_an_added_patient_moves_at_most_one_other_across_a_border(numbers: set[int], new: int) -> None:
    before = dataset_of([f"p{i}" for i in sorted(numbers)])
    after = dataset_of([f"p{i}" for i in sorted({*numbers, new})])
    parts = [
        {d[i].patient: name for name, ids in make_splits(d, val=0.25, seed=3).items() for i in ids}
        for d in (before, after)
    ]
    assert sum(parts[0][p] != parts[1][p] for p in parts[0]) <= 1


@given(some_patients, st.integers(2, 3), st.integers(0, 99))
def test_every_patient_is_in_one_validation_fold(who: list[str], k: int, seed: int) -> None:
    dataset = dataset_of(who)
    folds = kfold(dataset, k, seed=seed)
    assert sorted(i for fold in folds for i in fold["val"]) == sorted(dataset.ids)
    sizes = [len({dataset[i].patient for i in fold["val"]}) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in folds:
        assert not {dataset[i].patient for i in fold["val"]} & {dataset[i].patient for i in fold["train"]}
        assert len(fold["train"]) + len(fold["val"]) == len(dataset)


def test_seeds_draw_differently() -> None:
    dataset = dataset_of([f"p{i}" for i in range(30)])
    assert len({make_splits(dataset, seed=seed)["val"] for seed in range(10)}) == 10


@pytest.mark.parametrize(
    "by", ["auto", "group", "class.group", lambda case: case.find(ClassLabel, name="group").values[0]]
)
def test_strata_give_their_share(by: object) -> None:
    groups = {f"p{i}": "x" if i < 20 else "y" for i in range(30)}
    dataset = dataset_of(list(groups), groups)
    splits = make_splits(dataset, val=0.2, test=0.1, seed=1, stratify_by=by)  # type: ignore[arg-type]
    found = {name: Counter(groups[dataset[i].patient] for i in ids) for name, ids in splits.items()}
    assert found == {"train": {"x": 14, "y": 7}, "val": {"x": 4, "y": 2}, "test": {"x": 2, "y": 1}}
    for fold in kfold(dataset, 5, seed=1, stratify_by=by):  # type: ignore[arg-type]
        assert Counter(groups[dataset[i].patient] for i in fold["val"]) == {"x": 4, "y": 2}


def test_unknown_stratum_names_what_there_is() -> None:
    with pytest.raises(SplitError, match=r"'vendor'.*there is: site"):
        make_splits(dataset_of(["a", "b", "c"]), stratify_by="vendor")


def test_too_few_patients_are_named() -> None:
    with pytest.raises(SplitError, match=r"one case only \(case0\); at least 2 patients are needed"):
        make_splits(dataset_of(["a"]))
    with pytest.raises(SplitError, match="3 cases of 1 patient; at least 2 patients"):
        make_splits(dataset_of(["a", "a", "a"]))
    with pytest.raises(SplitError, match="at least 3 patients are needed, one for each of train, test, val"):
        make_splits(dataset_of(["a", "b"]), val=0.2, test=0.2)
    with pytest.raises(SplitError, match="at least 5 patients"):
        kfold(dataset_of(["a", "b", "c"]), 5)
    with pytest.raises(SplitError, match="at least 2 are needed"):
        kfold(dataset_of(["a", "b", "c"]), 1)
    with pytest.raises(SplitError, match="together below 1"):
        make_splits(dataset_of(["a", "b", "c"]), val=0.6, test=0.5)


def test_what_is_fixed_stays_and_the_rest_is_completed() -> None:
    dataset = dataset_of([f"p{i}" for i in range(10)])
    fixed = dataset.with_splits(Splits({"test": ["case1", "case2"], UNLABELLED: ["case9"]}))
    splits = make_splits(fixed, val=0.3, test=0.5, seed=4)
    assert splits["test"] == ("case1", "case2")
    assert splits[UNLABELLED] == ("case9",)
    assert len(splits["val"]) == 2
    assert len(splits["train"]) == 5
    assert dict(make_splits(fixed.with_splits(splits), seed=99)) == dict(splits)
    for fold in kfold(fixed, 3):
        assert fold["test"] == ("case1", "case2")
        assert not {"case1", "case2", "case9"} & {*fold["train"], *fold["val"]}


def test_one_patient_in_two_splits_is_refused_by_name() -> None:
    dataset = dataset_of(["anna", "bert", "anna", "carl"])
    with pytest.raises(SplitError, match="patient anna is in two splits, 'train' and 'test'"):
        dataset.with_splits(Splits({"train": ["case0", "case1"], "test": ["case2"]}))
    with pytest.raises(SplitError, match="case0 is in two splits, 'train' and 'val'"):
        Splits({"train": ["case0"], "val": ["case0"]})
    shared = dataset.with_splits(Splits({"train": ["case0"], UNLABELLED: ["case2"], "test": ["case1"]}))
    assert shared.split(UNLABELLED).ids == ("case2",)
    with pytest.raises(SplitError, match="patient anna is in two splits, 'test' and 'unlabelled'"):
        dataset.with_splits(Splits({"train": ["case3"], "test": ["case0"], UNLABELLED: ["case2"]}))


def test_patients_stand_for_their_cases_and_train_for_the_rest() -> None:
    dataset = dataset_of(["anna", "bert", "anna", "carl"]).with_splits(Splits({"test": ["anna"]}))
    assert dataset.split("test").ids == ("case0", "case2")
    assert dataset.split("train").ids == ("case1", "case3")
    assert dataset.split("test").patients == ("anna",)


def test_splits_that_cannot_be_are_refused() -> None:
    dataset = dataset_of(["a", "b"])
    with pytest.raises(SplitError, match="'train' is empty"):
        Splits({"train": [], "val": ["a"]})
    with pytest.raises(SplitError, match="'val' names case7, which is neither a case nor a patient"):
        dataset.with_splits(Splits({"val": ["case7"]}))
    with pytest.raises(SplitError, match="no usable case is left in split 'train'"):
        dataset.with_splits(Splits({"test": ["a", "b"]}))
    with pytest.raises(SplitError, match="no split 'val'"):
        dataset.split("val")


def test_cases_that_cannot_be_used_are_left_out_of_splits(caplog: pytest.LogCaptureFixture) -> None:
    cases = (Case("a", "a", {}), Case("b", "b", {}))
    dataset = CaseDataset("demo", cases, problems=(CaseProblem("c", "no label"),))
    resolved = dataset.with_splits(Splits({"train": ["a", "c"], "val": ["b"]}))
    assert resolved.split("train").ids == ("a",)
    assert "case c cannot be used" in caplog.text
    with pytest.raises(DatasetError, match=r"no case c .*no label"):
        dataset["c"]


def test_files_round_trip(tmp_path: Path) -> None:
    dataset = dataset_of([f"p{i}" for i in range(8)])
    splits = make_splits(dataset, test=0.2, seed=5)
    splits.write(tmp_path / "splits.json")
    assert Splits.read(tmp_path / "splits.json") == splits
    folds = kfold(dataset, 4, seed=5)
    write_folds(tmp_path / "folds.json", folds)
    assert read_folds(tmp_path / "folds.json") == folds
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folds.json", "splits.json"]
    with pytest.raises(SplitError, match="list of 4 folds"):
        Splits.read(tmp_path / "folds.json")
    with pytest.raises(SplitError, match="not a list of folds"):
        read_folds(tmp_path / "splits.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"train": "a"}', '{"train": [1]}', '{"train": []}', "3"])
def test_damaged_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "splits.json"
    path.write_text(text)
    with pytest.raises(SplitError, match=r"splits\.json"):
        Splits.read(path)
    with pytest.raises(SplitError, match="cannot be read"):
        Splits.read(tmp_path / "missing.json")


def test_written_file_is_plain_json(tmp_path: Path) -> None:
    Splits({"train": ["a"], "val": ["b"]}).write(tmp_path / "splits.json")
    assert json.loads((tmp_path / "splits.json").read_text()) == {"train": ["a"], "val": ["b"]}
