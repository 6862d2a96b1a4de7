"""Results in the formats that have to be asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isocenter.data import Dataset
from isocenter.errors import ConfigError
from isocenter.io.dicom.rtstruct import read_rtstruct, rtstruct_header
from isocenter.records import LabelMap, Prediction
from isocenter.workflow.predicting import Result


def test_a_result_as_structure_set(studies: Path, tmp_path: Path) -> None:
    case = Dataset.read(studies)["thorax_0001"]
    labels = case.find(LabelMap)
    assert labels is not None
    result = Result(Prediction(case, (labels,)))
    result.save(tmp_path / "asked", ["rtstruct"])
    assert [p.name for p in (tmp_path / "asked").iterdir()] == ["structures.dcm"]
    volume = labels.read()
    found, schema, series = read_rtstruct(tmp_path / "asked" / "structures.dcm", grid=volume.grid)
    assert schema.names == labels.schema.names
    assert series == case.images["ct"].uids["series"]
    encoded = np.arange(1, len(schema) + 1)[:, None, None, None]
    np.testing.assert_array_equal(found.array, volume.array == encoded)
    assert {roi.frame for roi in rtstruct_header(tmp_path / "asked" / "structures.dcm").rois} == {volume.grid.frame}


def test_a_structure_set_needs_a_dicom_study(studies: Path, tmp_path: Path) -> None:
    case = Dataset.read(studies)["thorax_0001"]
    labels = case.find(LabelMap)
    assert labels is not None
    bare = replace(case, images={"ct": replace(case.images["ct"], uids={})})  # as of a NIfTI file
    with pytest.raises(ConfigError, match="'rtstruct': needs a segmentation of a study that was read from DICOM"):
        Result(Prediction(bare, (labels,))).save(tmp_path / "asked", ["rtstruct"])
