"""The whole line for segmentation: simulate, inspect, plan, fit, evaluate, predict."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import yaml
from safetensors.numpy import load_file

Run = Callable[..., Any]
ORGANS = ["lung_left", "lung_right", "heart", "liver", "spine", "ribs", "airways", "nodule"]


def test_simulated_studies_can_be_inspected(ok: Run, tmp_path: Path) -> None:
    said = ok("simulate", "thorax", "--cases", 2, "--out", "made", "--matrix", 48, "--slice-mm", 15, "--seed", 3).out
    assert "2 studies written to made" in said
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["cases.csv", "thorax_0001", "thorax_0002"]
    shown = ok("inspect", "made").out
    assert "made: dicom, 2 cases of 2 patients" in shown
    assert all(organ in shown for organ in ORGANS)
    told = json.loads(ok("inspect", "made", "--json", "--deep").out)
    assert (told["usable"], told["unusable"], told["images"][0]["modality"]) == (2, 0, "CT")
    assert all(case["volumes_ml"]["liver"] > 100 for case in told["cases"])


def test_a_plan_states_its_reasons(ok: Run, studies: Path, tmp_path: Path) -> None:
    said = ok("plan", studies, "--set", "training.steps=9", "--out", "p.yaml").out
    plan = yaml.safe_load((tmp_path / "p.yaml").read_text())
    assert plan["training"]["steps"] == 9
    assert plan["reasons"]["training.steps"] == "set by hand"
    assert "training.steps: 9\n    set by hand" in said
    assert [s["name"] for s in plan["task"]["structures"]] == ORGANS
    assert plan["task"]["structures"][0]["mirror"] == "lung_right"


def test_fit_with_a_plan_then_evaluate(ok: Run, studies: Path, sets: Sequence[str], tmp_path: Path) -> None:
    ok("plan", studies, *sets, "--out", "p.yaml")
    said = ok("fit", studies, "--plan", "p.yaml", "--task", "segmentation", "--out", "m").out
    assert "trained on 3 cases, watched on 1" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "p.yaml"]  # the working folder is gone
    files = {p.name for p in (tmp_path / "m").iterdir()}
    assert files >= {"model.safetensors", "plan.yaml", "manifest.json", "card.md", "splits.json", "training.json"}
    done, asked = (yaml.safe_load((tmp_path / name).read_text()) for name in ("m/plan.yaml", "p.yaml"))
    for plan in (done, asked):  # what the validation case decides
        for key in ("largest_component", "largest_together"):
            plan["inference"].pop(key)
            plan["reasons"].pop(f"inference.{key}", None)
    assert done == asked
    assert "Not a medical device" in (tmp_path / "m/card.md").read_text()
    ok("evaluate", "m", studies, "--split", "val", "--out", "v.json")
    held = json.loads((tmp_path / "m/splits.json").read_text())["val"]
    assert list(json.loads((tmp_path / "v.json").read_text())["cases"]) == held


def test_metrics_of_all_cases_by_scanner(ok: Run, studies: Path, trained: Path, tmp_path: Path) -> None:
    said = ok("evaluate", trained, studies, "--out", "metrics.json", "--by", "scanner").out
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 <= found["summary"]["dice"] <= 1
    assert len(found["summary"]["dice_interval"]) == 2
    assert sorted(found["structures"]) == sorted(ORGANS)
    for name, figures in found["structures"].items():
        rows = [case[name] for case in found["cases"].values()]
        kept = [row["dice"] for row in rows if row["outcome"] != "absent"]
        assert figures["dice"] == pytest.approx(np.mean(kept))
        assert figures["missed"] == sum(row["outcome"] == "missed" for row in rows)
        assert {"hd95_mm", "nsd", "volume_error_ml"} <= set(figures)
    assert found["summary"]["dice"] == pytest.approx(np.mean([s["dice"] for s in found["structures"].values()]))
    assert sum(group["cases"] for group in found["groups"]["scanner"].values()) == 4
    assert (found["problems"], found["split"]) == ([], "all")
    assert "liver" in said
    assert json.loads(ok("evaluate", trained, studies, "--json", "-q").out)["summary"] == found["summary"]


def test_a_predicted_study_is_written_in_every_format(ok: Run, studies: Path, trained: Path, tmp_path: Path) -> None:
    said = ok("predict", trained, studies / "thorax_0002", "--out", "r").out
    files = sorted(p.name for p in (tmp_path / "r").iterdir())
    assert files == [
        "findings.json", "report.html", "segmentation.dcm", "segmentation.labels.json", "segmentation.nii.gz",
    ]  # fmt: skip
    assert all(f"r/{name}" in said for name in files)
    assert [p.name for p in tmp_path.iterdir()] == ["r"]

    source = [pydicom.dcmread(p) for p in sorted((studies / "thorax_0002" / "ct").iterdir())]
    seg = pydicom.dcmread(tmp_path / "r/segmentation.dcm")
    assert seg.Modality == "SEG"
    assert seg.StudyInstanceUID == source[0].StudyInstanceUID
    referred = {i.ReferencedSOPInstanceUID for s in seg.ReferencedSeriesSequence for i in s.ReferencedInstanceSequence}
    assert referred <= {ds.SOPInstanceUID for ds in source}

    image = nib.load(tmp_path / "r/segmentation.nii.gz")
    slices = sorted(float(ds.ImagePositionPatient[2]) for ds in source)
    assert sorted(image.shape) == sorted((len(source), source[0].Rows, source[0].Columns))
    corners = image.affine @ np.array([[0, n - 1] for n in image.shape] + [[1, 1]])
    assert sorted(corners[2].round(2).tolist()) == pytest.approx([slices[0], slices[-1]])
    labels = json.loads((tmp_path / "r/segmentation.labels.json").read_text())["labels"]
    counted = {name: int((np.asarray(image.dataobj) == value).sum()) for name, value in labels.items()}

    findings = {f["name"]: f for f in json.loads((tmp_path / "r/findings.json").read_text())["findings"]}
    voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    for organ in ORGANS:
        volume = next(m["value"] for m in findings[organ]["measurements"] if m["name"] == "volume")
        assert volume == pytest.approx(counted[organ] * voxel_ml, rel=1e-4)

    page = (tmp_path / "r/report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)  # self-contained
    assert "liver" in page.lower()


def test_the_segmentation_is_valid_dicom(ok: Run, studies: Path, trained: Path, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("dciodvfy is missing; .ci/run installs dicom3tools")
        pytest.skip("dciodvfy is not installed (Debian: apt install dicom3tools)")
    ok("predict", trained, studies / "thorax_0001", "--out", "r", "--format", "dicom-seg")
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["segmentation.dcm"]
    done = subprocess.run(["dciodvfy", tmp_path / "r/segmentation.dcm"], capture_output=True, text=True, check=False)
    assert "SegmentationStorage" in done.stdout + done.stderr or "Segmentation" in done.stdout + done.stderr
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []


def test_files_are_predicted_like_the_study_they_came_from(
    ok: Run, studies: Path, trained: Path, tmp_path: Path
) -> None:
    from isocenter.data import Dataset
    from isocenter.io.nifti import write_nifti

    write_nifti(tmp_path / "a.nii.gz", Dataset.read(studies)["thorax_0003"].images["ct"].read())
    ok("predict", trained, studies / "thorax_0003", "--out", "dicom", "--format", "nifti")
    ok("predict", trained, "ct=a.nii.gz", "--out", "named", "-q")
    ok("predict", trained, "a.nii.gz", "--out", "bare")
    maps = [np.asarray(nib.load(tmp_path / n / "segmentation.nii.gz").dataobj) for n in ("dicom", "named", "bare")]
    assert maps[0].any()
    # NIfTI keeps places as 32-bit numbers, so voxels that are nearly a tie may fall the other way
    assert (maps[0] != maps[1]).mean() < 0.01
    assert np.array_equal(maps[1], maps[2])
    assert not (tmp_path / "bare/segmentation.dcm").exists()  # there is no series that it could refer to


def test_a_fit_that_was_stopped_goes_on_to_the_same_weights(
    ok: Run, run: Run, studies: Path, sets: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok("fit", studies, *sets, "--out", "whole", "-q")

    from isocenter.strategies import Supervised

    step = Supervised.step
    monkeypatch.setattr("isocenter.training.loop.CHECKPOINT_SECONDS", -1.0)

    def stopped(self: Supervised, modules: Any, batches: Any, context: Any) -> Any:
        if context.step == 2:
            raise KeyboardInterrupt
        return step(self, modules, batches, context)

    monkeypatch.setattr(Supervised, "step", stopped)
    done = run("fit", studies, *sets, "--out", "parts", "-q")
    assert (done.code, done.err.strip()) == (130, "isocenter: stopped")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["parts.fit", "whole"]
    monkeypatch.setattr(Supervised, "step", step)
    ok("fit", studies, *sets, "--out", "parts", "-q", "--resume")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["parts", "whole"]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)
