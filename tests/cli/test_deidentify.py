"""`isocenter deidentify` as a person meets it."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

Run = Callable[..., Any]


@pytest.fixture
def study(studies: Path, tmp_path: Path) -> Path:
    """A CT with its segmentation and a note, of a patient with a name."""
    folder = tmp_path / "study"
    for path in (studies / "thorax_0001").rglob("*.dcm"):
        ds = dcmread(path)
        ds.PatientName, ds.PatientID, ds.StudyDescription = "Quendolin^X", "MRN-00815", "Thorax Quendolin"
        target = folder / path.relative_to(studies)
        target.parent.mkdir(parents=True, exist_ok=True)
        ds.save_as(target)
    (folder / "note.txt").write_text("Quendolin")
    return folder


def test_a_study(ok: Run, study: Path, tmp_path: Path) -> None:
    files = len(list(study.rglob("*.dcm")))
    done = ok("deidentify", study, "--out", "safe")
    lines = done.out.splitlines()
    assert lines[0] == f"safe: {files} files in 2 series of 1 patients; DICOM PS3.15 2026c Annex E"
    assert lines[1] == "  113100 Basic Application Confidentiality Profile"
    assert "not copied: 1 files that are not DICOM images or objects" in lines
    assert lines[-1].startswith("note: the secret is forgotten; --key FILE")
    assert "Quendolin" not in done.out
    assert len(list((tmp_path / "safe").rglob("*.dcm"))) == files
    ds = dcmread(next((tmp_path / "safe").rglob("*.dcm")))
    assert "StudyDescription" not in ds
    assert ds.StudyDate == ""


def test_options(ok: Run, study: Path, tmp_path: Path) -> None:
    words = ["--key", "key", "--map", "map.json", "--shift-dates", "-400", "--keep-uids", "--keep-device"]
    words += ["--keep-institution", "--keep-characteristics", "--keep-safe-private", "--clean-descriptors"]
    told = json.loads(ok("deidentify", study, "-o", "safe", *words, "--keep-burned-in", "--json", "-q").out)
    codes = [entry["code"] for entry in told["profile"]["codes"]]
    assert codes == [f"1131{n:02d}" for n in (0, 5, 7, 8, 9, 10, 11, 12)]
    assert told == json.loads((tmp_path / "safe" / "report.json").read_text())
    old = {dcmread(p).SOPInstanceUID for p in study.rglob("*.dcm")}
    new = [dcmread(p) for p in (tmp_path / "safe").rglob("*.dcm")]
    assert {ds.SOPInstanceUID for ds in new} == old
    assert {ds.StudyDate for ds in new} == {"20181127"}  # 400 days before 2020-01-01
    assert {ds.get("StudyDescription") for ds in new} == {"Thorax"}
    assert all(ds.PatientAge for ds in new if ds.Modality == "CT")
    for name in ("key", "map.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    again = json.loads(ok("deidentify", study, "-o", "again", "--key", "key", "--keep-dates", "--json", "-q").out)
    assert [c["code"] for c in again["profile"]["codes"]] == ["113100", "113106"]
    assert {p.name for p in (tmp_path / "again").iterdir()} == {p.name for p in (tmp_path / "safe").iterdir()}
    assert ok("deidentify", study, "-o", "quiet", "-q").out == ""


def test_refusals(refused: Run, run: Run, study: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "hollow").mkdir()
    refused(["deidentify", "nowhere", "-q", "-o", "x"], "nowhere: no such folder or file")
    refused(["deidentify", "hollow", "-q", "-o", "x"], "no DICOM file is in it")
    refused(["deidentify", study, "-q", "-o", "full"], "is not empty")
    refused(["deidentify", study, "-q", "-o", study / "x"], "lies within the input")
    refused(["deidentify", study, "-q", "-o", "x", "--map", "x/map"], "mapping: x/map lies within x")
    refused(["deidentify", study, "-q", "-o", "x", "--shift-dates", "soon"], "--shift-dates is 'soon'", "auto")
    refused(["deidentify", study, "-q", "-o", "x", "--shift-dates", "0"], "shift_dates is 0")
    refused(["deidentify", study, "-q", "-o", "x", "--shift-dates", "1", "--keep-dates"], "exclude each other")
    refused(["deidentify", study, "-q", "-o", "x", "--patients", "nowhere.csv"], "nowhere.csv: cannot be read")
    (tmp_path / "key").write_text("short")
    refused(["deidentify", study, "-q", "-o", "x", "--key", "key"], "key: holds 5 bytes")
    assert run("deidentify", study).code == 2  # no --out


def test_what_is_held_back_is_told(ok: Run, study: Path, tmp_path: Path) -> None:
    path = next(study.rglob("*.dcm"))
    ds = dcmread(path)
    ds.BurnedInAnnotation = "YES"
    ds.save_as(path)
    done = ok("deidentify", study, "-o", "safe")
    assert "held back: 1 x burned-in: " in done.out
    assert "--keep-burned-in writes it all the same" in done.out
    assert "look at them" in ok("deidentify", study, "-o", "all", "--keep-burned-in").out
