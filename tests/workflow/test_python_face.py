"""The same line from Python: what a script or a notebook does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isocenter as iso
from isocenter.data import CaseDataset, Splits
from isocenter.errors import ConfigError, DatasetError, SplitError


def test_the_line(studies: Path, tiny: Sequence[str], tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []
    dataset = iso.Dataset.read(studies)
    plan = iso.plan(dataset, settings=dict(text.split("=", 1) for text in tiny[:2]), name="mine")
    assert (plan.name, plan.reasons["training.batch"]) == ("mine", "set by hand")
    model = iso.fit(
        dataset, plan=plan, settings=tiny[2:], out=tmp_path / "model", progress=lambda *what: told.append(what)
    )
    kinds = list(dict.fromkeys(what[0] for what in told))
    assert kinds == ["preparing cases", "training", "choosing post-processing"]
    assert [what[1:3] for what in told if what[0] == "training"] == [(1, 3), (2, 3), (3, 3)]
    assert set(told[-2][3]) >= {"loss", "score", "validation"}
    figures = iso.evaluate(model, dataset, split="val", by=["sex"])
    assert figures["summary"]["cases"] == 1
    assert sum(group["cases"] for group in figures["groups"]["sex"].values()) == 1
    result = model.predict(studies / "thorax_0001")
    saved = result.save(tmp_path / "result", ["json", "nifti"])
    assert sorted(p.name for p in saved.iterdir()) == [
        "findings.json", "segmentation.labels.json", "segmentation.nii.gz",
    ]  # fmt: skip
    assert {f.name for f in result.findings} == {s.name for s in dataset.schema.structures}
    assert json.loads((saved / "findings.json").read_text())["case"]["id"] == "thorax_0001"


def test_a_case_can_be_predicted_as_it_is(trained: Path, studies: Path) -> None:
    case = iso.Dataset.read(studies)["thorax_0002"]
    model = iso.load(trained)
    by_case, by_folder = model.predict(case), model.predict(str(studies / "thorax_0002"))
    arrays = [r.prediction.annotations[0].read() for r in (by_case, by_folder)]
    assert np.array_equal(arrays[0].array, arrays[1].array)
    assert arrays[0].grid.is_close(case.images["ct"].grid())


def test_splits_may_be_given(trained: Path, studies: Path) -> None:
    splits = Splits({"train": ["thorax_0001"], "odd": ["thorax_0002", "thorax_0004"]})
    figures = iso.evaluate(trained, studies, splits=splits, split="odd")
    assert set(figures["cases"]) == {"thorax_0002", "thorax_0004"}
    with pytest.raises(SplitError, match="no split 'val'"):
        iso.evaluate(trained, studies, splits=splits, split="val")


def test_a_model_remembers_its_splits(trained: Path, studies: Path) -> None:
    held = json.loads((trained / "splits.json").read_text())["val"]
    assert list(iso.evaluate(trained, studies, split="val")["cases"]) == held


def test_the_figures_do_not_depend_on_the_order_of_cases(trained: Path, studies: Path) -> None:
    dataset = iso.Dataset.read(studies)
    turned = CaseDataset("turned", tuple(dataset)[::-1], schema=dataset.schema)
    one, two = (iso.evaluate(trained, d) for d in (dataset, turned))
    assert one["summary"] == two["summary"]
    assert one["cases"] == two["cases"]


def test_evaluation_names_what_it_could_not_use(trained: Path, studies: Path) -> None:
    dataset = iso.Dataset.read(studies)
    bare = [iso.Case(c.id, c.patient, c.images, (), c.attributes) if c.id.endswith("3") else c for c in dataset]
    figures = iso.evaluate(trained, CaseDataset("some", tuple(bare), schema=dataset.schema))
    assert len(figures["cases"]) == 3
    assert len(figures["problems"]) == 1
    assert figures["problems"][0].startswith("case thorax_0003: has no label map")
    with pytest.raises(DatasetError, match="no case could be evaluated; the first: case thorax_0003"):
        iso.evaluate(trained, CaseDataset("none", (bare[2],), schema=dataset.schema))


def test_nothing_is_predicted_before_a_wrong_word_is_noticed(
    trained: Path, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr("isocenter.inference.Engine.predict", never)
    study = studies / "thorax_0001"
    with pytest.raises(ConfigError, match="format 'pdf'"):
        iso.predict(trained, study, out=tmp_path / "r", formats=["pdf"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        iso.predict(trained, study, out=tmp_path / "full")
    with pytest.raises(ConfigError, match="is a folder"):
        iso.evaluate(trained, studies, out=tmp_path / "full")
    with pytest.raises(ConfigError, match="--by hospital"):
        iso.evaluate(trained, studies, by=["hospital"])


def test_an_old_result_survives_a_failed_overwrite(
    trained: Path, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = iso.load(trained).predict(studies / "thorax_0001")
    result.save(tmp_path / "r", ["json"])
    before = (tmp_path / "r/findings.json").read_bytes()

    def fails(*_: Any) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setitem(iso.workflow.FORMATS, "html", fails)
    with pytest.raises(RuntimeError, match="disk on fire"):
        result.save(tmp_path / "r", ["json", "html"], overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    assert (tmp_path / "r/findings.json").read_bytes() == before


def test_workers_and_their_number_do_not_change_the_weights(studies: Path, tiny: Sequence[str], tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    weights = []
    for workers in (0, 1, 2):
        out = tmp_path / f"m{workers}"
        iso.fit(studies, out=out, settings=[*tiny, f"training.workers={workers}"])
        weights.append(load_file(out / "model.safetensors"))
    assert all(np.array_equal(weights[0][k], other[k]) for other in weights[1:] for k in weights[0])


def test_a_demo_writes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isocenter.workflow import demonstrating

    real_simulate, real_plan = demonstrating.simulate, demonstrating.plan
    small = {"matrix": 48, "slice_mm": 15.0}
    monkeypatch.setattr(demonstrating, "simulate", lambda *a, **k: real_simulate(*a, **{**k, **small}))

    def quick_plan(*args: Any, **named: Any) -> Any:
        named["settings"] = {**named["settings"], "training.batch": 1, "training.patch": (8, 32, 32)}
        return real_plan(*args, **named)

    monkeypatch.setattr(demonstrating, "plan", quick_plan)
    figures = iso.demo(tmp_path / "demo", cases=5, steps=2)
    assert {p.name for p in (tmp_path / "demo").iterdir()} == {
        "studies",
        "plan.yaml",
        "model",
        "metrics.json",
        "result",
    }
    assert json.loads((tmp_path / "demo/metrics.json").read_text()) == figures
    assert {p.name for p in (tmp_path / "demo/result").iterdir()} >= {
        "segmentation.dcm", "segmentation.nii.gz", "findings.json", "report.html",
    }  # fmt: skip
    splits = json.loads((tmp_path / "demo/studies/splits.json").read_text())
    assert set(figures["cases"]) == set(splits["test"])
    assert not set(splits["test"]) & set(json.loads((tmp_path / "demo/model/splits.json").read_text())["train"])
