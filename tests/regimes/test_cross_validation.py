"""Every patient is judged by a network that did not learn from them; what is cleaned is what those cases gain by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.synthetic import blob_cases, label_map, make_case, small_plan
from torch import nn

from isocenter.data import CaseDataset, Splits, kfold
from isocenter.errors import ConfigError, DatasetError, SplitError
from isocenter.inference import Engine
from isocenter.metrics import summarise
from isocenter.networks import build_network, network
from isocenter.pipeline import Model, Pipeline
from isocenter.plan import Plan, set_values
from isocenter.records import Case, LabelSchema
from isocenter.regimes import CrossValidation, FoldFit, choose_components, measure_cleanings
from isocenter.training import train
from isocenter.volume import Grid, Volume

SCHEMA = LabelSchema.of({"heart": 1, "vessels": 2})
GRID = Grid.regular((3, 12, 12), spacing_mm=(2, 1, 1))


class Reads(nn.Module):
    """The image tells the label, shifted by what this network has learned: logits that are largest there."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))
        self.calls = 0

    def forward(self, inputs, present):
        self.calls += 1
        image = inputs["ct"] + self.shift
        return {"segmentation": -torch.cat([(image - k) ** 2 for k in range(3)], 1)}


@network("test-reads")
def build_reads(spec, inputs, heads) -> Reads:
    return Reads()


PLAN = small_plan(
    {"structures": [{"name": n, "values": list(SCHEMA[n].values)} for n in SCHEMA.names]},
    {"name": "test-reads"},
    {"patch": [64, 64, 64]},
)


def heart_case(number: int, *, strays: int, patient: str | None = None) -> Case:
    """A heart, and vessels in two equal parts; the image shows further voxels that look like heart."""
    truth = np.zeros(GRID.shape, np.uint8)
    truth[:, 2:6, 2:6], truth[:, 8:10, 1:4], truth[:, 8:10, 7:10] = 1, 2, 2
    image = truth.astype(np.float32)
    for k in range(strays):
        image[k % 3, 0, 2 * (k // 3) + 1] = 1.0
    image += np.random.default_rng(number).uniform(-0.01, 0.01, GRID.shape).astype(np.float32)
    case = make_case(f"c{number:02}", Volume(image, GRID), label_map(truth, GRID, SCHEMA))
    return case if patient is None else Case(case.id, patient, case.images, case.annotations)


@dataclass
class Fits:
    """Notes what it was asked for; the network of fold k shifts by ``shifts[k]``."""

    plan: Plan = PLAN
    shifts: Sequence[float] = (0.0,) * 10
    asked: list[CaseDataset] = field(default_factory=list)
    networks: list[Reads] = field(default_factory=list)
    plans: dict[int, Plan] = field(default_factory=dict)
    lose: frozenset[str] = frozenset()

    def __call__(self, dataset: CaseDataset, number: int) -> FoldFit:
        assert number == len(self.asked)
        self.asked.append(dataset)
        reads = Reads()
        reads.shift.data.fill_(self.shifts[number])
        self.networks.append(reads)
        plan = self.plans.get(number, set_values(self.plan, {"training.seed": number}))
        model = Model(plan, reads, manifest={"dataset": "hearts", "fold": number})
        pipeline = Pipeline(plan)
        return FoldFit(model, [pipeline.prepare(c) for c in dataset.split("val") if c.id not in self.lose])


def dataset_of(strays: Sequence[int], **settings: Any) -> CaseDataset:
    return CaseDataset(
        "hearts", tuple(heart_case(k, strays=n) for k, n in enumerate(strays)), schema=SCHEMA, **settings
    )


def test_each_patient_is_held_out_once_and_the_test_part_never_touched() -> None:
    cases = [heart_case(k, strays=k % 2, patient=f"p{k // 2}") for k in range(14)]
    data = CaseDataset("hearts", cases, schema=SCHEMA).with_splits(Splits({"test": ["p6"]}))
    fits = Fits()
    run = CrossValidation(folds=3, seed=1).run(fits, data)
    parts = [asked.splits for asked in fits.asked]
    assert parts == kfold(data, 3, seed=1)
    held = [case for part in parts for case in part["val"]]
    assert sorted(held) == [f"c{k:02}" for k in range(12)]
    for part in parts:
        train, val = ({data[case].patient for case in part[name]} for name in ("train", "val"))
        assert not train & val
        assert len(train | val) == 6
        assert part["test"] == ("c12", "c13")
    assert set(run.figures["raw"]["cases"]) == set(held)
    assert run.figures["folds"] == [{name: list(ids) for name, ids in part.items()} for part in parts]
    assert run.figures["left_out"] == []
    assert json.loads(json.dumps(run.figures)) == run.figures


def test_each_case_is_predicted_by_the_network_that_did_not_see_it() -> None:
    fits = Fits(shifts=(0.0, 0.7, 0.0))
    data = dataset_of([0] * 9)
    run = CrossValidation(folds=3).run(fits, data)
    assert [n.calls for n in fits.networks] == [3, 3, 3]
    folds = run.figures["raw"]["groups"]["fold"]
    assert folds["0"]["dice"] == folds["2"]["dice"] == 1.0
    assert folds["1"]["dice"] < 0.7
    for case in fits.asked[1].splits["val"]:
        assert run.figures["raw"]["cases"][case]["heart"]["dice"] < 1.0
    # the figures are those of evaluating each network by itself
    measures = []
    for k, asked in enumerate(fits.asked):
        pipeline = Pipeline(PLAN)
        engine = Engine(pipeline, fits.networks[k])
        measures += [
            m for c in asked.split("val") for m in pipeline.task.measure(engine.predict(pipeline.prepare(c)), c)
        ]
    expected = summarise(measures)
    assert {k: run.figures["raw"][k] for k in expected} == expected


def test_the_model_is_the_mean_of_the_folds_cleaned_as_they_chose(tmp_path: Path) -> None:
    fits = Fits(shifts=(0.1, 0.2, -0.15))
    data = dataset_of([3, 5, 4, 0, 6, 2])
    run = CrossValidation(folds=3).run(fits, data)
    assert run.model.plan.inference.members == 3
    assert run.model.plan.inference.largest_component == ("heart",)
    assert not run.model.plan.inference.largest_together
    assert "heart +0." in run.model.plan.reasons["inference.largest_component"]
    assert "6 held-out cases of a 3-fold cross-validation" in run.model.plan.reasons["inference.largest_component"]
    assert run.model.manifest["dataset"] == "hearts"
    assert len(run.model.manifest["members"]) == 3
    loaded = Model.load(run.model.save(tmp_path / "model", extra={"cross_validation.json": json.dumps(run.figures)}))
    assert loaded.plan == run.model.plan
    case = heart_case(50, strays=4)
    pipeline = loaded.pipeline
    prediction = Engine(pipeline, loaded.network).predict(pipeline.prepare(case))
    assert [m.values["dice"] for m in pipeline.task.measure(prediction, case)] == [1.0, 1.0]
    given = {"ct": torch.randn(1, 1, 2, 5, 5)}
    each = torch.stack([n(given, {})["segmentation"] for n in fits.networks]).mean(0)
    torch.testing.assert_close(loaded.network(given, {})["segmentation"], each)


def test_raw_cleaned_and_nested_figures_are_what_they_say() -> None:
    """Strays in one fold only: it alone asks for cleaning, so without it nothing is chosen for it."""
    names = kfold(dataset_of([0] * 9), 3)[1]["val"]
    data = dataset_of([5 if f"c{k:02}" in names else 0 for k in range(9)])
    run = CrossValidation(folds=3).run(Fits(), data)
    figures = run.figures
    assert figures["components"]["structures"] == ["heart"]
    assert [part["structures"] for part in figures["components_without_fold"]] == [["heart"], [], ["heart"]]
    raw, cleaned, nested = (figures[name]["structures"]["heart"]["dice"] for name in ("raw", "cleaned", "nested"))
    assert raw < cleaned == 1.0
    assert nested == raw
    gain = figures["components"]["gains"]["heart"]
    assert gain["dice"] == pytest.approx(cleaned - raw)
    assert gain["interval"][0] <= gain["dice"] <= gain["interval"][1]
    assert gain["cases"] == 9
    low, high = figures["raw"]["structures"]["heart"]["dice_interval"]
    assert low < raw < high
    assert set(figures["about"]) == {"raw", "cleaned", "nested"}
    assert figures["cleaned"]["groups"]["fold"]["1"]["dice"] == 1.0 > figures["nested"]["groups"]["fold"]["1"]["dice"]
    pipeline, everything = Pipeline(PLAN), []
    for case in data:
        everything.append(
            measure_cleanings(pipeline.task, Engine(pipeline, Reads()).predict(pipeline.prepare(case)), case)
        )
    assert choose_components(everything).facts() == {
        k: figures["components"][k] for k in ("together", "structures", "together_gain", "gains")
    }


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"inference.largest_component": ["vessels"]}, ("vessels",)),
        ({"inference.largest_component": []}, ()),
    ],
)
def test_what_a_person_decided_is_kept_and_told(settings: dict[str, Any], kept: tuple[str, ...]) -> None:
    plan = set_values(PLAN, settings)
    run = CrossValidation(folds=2).run(Fits(plan=plan), dataset_of([4, 4, 4, 4]))
    assert run.model.plan.inference.largest_component == kept
    assert run.model.plan.reasons["inference.largest_component"] == "set by hand"
    assert run.figures["components"] == {
        "by_hand": True, "gains": {}, "together": False, "structures": list(kept), "together_gain": None
    }  # fmt: skip
    vessels = [run.figures[name]["structures"]["vessels"]["dice"] for name in ("raw", "cleaned", "nested")]
    assert vessels == ([1.0, pytest.approx(2 / 3), pytest.approx(2 / 3)] if kept else [1.0, 1.0, 1.0])


def test_cases_that_fall_out_are_named_and_counted() -> None:
    data = dataset_of([0] * 6)
    broken = Case("c05", "patient-c05", data["c05"].images)  # no truth
    data = CaseDataset("hearts", [*(c for c in data if c.id != "c05"), broken], schema=SCHEMA)
    told: list[tuple[str, int, int]] = []
    run = CrossValidation(folds=2).run(
        Fits(lose=frozenset({"c01"})), data, progress=lambda what, done, total: told.append((what, done, total))
    )
    assert sorted(run.figures["left_out"])[0] == "case c01: could not be prepared"
    assert "case c05: has no label map 'main'" in sorted(run.figures["left_out"])[1]
    assert run.figures["raw"]["summary"]["cases"] == 4
    assert [what for what, done, total in told if done == total] == [
        "predicting held-out cases of fold 1 of 2",
        "predicting held-out cases of fold 2 of 2",
    ]
    assert sum(total for _, done, total in told if done == 1) == 5


def test_a_case_that_was_learned_from_is_refused_as_held_out() -> None:
    class Leaks(Fits):
        def __call__(self, dataset: CaseDataset, number: int) -> FoldFit:
            done = super().__call__(dataset, number)
            other = Pipeline(PLAN).prepare(next(iter(dataset.split("train"))))
            return FoldFit(done.model, [*done.held, other])

    with pytest.raises(DatasetError, match=r"fold 0: case c0. is given as held out"):
        CrossValidation(folds=2).run(Leaks(), dataset_of([0] * 4))


def test_fits_by_different_plans_too_few_patients_and_nothing_to_measure_are_refused() -> None:
    data = dataset_of([0] * 4)
    with pytest.raises(ConfigError, match=r"member 1 of the ensemble: its plan has inference.overlap=0.25"):
        CrossValidation(folds=2).run(Fits(plans={1: set_values(PLAN, {"inference.overlap": 0.25})}), data)
    with pytest.raises(SplitError, match="at least 5 patients"):
        CrossValidation().run(Fits(), data)
    with pytest.raises(DatasetError, match="no held-out case could be measured; the first: case c0"):
        CrossValidation(folds=2).run(Fits(lose=frozenset(data.ids)), data)


def test_views_of_the_plan_are_taken_in_the_figures_as_in_the_model() -> None:
    fits = Fits(plan=set_values(PLAN, {"inference.views": [{"mirror": [2]}]}))
    run = CrossValidation(folds=2).run(fits, dataset_of([0] * 4))
    assert [n.calls for n in fits.networks] == [4, 4]
    assert run.model.plan.inference.views == fits.plan.inference.views


def test_a_classification_has_nothing_to_clean() -> None:
    plan = small_plan(
        {"name": "classification", "target": "blob", "annotation": "blob", "classes": ["absent", "present"]},
        {"options": {"strides": [[1, 1, 1]], "channels": [3]}}, {"patch": [8, 8, 8]},
    )  # fmt: skip
    cases = blob_cases(6, seed=0, blobs=(0, 1), shape=(8, 8, 8), radius=(2, 3))

    def fit(dataset: CaseDataset, number: int) -> FoldFit:
        torch.manual_seed(number)
        pipeline = Pipeline(plan)
        net = build_network(plan.network, plan.inputs, pipeline.task.heads())
        return FoldFit(Model(plan, net), [pipeline.prepare(c) for c in dataset.split("val")])

    run = CrossValidation(folds=3).run(fit, CaseDataset("blobs", cases))
    assert run.model.plan.inference == plan.inference.model_copy(update={"members": 3})
    assert run.figures["components"]["structures"] == []
    assert run.figures["raw"] == run.figures["nested"] == run.figures["cleaned"]
    assert {"accuracy", "auc"} <= set(run.figures["raw"]["summary"])


def test_networks_that_really_learn_are_cross_validated(tmp_path: Path) -> None:
    plan = small_plan(
        {"structures": [{"name": "blob", "values": [1]}]},
        {"dimensions": 2, "options": {"strides": [[1, 1, 1], [1, 2, 2]], "channels": [6, 12], "norm": "batch"}},
        {"patch": [1, 16, 16], "batch": 8, "steps": 40, "learning_rate": 1e-2},
    )
    cases = blob_cases(6, seed=3, blobs=(1, 2), shape=(4, 16, 16), radius=(2, 4))

    def fit(dataset: CaseDataset, number: int) -> FoldFit:
        pipeline = Pipeline(plan)
        samples = [pipeline.prepare(c, targets=True) for c in dataset.split("train")]
        folder = tmp_path / f"fold_{number}"
        folder.mkdir()
        run = train(plan, pipeline.task, {"train": samples}, folder=folder, device="cpu")
        held = [pipeline.prepare(c, targets=True) for c in dataset.split("val")]
        return FoldFit(Model(plan, run.network), held)

    run = CrossValidation(folds=2).run(fit, CaseDataset("blobs", cases))
    assert run.figures["raw"]["summary"]["dice"] > 0.7
    assert run.figures["raw"]["summary"]["cases"] == 6
    assert len(run.model.network.members) == 2
