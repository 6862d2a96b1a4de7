"""What a folder holds."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from isocenter.io.dicom import find_series, scan_folder
from isocenter.records import SeriesError

Make = Callable[..., Any]


def test_series_are_told_apart_and_described(make_series: Make, tmp_path: Path) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.SeriesDescription, ds.SeriesNumber, ds.KVP = "Thorax 2.5", 1, "120"

    first, second = make_series(edit), make_series(count=3)
    mixed = tmp_path / "disc" / "deep"
    mixed.mkdir(parents=True)
    for path in (*first.files, *second.files):
        shutil.copy(path, mixed / f"{Path(path).parent.name}_{Path(path).name}")
    found = find_series(tmp_path / "disc")
    assert {s.uid for s in found} == {t.datasets[0].SeriesInstanceUID for t in (first, second)}
    series = next(s for s in found if s.uid == first.datasets[0].SeriesInstanceUID)
    assert (series.modality, series.description, series.patient) == ("CT", "Thorax 2.5", "Canary-ID")
    assert series.study_uid == first.datasets[0].StudyInstanceUID
    assert series.source == str(mixed)
    assert series.attributes == {
        "manufacturer": "Maker",
        "model": "Model",
        "kernel": "B30f",
        "slice_thickness_mm": "2.5",
        "tube_voltage_kv": "120.0",
        "patient_position": "HFS",
    }


def test_files_and_instances_are_in_slice_order(make_series: Make) -> None:
    truth = make_series()
    (series,) = find_series(truth.folder)
    assert list(series.files) == truth.files
    assert list(series.instance_uids) == [d.SOPInstanceUID for d in truth.datasets]


def test_other_files_are_ignored_and_counted(make_series: Make, caplog: pytest.LogCaptureFixture) -> None:
    truth = make_series()
    (truth.folder / "notes.txt").write_text("not DICOM")
    (truth.folder / "empty").write_bytes(b"")
    (truth.folder / "sub").mkdir()
    (truth.folder / "sub" / "bad.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 64)
    (truth.folder / "dangling").symlink_to("nowhere")
    with caplog.at_level(logging.INFO):
        scan = scan_folder(truth.folder)
    assert sorted(Path(f).name for f in scan.ignored) == ["empty", "notes.txt"]
    assert [Path(f).name for f in scan.damaged] == ["bad.dcm"]
    assert "2 files are not DICOM, 1 are damaged" in caplog.text
    scan.series[0].stack().volume()  # the damaged file lies in another folder


@pytest.mark.parametrize("keep", [200, 400, 900])
def test_header_that_ends_early_never_shortens_a_volume(make_series: Make, keep: int) -> None:
    truth = make_series()
    path = Path(truth.files[-1])
    path.write_bytes(path.read_bytes()[:keep])
    volumes = []
    for series in find_series(truth.folder):
        try:
            volumes.append(series.stack().volume())
        except SeriesError:
            continue
    assert volumes == []


def test_blanked_uids(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.SeriesInstanceUID = ds.StudyInstanceUID = ds.PatientID = ""

    truth = make_series(edit)
    (series,) = find_series(truth.folder)
    assert (series.uid, series.patient) == ("", "")
    assert_right(series.stack().volume(), truth.datasets)


def test_one_file_is_a_series_too(make_series: Make) -> None:
    truth = make_series(count=1)
    (series,) = find_series(truth.files[0])
    assert series.source == truth.files[0]


def test_missing_and_empty_folder(tmp_path: Path) -> None:
    assert find_series(tmp_path) == []
    with pytest.raises(SeriesError, match="does not exist"):
        find_series(tmp_path / "none")


def test_nothing_but_the_patient_key_is_taken_from_the_person(make_series: Make) -> None:
    (series,) = find_series(make_series().folder)
    seen = repr([h.tags for h in series.headers]).replace("Canary-ID", "")
    assert "Canary" not in seen
    assert "19000101" not in seen
    assert "Canary" not in repr(series)


@pytest.mark.parametrize("lost", [False, True])
def test_a_damaged_file_is_blamed_on_the_series_it_names(
    make_series: Make, assert_right: Make, tmp_path: Path, lost: bool
) -> None:
    first, second = make_series(), make_series()
    flat = tmp_path / "flat"
    flat.mkdir()
    for k, truth in enumerate((first, second)):
        for file in truth.files:
            shutil.copy(file, flat / f"{k}{Path(file).name}")
    uid = first.datasets[0].SeriesInstanceUID.encode()
    broken = bytearray(Path(first.files[-1]).read_bytes())
    at = broken.index(b"\x28\x00\x10\x00US")  # Rows, whose length now leads out of the file
    broken[at + 6 : at + 8] = b"\xff\xff"
    if lost:
        broken[broken.index(uid) : broken.index(uid) + 4] = b"9.9."
    (flat / "broken.dcm").write_bytes(broken)
    ours, other = (
        next(s for s in find_series(flat) if s.uid == t.datasets[0].SeriesInstanceUID) for t in (first, second)
    )
    assert [p.code for p in ours.stack().problems()] == ["damaged-file"]
    if lost:  # it could be a slice of either
        assert [p.code for p in other.stack().problems()] == ["damaged-file"]
    else:
        assert_right(other.stack().volume(), second.datasets)
