"""Several channels, regions, unannotated voxels, left and right, images that a case lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml

Run = Callable[..., Any]


def plan_of(folder: Path) -> Any:
    return yaml.safe_load((folder / "plan.yaml").read_text())


def test_two_channels(ok: Run, refused: Run, nnunet: Run, sets: Sequence[str], tmp_path: Path) -> None:
    data = nnunet(3, channels=("T1w", "FLAIR"))
    ok("fit", data, *sets, "--out", "m")
    assert [(i["name"], i["modality"], i["required"]) for i in plan_of(tmp_path / "m")["inputs"]] == [
        ("t1w", "MR", True),
        ("flair", "MR", True),
    ]
    ok("evaluate", "m", data, "--out", "f.json", "-q")
    assert set(json.loads((tmp_path / "f.json").read_text())["structures"]) == {"bright", "dark"}
    files = [f"{name}={data}/imagesTr/c0_{k:04d}.nii.gz" for k, name in enumerate(("t1w", "flair"))]
    ok("predict", "m", *files, "--out", "a", "-q")
    ok("predict", "m", *files[::-1], "--out", "b", "-q")
    ok("predict", "m", data / "c0", "--out", "c", "-q")
    a, b, c = (np.asarray(nib.load(tmp_path / n / "segmentation.nii.gz").dataobj) for n in "abc")
    assert a.shape == (32, 32, 8)
    assert np.array_equal(a, b)
    assert np.array_equal(a, c)
    refused(["predict", "m", files[0], "-q", "--out", "d"], "image 'flair' (MR) is missing", "found: t1w")
    refused(["predict", "m", files[0].partition("=")[2], "-q", "--out", "d"], "which image is it?", "t1w (MR)")
    refused(["predict", "m", files[0], files[0], "-q", "--out", "d"], "'t1w' is given twice")
    refused(["predict", "m", *files, "pet=x.nii.gz", "-q", "--out", "d"], "the model reads no image 'pet'")


def test_an_image_that_some_cases_lack(ok: Run, run: Run, nnunet: Run, sets: Sequence[str], tmp_path: Path) -> None:
    data = nnunet(4, channels=("T1w", "FLAIR"))
    (data / "imagesTr/c1_0001.nii.gz").unlink()
    # nobody asked for it: what every case has is learned from
    ok("fit", data, *sets, "--out", "one", "-q")
    assert [i["name"] for i in plan_of(tmp_path / "one")["inputs"]] == ["t1w"]
    # asked for, it may be missing
    splits = json.dumps({"train": ["c0", "c1", "c2"], "val": ["c3"]})
    (data / "splits.json").write_text(splits)
    ok("fit", data, "--image", "t1w", "--image", "flair", *sets, "--out", "two", "-q")
    assert [(i["name"], i["required"]) for i in plan_of(tmp_path / "two")["inputs"]] == [
        ("t1w", True),
        ("flair", False),
    ]
    ok("predict", "two", f"t1w={data}/imagesTr/c1_0000.nii.gz", "--out", "r", "-q")
    assert (tmp_path / "r/segmentation.nii.gz").exists()
    assert "image 'flair' is missing" in run("inspect", data).out


def test_regions_overlap(ok: Run, nnunet: Run, sets: Sequence[str], tmp_path: Path) -> None:
    data = nnunet(3, labels={"background": 0, "whole": [1, 2], "core": 2})
    ok("fit", data, *sets, "--out", "m")
    task = plan_of(tmp_path / "m")["task"]
    assert (task["exclusive"], [s["values"] for s in task["structures"]]) == (False, [[1, 2], [2]])
    ok("evaluate", "m", data, "--out", "f.json", "-q")
    found = json.loads((tmp_path / "f.json").read_text())
    assert set(found["structures"]) == {"whole", "core"}
    ok("predict", "m", data / "c0", "--out", "r", "-q")
    names = sorted(p.name for p in (tmp_path / "r").glob("*.nii.gz"))
    assert names == ["segmentation_core.nii.gz", "segmentation_whole.nii.gz"]
    assert set(np.unique(nib.load(tmp_path / "r" / names[0]).dataobj)) <= {0, 1}


def test_unannotated_voxels_take_no_part(ok: Run, nnunet: Run, sets: Sequence[str], tmp_path: Path) -> None:
    data = nnunet(3, labels={"background": 0, "bright": 1, "ignore": 2})
    ok("fit", data, *sets, "--out", "m", "-q")
    assert (plan_of(tmp_path / "m")["task"]["ignore"], len(plan_of(tmp_path / "m")["task"]["structures"])) == (2, 1)
    ok("evaluate", "m", data, "--out", "f.json", "-q")
    assert set(json.loads((tmp_path / "f.json").read_text())["structures"]) == {"bright"}


def test_left_and_right_are_partners(ok: Run, nnunet: Run, sets: Sequence[str], tmp_path: Path) -> None:
    data = nnunet(3, labels={"background": 0, "lung_left": 1, "lung_right": 2})
    ok("fit", data, *sets, "--set", "training.augmentation.mirror=[2]", "--out", "m", "-q")
    plan = plan_of(tmp_path / "m")
    assert [s["mirror"] for s in plan["task"]["structures"]] == ["lung_right", "lung_left"]
    assert plan["training"]["augmentation"]["mirror"] == [2]


def test_one_bad_case_is_named_counted_and_left_out(
    run: Run, ok: Run, nnunet: Run, sets: Sequence[str], tmp_path: Path, save: Run
) -> None:
    data = nnunet(4)
    label = np.asarray(nib.load(data / "labelsTr/c1.nii.gz").dataobj)
    save(data / "labelsTr/c1.nii.gz", label, np.diag([-2.0, -2.0, 5.0, 1.0]))
    shown = run("inspect", data).out
    assert "3 cases of 3 patients, 1 cases cannot be used" in shown
    assert "wrong: case c1: image 'ct' and label 'main'" in shown
    assert "spacing" in shown
    said = ok("fit", data, *sets, "--out", "m").out
    assert "1 left out" in said
    facts = json.loads((tmp_path / "m/training.json").read_text())
    assert facts["cases"] == {"train": 2, "val": 1, "left_out": 1}
    assert facts["left_out"][0].startswith("case c1:")
    said = ok("evaluate", "m", data, "--out", "f.json").out
    assert "left out: case c1:" in said
    found = json.loads((tmp_path / "f.json").read_text())
    assert (len(found["cases"]), len(found["problems"])) == (3, 1)


def test_a_case_whose_voxels_are_wrong_is_left_out_too(
    ok: Run, nnunet: Run, sets: Sequence[str], tmp_path: Path, save: Run
) -> None:
    data = nnunet(6)
    (data / "splits.json").write_text(json.dumps({"train": [f"c{n}" for n in range(5)], "val": ["c5"]}))
    image = np.asarray(nib.load(data / "imagesTr/c0_0000.nii.gz").dataobj)
    label = np.asarray(nib.load(data / "labelsTr/c0.nii.gz").dataobj)
    save(data / "imagesTr/c1_0000.nii.gz", np.where(label == 1, np.float32("nan"), image))
    save(data / "imagesTr/c2_0000.nii.gz", np.zeros_like(image))
    save(data / "labelsTr/c3.nii.gz", np.where(label == 2, np.uint8(7), label))
    ok("fit", data, *sets, "--out", "m", "-q")
    facts = json.loads((tmp_path / "m/training.json").read_text())
    assert facts["cases"] == {"train": 2, "val": 1, "left_out": 3}
    nan, constant, stranger = sorted(facts["left_out"])
    assert re.match("case c1: .*c1_0000.nii.gz: 320 voxels are NaN", nan)
    assert re.match("case c2: .*c2_0000.nii.gz: every voxel is 0", constant)
    assert stranger.startswith("case c3: ")
    assert "label value 7 is not declared" in stranger
