"""`isocenter convert` and the DICOM tree of `isocenter inspect`, as a person meets them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

Run = Callable[..., Any]


@pytest.fixture
def study(studies: Path, tmp_path: Path) -> Path:
    """A CT with its segmentation, one that lacks a slice, a broken file and a note."""
    folder = tmp_path / "study"
    shutil.copytree(studies / "thorax_0001", folder / "good")
    shutil.copytree(studies / "thorax_0002" / "ct", folder / "bad")
    sorted((folder / "bad").iterdir())[4].unlink()
    (folder / "other").mkdir()
    whole = next((folder / "good" / "ct").iterdir()).read_bytes()
    (folder / "other" / "cut.dcm").write_bytes(whole[:300])
    (folder / "note.txt").write_text("hello")
    return folder


def others(folder: Path) -> int:
    return sum(p.is_file() and p.suffix != ".dcm" for p in folder.rglob("*"))


def test_convert_writes_what_it_can_and_names_the_rest(ok: Run, study: Path, tmp_path: Path) -> None:
    done = ok("convert", study, "--out", "nii", "--labels")
    lines = done.out.splitlines()
    files = sorted(p.relative_to(tmp_path / "nii").as_posix() for p in (tmp_path / "nii").rglob("*") if p.is_file())
    assert "convert.json" in files
    assert sum(f.endswith(".nii.gz") for f in files) == 2
    assert lines[-1].startswith("written: 2 images in nii; not converted: 2, ")
    assert f"{others(study)} files that are not DICOM" in lines[-1]
    refused = [line for line in lines if line.startswith("not converted: ")]
    assert any("1 slice(s) missing" in line for line in refused)
    assert any("cut.dcm" in line for line in refused)
    told = json.loads((tmp_path / "nii" / "convert.json").read_text())
    ct, seg = told["images"]
    assert [ct["modality"], seg["modality"], ct["unit"], seg["unit"]] == ["CT", "SEG", "HU", "label"]
    image, labels = (nib.load(tmp_path / "nii" / i["files"][0]) for i in (ct, seg))
    assert np.array_equal(image.affine, labels.affine)
    assert ok("convert", study, "--out", "again", "--missing", "fill", "-q").out == ""
    asked = json.loads(ok("convert", study, "--out", "again", "--json", "--overwrite", "-q").out)
    assert asked["not_converted"]
    assert asked["images"][0] == ct


def test_convert_refuses_in_one_line(refused: Run, study: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    refused(["convert", study, "-q", "--out", "full"], "is not empty")
    refused(["convert", study / "bad", "-q", "--out", "x"], "nothing could be converted", "missing")
    refused(["convert", "nowhere", "-q", "--out", "x"], "nowhere")
    refused(["convert", tmp_path / "full", "-q", "--out", "x"], "holds no DICOM")
    refused(["convert", study, "-q", "--out", "x", "--series", "99"], "--series 99", "CT")
    refused(["convert", study, "-q", "--out", "x", "--name", "{who}"], "{who} is not known", "number")
    refused(["convert", study, "-q", "--out", "x", "--name", "{protocol}", "--anonymous"], "free text")


def test_a_policy_that_does_not_exist(run: Run, study: Path) -> None:
    done = run("convert", study, "--out", "x", "--tilt", "guess")
    assert done.code == 2
    assert "guess" in done.err


def test_inspect_shows_the_tree(ok: Run, study: Path) -> None:
    out = ok("inspect", study, "-q").out
    assert "series 1: CT, " in out
    assert "wrong [missing-slice]: series" in out
    assert "damaged: " in out
    assert f"ignored: {others(study)} files that are not DICOM" in out
    for path in study.rglob("*.dcm"):
        if path.name != "cut.dcm":
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            assert str(ds.PatientID) not in out.replace(str(study), "")
    told = json.loads(ok("inspect", study, "--json", "-q").out)
    assert {s["modality"] for s in told["series"]} == {"CT", "SEG"}
    assert told["ignored"] == others(study)
    assert len(told["damaged"]) == 1
