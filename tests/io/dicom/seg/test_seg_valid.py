"""Segmentations are valid DICOM, and writing one tells nothing about the person."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from isocenter.io.dicom import find_series, write_seg
from isocenter.records import (
    Code,
    LabelSchema,
    Structure,
)
from isocenter.volume import Grid, Volume

Make = Callable[..., Any]
EXCLUSIVE = LabelSchema(
    (Structure("lung", (1,), Code("39607008", "SCT", "Lung"), colour=(200, 30, 40)), Structure("body", (2,)))
)
OVERLAPPING = LabelSchema(
    (Structure("liver", (1, 2)), Structure("nodule", (2,), Code("27925004", "SCT", "Nodule"))), exclusive=False
)
BY = {"algorithm_name": "model", "algorithm_version": "1.0"}


def _source(make_series: Make, **kwargs: Any) -> tuple[Any, Grid]:
    truth = make_series(**kwargs)
    return truth, find_series(truth.folder)[0].stack().grid()


def test_no_warning_of_a_library_names_the_person(make_series: Make, tmp_path: Path) -> None:
    truth, _ = _source(make_series, edit=lambda z, ds: setattr(ds, "PatientName", "CanarySingle"))
    program = """
import logging, sys
import numpy as np
from isocenter.io.dicom import find_series, write_seg
from isocenter.records import LabelSchema
from isocenter.volume import Volume
logging.basicConfig(level=logging.DEBUG)
series = find_series(sys.argv[1])[0]
grid = series.stack().grid()
mask = Volume(np.ones(grid.shape, np.uint8), grid)
write_seg(sys.argv[2], mask, LabelSchema.of({"a": 1}), series.files, algorithm_name="m", algorithm_version="1")
"""
    command = [sys.executable, "-c", program, str(truth.folder), str(tmp_path / "s.dcm")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "s.dcm").exists()
    assert "Canary" not in done.stdout + done.stderr


def _as_mr(z: int, ds: Dataset) -> None:
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType, ds.ConvolutionKernel


def _long(z: int, ds: Dataset) -> None:
    ds.add_new("StudyID", "SH", "a study id that is too long")


@pytest.mark.parametrize("edit", [None, _as_mr, _long])
@pytest.mark.parametrize("manual", [False, True])
@pytest.mark.parametrize("kind", ["exclusive", "overlapping", "empty"])
def test_dciodvfy_finds_no_error(
    make_series: Make, dciodvfy_errors: Any, tmp_path: Path, edit: Any, manual: bool, kind: str
) -> None:
    truth, grid = _source(make_series, edit=edit)
    schema = OVERLAPPING if kind == "overlapping" else EXCLUSIVE
    array = np.zeros((2 if kind == "overlapping" else 1, *grid.shape), np.uint8)
    if kind != "empty":
        array[:, 1:4, 1:3] = 1
    write_seg(tmp_path / "s.dcm", Volume(array, grid), schema, truth.files, manual=manual, **BY)
    assert dciodvfy_errors(tmp_path / "s.dcm") == []
