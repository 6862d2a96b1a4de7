"""Fits within a budget, in folds, from a model, with a cache; and what is left where one is interrupted."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.synthetic import label_map

import isocenter as iso
from isocenter.data import CaseDataset, Splits
from isocenter.errors import ConfigError, ModelIntegrityError, PlanError, StoppedError
from isocenter.io.nifti import write_nifti
from isocenter.records import LabelSchema
from isocenter.volume import Grid, Volume
from isocenter.workflow import workplace


def facts_of(model: Path) -> dict[str, Any]:
    return json.loads((model / "training.json").read_text())  # type: ignore[no-any-return]


def assert_same_weights(one: Path, other: Path) -> None:
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[key], b[key]) for key in a)


def without_steps(tiny: Sequence[str]) -> list[str]:
    return [text for text in tiny if not text.startswith(("training.steps", "training.validations"))]


def test_a_budget_of_time_is_kept_to_and_written_down(studies: Path, tiny: Sequence[str], tmp_path: Path) -> None:
    told: list[str] = []
    began = time.perf_counter()
    model = iso.fit(
        studies, out=tmp_path / "m", budget="30s", memory="50GB", settings=without_steps(tiny), device="cpu",
        progress=lambda what, *rest: told.append(what),
    )  # fmt: skip
    taken = time.perf_counter() - began
    assert 15 < taken < 45, "a busy machine may be slower than it was when timed, but not without end"
    assert list(dict.fromkeys(told)) == [
        "reading headers", "looking at cases", "preparing cases", "timing candidates", "training",
        "choosing post-processing",
    ]  # fmt: skip
    budget = model.plan.budget
    assert budget is not None
    assert (budget.seconds, budget.memory_gb) == (30, 50)
    assert [c.verdict for c in budget.candidates].count("chosen") == 1
    facts = facts_of(tmp_path / "m")
    assert facts["steps_planned"] == model.plan.training.steps
    assert 0 < facts["steps"] <= facts["steps_planned"]
    assert 1 <= model.plan.training.validations <= 4
    assert not (tmp_path / "m.fit").exists()


def test_memory_without_time_and_impossible_memory_are_refused(
    studies: Path, tiny: Sequence[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="memory '4GB': is a part of a budget"):
        iso.fit(studies, out=tmp_path / "m", memory="4GB")
    with pytest.raises(PlanError, match=r"no candidate keeps to 0\.01 GB"):
        iso.fit(studies, out=tmp_path / "m", budget="1min", memory="10MB", settings=without_steps(tiny))
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_folds_make_one_model_and_judge_it_by_held_out_cases(
    studies: Path, tiny: Sequence[str], tmp_path: Path
) -> None:
    model = iso.fit(studies, out=tmp_path / "m", folds=2, settings=tiny)
    assert model.plan.inference.members == 2
    figures = json.loads((tmp_path / "m/cross_validation.json").read_text())
    assert set(figures["raw"]["cases"]) == {f"thorax_000{k}" for k in range(1, 5)}
    patients = [set(fold["val"]) for fold in figures["folds"]]
    assert not patients[0] & patients[1]
    assert len(model.predict(studies / "thorax_0001").findings) == len(model.plan.task.structures)
    again = iso.evaluate(iso.load(tmp_path / "m"), studies)
    assert again["summary"]["cases"] == 4
    for wrong in (1, -3):
        with pytest.raises(ConfigError, match="needs at least 2"):
            iso.fit(studies, out=tmp_path / "n", folds=wrong, settings=tiny)


def test_folds_leave_test_patients_alone(studies: Path, tiny: Sequence[str], tmp_path: Path) -> None:
    splits = Splits({"train": ["thorax_0001", "thorax_0002"], "val": ["thorax_0003"], "test": ["thorax_0004"]})
    iso.fit(studies, out=tmp_path / "m", folds=3, splits=splits, settings=tiny)
    figures = json.loads((tmp_path / "m/cross_validation.json").read_text())
    assert set(figures["raw"]["cases"]) == {"thorax_0001", "thorax_0002", "thorax_0003"}
    assert json.loads((tmp_path / "m/splits.json").read_text())["test"] == ["thorax_0004"]


def test_folds_go_on_where_they_were_stopped(studies: Path, tiny: Sequence[str], tmp_path: Path) -> None:
    iso.fit(studies, out=tmp_path / "whole", folds=2, settings=tiny)

    def stop(what: str, done: int, total: int, figures: object = None) -> None:
        if what == "training fold 2 of 2" and done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="stopped after step 2 of 3"):
        iso.fit(studies, out=tmp_path / "part", folds=2, settings=tiny, progress=stop)
    told: list[tuple[Any, ...]] = []
    iso.fit(studies, out=tmp_path / "part", folds=2, settings=tiny, resume=True, progress=lambda *a: told.append(a))
    assert [what[:2] for what in told if "training" in what[0]] == [("training fold 2 of 2", 3)]
    assert_same_weights(tmp_path / "whole", tmp_path / "part")
    raw = [json.loads((tmp_path / n / "cross_validation.json").read_text())["raw"] for n in ("whole", "part")]
    assert raw[0] == raw[1]


def test_a_new_fit_does_not_take_up_folds_of_an_old_one(studies: Path, tiny: Sequence[str], tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int, figures: object = None) -> None:
        if what == "training fold 2 of 2":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        iso.fit(studies, out=tmp_path / "m", folds=2, settings=tiny, progress=stop)
    assert (tmp_path / "m.fit/fold_0/model").is_dir()
    told: list[str] = []
    iso.fit(studies, out=tmp_path / "m", folds=2, settings=tiny, progress=lambda what, *rest: told.append(what))
    assert "training fold 1 of 2" in told


def test_a_resumed_fit_keeps_the_plan_that_was_timed(
    studies: Path, tiny: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(what: str, done: int, total: int, figures: object = None) -> None:
        if what == "training" and done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    said: dict[str, Any] = {"budget": "20s", "settings": without_steps(tiny), "device": "cpu"}
    with pytest.raises(StoppedError, match="go on from it with --resume"):
        iso.fit(studies, out=tmp_path / "m", progress=stop, **said)
    kept = workplace.Workplace(tmp_path / "m.fit").kept()
    assert kept is not None
    monkeypatch.setattr("isocenter.planner.fit_to_budget", None)  # not decided again
    model = iso.fit(studies, out=tmp_path / "m", resume=True, **said)
    assert model.plan.training == kept[0].training
    assert model.plan.budget == kept[0].budget


def test_a_fit_can_begin_with_a_model(studies: Path, trained: Path, tiny: Sequence[str], tmp_path: Path) -> None:
    model = iso.fit(studies, out=tmp_path / "m", start=trained, settings=["training.steps=1"])
    assert model.plan.network == iso.load(trained).plan.network
    assert model.plan.training.steps == 1
    other = iso.plan(studies, settings=[*tiny, "network.options.channels=[4,8]"])
    with pytest.raises(ModelIntegrityError, match="do not fit the plan's network"):
        iso.fit(studies, out=tmp_path / "n", start=trained, plan=other)


def test_prepared_cases_are_taken_from_the_cache(
    studies: Path, tiny: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iso.fit(studies, out=tmp_path / "a", settings=tiny, cache=tmp_path / "cache")
    entries = sorted(tmp_path.glob("cache/??/*/facts.json"))
    assert len(entries) == 4
    monkeypatch.setattr("isocenter.pipeline.Pipeline.prepare", None)  # no case is prepared again
    iso.fit(studies, out=tmp_path / "b", settings=[*tiny, "training.learning_rate=0.001"], cache=tmp_path / "cache")
    assert sorted(tmp_path.glob("cache/??/*/facts.json")) == entries
    assert not (tmp_path / "b.fit").exists()


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Six cases whose CT, PET and MR have grids of their own; two lack the MR. Truth is drawn on CT and PET."""
    schema = LabelSchema.of({"tumour": 1})
    fine, coarse, other = (
        Grid.regular((8, 32, 32), spacing_mm=(4, 1, 1)),
        Grid.regular((8, 8, 8), spacing_mm=(4, 4, 4), origin_mm=(1.5, 1.5, 0)),
        Grid.regular((6, 20, 20), spacing_mm=(4, 1.2, 1.2), origin_mm=(4, 4, 4)),
    )
    lines = ["case,patient,image.pet,image.ct,image.mr,label@ct,label@pet"]
    folder = tmp_path / "several"
    folder.mkdir()
    for k in range(6):
        rng = np.random.default_rng(k)

        def drawn(grid: Grid, k: int = k) -> np.ndarray:
            index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).reshape(-1, 3)
            gap = grid.to_world(index.astype(float)) - np.array([15.0, 12.0 + k, 14.0])
            return ((gap**2).sum(1) < 64).reshape(grid.shape)

        for name, grid in (("ct", fine), ("pet", coarse), ("mr", other)):
            image = drawn(grid) * 3.0 + rng.normal(size=grid.shape)
            write_nifti(folder / f"{k}_{name}.nii.gz", Volume(image[None].astype(np.float32), grid))
            if name != "mr":
                mask = label_map(drawn(grid).astype(np.uint8), grid, schema).read()
                write_nifti(folder / f"{k}_{name}_mask.nii.gz", mask)
        mr = f"{k}_mr.nii.gz" if k > 1 else ""
        lines.append(f"c{k},p{k},{k}_pet.nii.gz,{k}_ct.nii.gz,{mr},{k}_ct_mask.nii.gz,{k}_pet_mask.nii.gz")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_one_grid_is_chosen_for_several_images(several: Path) -> None:
    plan = iso.plan(several)
    assert [i.name for i in plan.inputs] == ["ct", "pet"], "the finest image with truth first; MR is not in every case"
    assert plan.preprocess.reference == "ct"
    assert (
        "the truth is drawn on it and its voxels are the finest (4 mm3); pet comes"
        in plan.reasons["preprocess.reference"]
    )
    assert iso.plan(several, images=["pet", "ct"]).preprocess.reference == "pet"


def test_a_missing_image_is_tolerated(several: Path, tmp_path: Path) -> None:
    quick = [
        "training.steps=4", "training.batch=2", "training.patch=[1,16,16]", "inference.window=[1,16,16]",
        "network.options={stem: [1,2,2], strides: [[1,1,1],[1,2,2]], channels: [8,8]}", "training.validations=0",
    ]  # fmt: skip
    model = iso.fit(several, out=tmp_path / "m", images=["ct", "pet", "mr"], settings=quick)
    assert [i.required for i in model.plan.inputs] == [True, True, False]
    assert model.plan.training.augmentation.drop_image == 0.2
    dataset = iso.Dataset.read(several)
    assert isinstance(dataset, CaseDataset)
    for name in ("c0", "c3"):
        labels = model.predict(dataset[name]).prediction.annotations[0].read()
        assert labels.grid.is_close(dataset[name].images["ct"].grid())
