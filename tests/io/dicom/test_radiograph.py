"""Projection images: one slice on the detector, and told that it has no place in the patient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from isocenter.io.dicom import find_series
from isocenter.records import SeriesError

Make = Callable[..., Any]
DX = "1.2.840.10008.5.1.4.1.1.1.1"


def _dx(**tags: Any) -> Callable[[int, Dataset], None]:
    def edit(z: int, ds: Dataset) -> None:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
            delattr(ds, keyword)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DX
        ds.Modality, ds.ImageType, ds.PhotometricInterpretation = "DX", ["ORIGINAL", "PRIMARY", ""], "MONOCHROME1"
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            delattr(ds, keyword)
        for keyword, value in tags.items():
            setattr(ds, keyword, value)

    return edit


def test_orientation_and_detector_spacing(make_series: Make) -> None:
    truth = make_series(_dx(PatientOrientation=["R", "F"], ImagerPixelSpacing=[0.2, 0.1]), count=1)
    (series,) = find_series(truth.folder)
    volume = series.stack().volume()
    assert volume.grid.shape == (1, 5, 7)
    assert volume.grid.spacing_mm[1:] == (0.2, 0.1)
    assert volume.grid.orientation[1:] == "IR"
    assert volume.grid.frame is None
    np.testing.assert_array_equal(volume.array[0, 0], truth.datasets[0].pixel_array)  # MONOCHROME1 is not inverted
    assert [f.split(":")[0] for f in series.stack().flags()] == [
        "a projection without a place in the patient",
        "distances are those at the detector, not in the patient",
    ]


def test_without_orientation_it_is_told(make_series: Make) -> None:
    truth = make_series(_dx(PixelSpacing=[0.2, 0.1]), count=1)
    (series,) = find_series(truth.folder)
    assert series.stack().grid().orientation[1:] == "IL"
    assert any("PatientOrientation is not stated" in f for f in series.stack().flags())


def test_no_spacing_is_refused(make_series: Make) -> None:
    (series,) = find_series(make_series(_dx(), count=1).folder)
    with pytest.raises(SeriesError, match=r"neither PixelSpacing \(0028,0030\) nor ImagerPixelSpacing"):
        series.stack().volume()


def test_two_views_are_no_volume(make_series: Make) -> None:
    (series,) = find_series(make_series(_dx(PixelSpacing=[1, 1]), count=2).folder)
    with pytest.raises(SeriesError, match="2 projections without a place in the patient"):
        series.stack().volume()
