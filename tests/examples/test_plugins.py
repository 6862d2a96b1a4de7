"""The examples do what they say, and none of them touches the package."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from isocenter.cli.main import main

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PLUGINS = EXAMPLES / "plugins"
Cli = Callable[..., str]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs ``isocenter --plugin NAME WORDS`` in the folder of the plug-ins."""
    monkeypatch.chdir(PLUGINS)

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["isocenter", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert stop.value.code == 0, said.err
        return said.out

    return call


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Four cases of three patients in a folder each; the last is not annotated, and a fifth has no image."""
    affine = np.diag([-2.0, -2.0, 4.0, 1.0])
    for n, name in enumerate(("anna_1", "anna_2", "bert_1", "carl_1")):
        folder = tmp_path / "cohort" / name
        folder.mkdir(parents=True)
        mask = np.zeros((32, 32, 8), np.uint8)
        mask[4 + n : 14 + n, 6:16, 2:6] = 1
        image = np.random.default_rng(n).normal(0, 10, mask.shape) + 100 * mask
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), folder / "image.nii.gz")
        if name != "carl_1":
            nib.save(nib.Nifti1Image(mask, affine), folder / "mask.nii.gz")
    (tmp_path / "cohort/dora_1").mkdir()
    (tmp_path / "cohort/about.json").write_text('{"modality": "CT", "labels": {"liver": 1}}')
    return tmp_path / "cohort"


FEW = ("--set", "training.steps=2", "--set", "training.batch=1", "-q")


def test_a_layout_and_a_network(cli: Cli, cohort: Path, tmp_path: Path) -> None:
    told = json.loads(cli("--plugin", "case_folders", "inspect", cohort, "--json"))
    assert (told["kind"], told["usable"], told["patients"], told["unusable"]) == ("case-folders", 4, 3, 1)
    assert told["images"][0]["modality"] == "CT"
    model = tmp_path / "model"
    both = ["--plugin", "case_folders", "--plugin", "plain_network"]
    words = ["--set", "network.name=plain", "--set", "network.options={width: 4}"]
    (cohort / "splits.json").write_text('{"train": ["anna"], "val": ["bert"], "rest": ["carl"]}')
    cli(*both, "fit", cohort, *FEW, *words, "--out", model)
    assert yaml.safe_load((model / "plan.yaml").read_text())["network"]["name"] == "plain"
    cli(*both, "evaluate", model, cohort, "--split", "val", "--out", tmp_path / "f.json", "-q")
    assert set(json.loads((tmp_path / "f.json").read_text())["cases"]) == {"bert_1"}
    cli(*both, "predict", model, cohort / "carl_1", "--out", tmp_path / "r", "-q")  # a folder of a case
    labels = nib.load(tmp_path / "r/segmentation.nii.gz")
    assert labels.shape == (32, 32, 8)


def test_the_network_says_what_it_does_not_take(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS))
    import case_folders  # noqa: F401
    import plain_network  # noqa: F401

    import isocenter as iso

    with pytest.raises(iso.IsocenterError, match=r"no 'channels'; plain knows width"):
        iso.fit(cohort, out=tmp_path / "m", settings=["network.name=plain"])
    settings = ["network.name=plain", "network.options={}"]
    with pytest.raises(iso.IsocenterError, match="cannot serve this task"):
        iso.fit(cohort, out=tmp_path / "m", task="detection", settings=settings)


def test_a_task(cli: Cli, studies: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    options = ["--set", "task.options={mean: 50, scale: 15, unit: a, tolerance: 10}"]
    said = cli("--plugin", "number_task", "plan", studies, "--task", "number", "--target", "age",
               *options, "--out", tmp_path / "p.yaml")  # fmt: skip
    assert "the whole median case" in said
    cli("--plugin", "number_task", "fit", studies, "--plan", tmp_path / "p.yaml", *FEW, "--out", model)
    shown = cli("--plugin", "number_task", "evaluate", model, studies, "--out", tmp_path / "f.json")
    found = json.loads((tmp_path / "f.json").read_text())
    with (studies / "cases.csv").open() as file:
        ages = {row["case"]: float(row["age"]) for row in csv.DictReader(file)}
    assert set(found["structures"]) == {"age"}
    assert "accuracy" in shown
    cli("--plugin", "number_task", "predict", model, studies / "thorax_0001", "--out", tmp_path / "r", "-q")
    (finding,) = json.loads((tmp_path / "r/findings.json").read_text())["findings"]
    (measurement,) = finding["measurements"]
    assert (measurement["name"], measurement["unit"]["value"]) == ("age", "a")
    error = abs(measurement["value"] - ages["thorax_0001"])
    assert found["cases"]["thorax_0001"]["age"]["absolute_error"] == pytest.approx(error, rel=1e-4)


def test_the_task_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS))
    import number_task

    from isocenter.errors import LabelError, PlanError
    from isocenter.plan import TaskSpec
    from isocenter.records import Case, Scalar
    from isocenter.tasks import Task, build_task

    made: Any = build_task(TaskSpec(name="number", target="age"), "ct")
    assert isinstance(made, number_task.Number)
    assert isinstance(made, Task)
    assert made.truth(Case("a", "a", {}, (Scalar(name="age", value=3.5),), {"age": "9"})) == 3.5
    with pytest.raises(LabelError, match="case a: has no number 'age'"):
        made.truth(Case("a", "a", {}, (), {"age": "old"}))
    with pytest.raises(PlanError, match="which number"):
        build_task(TaskSpec(name="number"), "ct")


def test_the_quick_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import isocenter as iso

    simulate = iso.simulate
    coarse = {"cases": 3, "matrix": 48, "slice_mm": 15}
    monkeypatch.setattr(iso, "simulate", lambda *words, **named: simulate(*words, **{**named, **coarse}))
    monkeypatch.setattr(sys, "argv", ["quickstart.py", str(tmp_path / "q"), "2"])
    runpy.run_path(str(EXAMPLES / "quickstart.py"))
    assert "heart: Dice" in capsys.readouterr().out
    files = {p.name for p in (tmp_path / "q/result").iterdir()}
    assert {"segmentation.dcm", "segmentation.nii.gz", "findings.json", "report.html"} <= files
