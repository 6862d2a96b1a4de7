"""Classification and detection, end to end."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

Run = Callable[..., Any]


@pytest.fixture
def answered(nnunet: Run) -> Path:
    """Five cases, every other one with ``class.grade`` high."""
    folder: Path = nnunet(5)
    rows = [["case", "patient", "class.grade", "site"]]
    rows += [[f"c{n}", f"p{n}", "high" if n % 2 else "low", "AB"[n % 2]] for n in range(5)]
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    splits = {"train": ["c0", "c1", "c2"], "val": ["c3", "c4"]}
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder


def test_classification(ok: Run, answered: Path, tmp_path: Path) -> None:
    few = ["--set", "training.steps=3", "--set", "training.batch=2"]
    ok("fit", answered, "--task", "classification", *few, "--out", "m")
    plan = yaml.safe_load((tmp_path / "m/plan.yaml").read_text())
    assert (plan["task"]["target"], plan["task"]["classes"]) == ("grade", ["high", "low"])
    assert plan["training"]["patch"] == [8, 32, 32]  # the whole case
    said = ok("evaluate", "m", answered, "--out", "f.json", "--by", "site").out
    found = json.loads((tmp_path / "f.json").read_text())
    assert set(found["structures"]) == {"grade"}
    right = [case["grade"]["accuracy"] for case in found["cases"].values()]
    assert found["summary"]["accuracy"] == pytest.approx(sum(right) / 5)
    assert 0 <= found["summary"]["auc"] <= 1
    assert set(found["groups"]["site"]) == {"A", "B"}
    assert "accuracy" in said
    said = ok("predict", "m", answered / "c1", "--out", "r").out
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["findings.json", "report.html"]
    (finding,) = json.loads((tmp_path / "r/findings.json").read_text())["findings"]
    assert finding["name"] in ("high", "low")
    assert 0.5 <= finding["probability"] <= 1
    assert f"{finding['name']} (probability {finding['probability']:.2f})" in said


def test_detection_of_chosen_objects_from_labels(ok: Run, answered: Path, tmp_path: Path) -> None:
    few = [
        "--set",
        "training.steps=3",
        "--set",
        "training.batch=1",
        "--set",
        "task.options={min_score: 0.0, threshold: 0.0}",
    ]
    ok("fit", answered, "--task", "detection", "--structure", "bright", *few, "--out", "m")
    plan = yaml.safe_load((tmp_path / "m/plan.yaml").read_text())
    assert [s["name"] for s in plan["task"]["structures"]] == ["bright"]
    ok("evaluate", "m", answered, "--split", "val", "--out", "f.json")
    found = json.loads((tmp_path / "f.json").read_text())
    assert set(found["structures"]) == {"bright"}
    assert {"ap", "cpm", "missed", "false"} <= set(found["summary"])
    assert set(found["cases"]) == {"c3", "c4"}
    ok("predict", "m", answered / "c0", "--out", "r")
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["findings.json", "report.html"]
    findings = json.loads((tmp_path / "r/findings.json").read_text())["findings"]
    assert findings
    assert all({m["name"] for m in f["measurements"]} >= {"center_x", "size_z"} for f in findings)
    scores = [f["probability"] for f in findings]
    assert scores == sorted(scores, reverse=True)


def test_simulated_nodules_are_learned_as_objects(ok: Run, studies: Path, tmp_path: Path) -> None:
    few = ["--set", "training.steps=2", "--set", "training.batch=1"]
    ok("fit", studies, "--task", "detection", "--structure", "nodule", *few, "--out", "m", "-q")
    ok("evaluate", "m", studies, "--out", "f.json", "-q")
    found = json.loads((tmp_path / "f.json").read_text())
    with (studies / "cases.csv").open() as file:
        nodules = {row["case"]: int(row["n_nodules"]) for row in csv.DictReader(file)}
    with_any = [case for case, count in nodules.items() if count]
    assert all(found["cases"][case]["nodule"]["outcome"] in ("found", "missed") for case in with_any)


def test_what_a_task_is_asked_for_must_fit(refused: Run, answered: Path) -> None:
    fit = ["fit", answered, "-q", "--task"]
    refused([*fit, "segmentatoin"], "no task 'segmentatoin'", "did you mean 'segmentation'?")
    refused([*fit, "classification", "--target", "stage"], "no class 'stage'", "it has grade")
    refused([*fit, "detection", "--structure", "bone"], "structure 'bone'", "bright, dark")
    refused([*fit, "segmentation", "--structure", "bright"], "every structure")
    refused([*fit, "segmentation", "--annotation", "expert"], "'expert'")
    refused([*fit, "segmentation", "--image", "pet"], "image 'pet'", "the dataset has ct")


def test_one_answer_is_nothing_to_learn(refused: Run, answered: Path) -> None:
    table = answered / "cases.csv"
    table.write_text(table.read_text().replace("high", "low"))
    refused(["fit", answered, "-q", "--task", "classification"], "every case answers 'grade' with 'low'")


def test_a_plan_is_not_contradicted(ok: Run, refused: Run, answered: Path, sets: Sequence[str]) -> None:
    ok("plan", answered, *sets, "--out", "p.yaml", "-q")
    fit = ["fit", answered, "--plan", "p.yaml", "-q"]
    refused([*fit, "--task", "detection"], "'detection' is asked for, the plan says 'segmentation'")
    refused([*fit, "--image", "ct", "--image", "pet"], "('ct', 'pet') is asked for, the plan says ('ct',)")
