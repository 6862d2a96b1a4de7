"""Images that are read on demand."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isocenter.io.dicom import find_series
from isocenter.io.nifti import write_nifti
from isocenter.io.refs import nifti_ref, series_ref, stack_of
from isocenter.records import ConfigError, FileFormatError, GeometryError
from isocenter.volume import Grid, Volume

Make = Callable[..., Any]
GRID = Grid.regular((4, 5, 6), spacing_mm=(3, 1, 2), origin_mm=(1, 2, 3))
IMAGE = Volume(np.arange(120, dtype=np.int16).reshape(4, 5, 6), GRID)


def test_nifti_ref(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    write_nifti(path, IMAGE)
    ref = nifti_ref("ct", path, "CT")
    assert (ref.name, ref.source, ref.modality, ref.files) == ("ct", str(path), "CT", (str(path),))
    assert ref.grid().is_close(GRID)
    assert ref.read().unit == "HU"
    part = ref.read(((1, 2, 3), (3, 5, 4)))
    np.testing.assert_array_equal(part.array[0], IMAGE.array[0, 1:3, 2:5, 3:4])
    assert part.grid.is_close(GRID.crop((1, 2, 3), (3, 5, 4)))
    assert nifti_ref("t1", path, "MR").read().unit == "a.u."
    assert stack_of(ref) is None


def test_series_ref(make_series: Make) -> None:
    truth = make_series()
    (series,) = find_series(truth.folder)
    ref = series_ref("ct", series)
    assert stack_of(ref) is series.stack()
    whole = ref.read()
    assert ref.modality == "CT"
    assert list(ref.files) == truth.files
    assert ref.uids["series"] == series.uid
    assert ref.uids["study"] == series.study_uid
    assert ref.uids["instances"].split(",") == [d.SOPInstanceUID for d in truth.datasets]
    assert ref.grid() == whole.grid
    part = ref.read(((2, 1, 3), (4, 4, 7)))
    np.testing.assert_array_equal(part.array, whole.array[:, 2:4, 1:4, 3:7])
    assert part.grid.is_close(whole.grid.crop((2, 1, 3), (4, 4, 7)))
    # only the files of the region are read
    for path in truth.files[:2] + truth.files[4:]:
        Path(path).unlink()
    np.testing.assert_array_equal(ref.read(((2, 1, 3), (4, 4, 7))).array, part.array)


def test_refs_can_be_sent_to_another_process(tmp_path: Path, make_series: Make) -> None:
    write_nifti(tmp_path / "a.nii", IMAGE)
    for ref in (nifti_ref("a", tmp_path / "a.nii"), series_ref("a", find_series(make_series().folder)[0])):
        sent = pickle.loads(pickle.dumps(ref))  # noqa: S301
        np.testing.assert_array_equal(sent.read().array, ref.read().array)
        assert sent.grid() == ref.grid()


def test_regions_and_levels_that_are_not_there(tmp_path: Path, make_series: Make) -> None:
    write_nifti(tmp_path / "a.nii", IMAGE)
    truth = make_series()
    for ref in (nifti_ref("a", tmp_path / "a.nii"), series_ref("a", find_series(truth.folder)[0])):
        with pytest.raises(ConfigError, match="level 1"):
            ref.read(None, 1)
        with pytest.raises(GeometryError, match="outside its shape"):
            ref.read(((0, 0, 0), (9, 5, 6)))
        with pytest.raises(GeometryError, match="outside its shape"):
            ref.read(((2, 0, 0), (2, 5, 6)))


def test_missing_file_is_told_when_it_is_read(tmp_path: Path) -> None:
    ref = nifti_ref("a", tmp_path / "none.nii")
    with pytest.raises(FileFormatError, match="does not exist"):
        ref.grid()
    with pytest.raises(FileFormatError, match="does not exist"):
        ref.read()


def test_notes_say_what_was_done_and_left_out(make_series: Make) -> None:
    def tilted(z: int, ds: Any) -> None:
        x, y, height = (float(v) for v in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y + 0.6 * z, height]
        if z > 5:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    (series,) = find_series(make_series(tilted, count=8).folder)
    ref = series_ref("ct", series)
    tilt, aside = pickle.loads(pickle.dumps(ref)).notes()  # noqa: S301 our own bytes
    assert "13.50 degrees off their normal (gantry tilt): kept exactly" in tilt
    assert aside == "2 file(s) set aside: a scout view (LOCALIZER in ImageType)"
    (plain,) = find_series(make_series().folder)
    assert series_ref("ct", plain).notes() == ()


def test_pet_is_read_in_suv_or_says_why_not(make_series: Make, caplog: pytest.LogCaptureFixture) -> None:
    def pet(z: int, ds: Any) -> None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        ds.Modality, ds.Units, ds.RescaleIntercept = "PT", "BQML", 0
        del ds.RescaleType

    (series,) = find_series(make_series(pet).folder)
    ref = series_ref("pet", series)
    assert ref.read().unit == "Bq/ml"
    (note,) = ref.notes()
    assert note.startswith("stays in the unit of the scanner, not SUV: ")
    assert note.partition(": ")[2] in caplog.text
    assert "Canary" not in note
