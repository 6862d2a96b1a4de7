"""Results in the formats that have to be asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import isocenter
from isocenter.errors import ConfigError
from isocenter.io.dicom import read_seg_labels, seg_header
from isocenter.io.dicom.rtstruct import read_rtstruct, rtstruct_header
from isocenter.records import LabelMap, Masks


def test_a_result_as_structure_set(trained: Path, studies: Path, tmp_path: Path) -> None:
    result = isocenter.load(trained).predict(studies / "thorax_0001")
    result.save(tmp_path / "asked", ["rtstruct"])
    assert [p.name for p in (tmp_path / "asked").iterdir()] == ["structures.dcm"]
    (labels,) = (a for a in result.prediction.annotations if isinstance(a, LabelMap))
    volume = labels.read()
    found, schema, series = read_rtstruct(tmp_path / "asked" / "structures.dcm", grid=volume.grid)
    assert schema.names == labels.schema.names
    assert series == result.case.images[labels.image or ""].uids["series"]
    encoded = np.arange(1, len(schema) + 1)[:, None, None, None]
    np.testing.assert_array_equal(found.array, volume.array == encoded)
    assert {roi.frame for roi in rtstruct_header(tmp_path / "asked" / "structures.dcm").rois} == {volume.grid.frame}


def test_a_result_as_label_map(trained: Path, studies: Path, tmp_path: Path) -> None:
    result = isocenter.load(trained).predict(studies / "thorax_0001")
    result.save(tmp_path / "asked", ["dicom-labelmap", "dicom-seg"])
    assert sorted(p.name for p in (tmp_path / "asked").iterdir()) == ["labelmap.dcm", "segmentation.dcm"]
    (labels,) = (a for a in result.prediction.annotations if isinstance(a, LabelMap))
    volume = labels.read()
    for name, kind in (("labelmap.dcm", "LABELMAP"), ("segmentation.dcm", "BINARY")):
        assert seg_header(tmp_path / "asked" / name).kind == kind
        found, schema, series = read_seg_labels(tmp_path / "asked" / name, grid=volume.grid)
        np.testing.assert_array_equal(found.array, volume.array)
        assert schema.names == labels.schema.names
        assert series == result.case.images[labels.image or ""].uids["series"]


def test_a_label_map_has_no_overlap(trained: Path, studies: Path, tmp_path: Path) -> None:
    result = isocenter.load(trained).predict(studies / "thorax_0001")
    (labels,) = (a for a in result.prediction.annotations if isinstance(a, LabelMap))
    masks = Masks(image=labels.image, schema=labels.schema, read=labels.read)
    overlapping = isocenter.Result(replace(result.prediction, annotations=(masks,)))
    with pytest.raises(ConfigError, match="'dicom-labelmap': needs a segmentation without overlap of a study"):
        overlapping.save(tmp_path / "asked", ["dicom-labelmap"])


def test_a_structure_set_needs_a_dicom_study(trained: Path, studies: Path, tmp_path: Path) -> None:
    from isocenter.io.dicom import find_series
    from isocenter.io.nifti import write_nifti

    series = next(s for s in find_series(studies / "thorax_0001") if s.modality == "CT")
    write_nifti(tmp_path / "ct.nii.gz", series.stack().volume())
    result = isocenter.load(trained).predict({"ct": tmp_path / "ct.nii.gz"})
    with pytest.raises(ConfigError, match="'rtstruct': needs a segmentation of a study that was read from DICOM"):
        result.save(tmp_path / "asked", ["rtstruct"])
