"""From a table of masks to a diagnosis: planned, fitted, saved, loaded, evaluated, predicted; beside images too."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import isocenter as iso
from isocenter.errors import DatasetError, LabelError, PlanError
from isocenter.io.nifti import write_nifti
from isocenter.volume import Grid, Volume

GRID = Grid.regular((4, 24, 24), spacing_mm=(8, 1.5, 1.5))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen patients with two images each; what differs between answers is how a cavity shrinks."""
    folder = tmp_path_factory.mktemp("hearts")
    rng = np.random.default_rng(0)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "patient", "image.ed", "image.es", "label@ed", "label@es", "class.kind", "age"])
        for k in range(16):
            weak = k % 2
            files = []
            for phase, radius in (("ed", 9), ("es", 8 if weak else 5)):
                size = radius + rng.uniform(-0.5, 0.5)
                rows, columns = np.mgrid[:24, :24] - 12
                mask = np.broadcast_to(np.hypot(rows, columns) < size, GRID.shape)
                wall = np.broadcast_to(np.hypot(rows, columns) < size + 2, GRID.shape) & ~mask
                image = rng.normal(size=GRID.shape) + 2.0 * mask
                labels = (mask + 2 * wall).astype(np.uint8)
                write_nifti(folder / f"{k}_{phase}.nii.gz", Volume(image.astype(np.float32), GRID))
                write_nifti(folder / f"{k}_{phase}_seg.nii.gz", Volume(labels, GRID, "label"))
                files.append(f"{k}_{phase}")
            row = [f"c{k:02d}", f"p{k:02d}", *(f"{f}.nii.gz" for f in files), *(f"{f}_seg.nii.gz" for f in files)]
            writer.writerow([*row, "weak" if weak else "strong", 40 + k])
    (folder / "labels.json").write_text('{"labels": {"cavity": 1, "wall": 2}}')
    return folder


SAID = {"task": "classification", "images": ["ed", "es"]}


def test_measurements_alone_tell_what_they_should(table: Path, tmp_path: Path) -> None:
    plan = iso.plan(table, network="measured", **SAID)
    names = [f.name for f in plan.measured.features]
    assert names[:3] == ["cavity volume, ed", "cavity volume, es", "cavity change, ed to es"]
    assert plan.training.strategy == "scikit-learn"
    assert plan.reasons["measured"] == "volumes of cavity, wall on ed, es; their ratios and changes"
    assert not {"network.options", "training.batch"} & plan.reasons.keys()
    model = iso.fit(table, plan=plan, out=tmp_path / "model")
    loaded = iso.load(tmp_path / "model")
    figures = iso.evaluate(loaded, table, split="val")
    assert figures["summary"]["accuracy"] == 1.0
    strongest = int(loaded.network.weight.abs().sum(0).argmax())
    assert "change" in names[strongest] or "es" in names[strongest]
    assert model.plan == loaded.plan


def test_a_forest_is_an_option(table: Path, tmp_path: Path) -> None:
    settings = {"network.options": {"model": "forest", "trees": 25}}
    iso.fit(table, network="measured", settings=settings, out=tmp_path / "model", **SAID)
    assert iso.evaluate(tmp_path / "model", table, split="val")["summary"]["accuracy"] == 1.0


def test_measurements_beside_images(table: Path, tmp_path: Path) -> None:
    options = {"channels": [4, 8], "strides": [[1, 1, 1], [1, 2, 2]]}
    settings = {
        "training.steps": 3, "training.batch": 2, "training.precision": "fp32", "network.options": options,
    }  # fmt: skip
    model = iso.fit(table, measure="main", settings=settings, out=tmp_path / "model", **SAID)
    assert model.plan.network.name == "resnet"
    assert [(i.name, i.kind) for i in model.plan.inputs] == [("ed", "image"), ("es", "image"), ("measured", "vector")]
    assert model.network.vectors.body[0].weight.abs().sum() > 0
    assert iso.evaluate(tmp_path / "model", table, split="val")["summary"]["cases"] == 3


def test_what_cannot_be_measured_or_fitted_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no image has masks 'second' in every case"):
        iso.plan(table, measure="second", **SAID)
    with pytest.raises(PlanError, match=r"strategy 'scikit-learn' fits once, so say training\.steps=1"):
        iso.fit(table, network="measured", settings={"training.steps": 5}, out=tmp_path / "m", **SAID)
    with pytest.raises(PlanError, match="learns step by step; strategy 'scikit-learn' fits 'measured'"):
        iso.fit(table, settings={"training.strategy": "scikit-learn", "training.steps": 1}, out=tmp_path / "m", **SAID)


def test_a_new_case_without_masks_is_named(table: Path, tmp_path: Path) -> None:
    iso.fit(table, network="measured", out=tmp_path / "model", **SAID)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "table.csv").write_text(f"case,image.ed,image.es\nx,{table / '0_ed.nii.gz'},{table / '0_es.nii.gz'}\n")
    with pytest.raises(LabelError, match="has no masks 'main' on image 'ed', which are to be measured"):
        iso.load(tmp_path / "model").predict(f"{bare}/x")
