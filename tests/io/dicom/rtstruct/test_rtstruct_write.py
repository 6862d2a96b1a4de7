"""Structure sets as we write them: read back voxel by voxel, by other programs, and valid."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import dcmread

from isocenter.errors import ConfigError, GeometryError, LabelError, SeriesError
from isocenter.io.dicom import find_series
from isocenter.io.dicom.rtstruct import read_rtstruct, read_rtstruct_labels, rtstruct_header, write_rtstruct
from isocenter.records import Code, LabelSchema, Structure
from isocenter.volume import Grid, Volume

Make = Callable[..., Any]
EXCLUSIVE = LabelSchema(
    (
        Structure("lung_left", (1,), Code("39607008", "SCT", "Lung"), mirror="lung_right", colour=(200, 30, 40)),
        Structure("lung_right", (2,), Code("39607008", "SCT", "Lung"), mirror="lung_left"),
        Structure("nodule", (3,), Code("27925004", "SCT", "Nodule")),
        Structure("body", (4,)),
    )
)
OVERLAPPING = LabelSchema((Structure("liver", (1,)), Structure("lesion", (2,))), exclusive=False)
BY = {"algorithm_name": "model", "algorithm_version": "1.0"}
PLACES = {
    "axial": {},
    "coronal": {"across": (1, 0, 0), "down": (0, 0, -1)},
    "sagittal": {"across": (0, 1, 0), "down": (0, 0, -1)},
    "oblique": {"across": (0.6, 0.8, 0), "down": (-0.48, 0.36, 0.8)},
    "tilted gantry": {"step": (0.3, 0.9, 2.5)},
    "one slice": {"count": 1},
}


def _source(make_series: Make, **kwargs: Any) -> tuple[Any, Grid]:
    truth = make_series(shape=(9, 11), **kwargs)
    return truth, find_series(truth.folder)[0].stack().grid()


@pytest.mark.parametrize("place", PLACES)
def test_masks_come_back_from_every_place(make_series: Make, tmp_path: Path, place: str) -> None:
    truth, grid = _source(make_series, **PLACES[place])
    masks = np.random.default_rng(1).integers(0, 2, (2, *grid.shape)).astype(np.uint8)
    masks[1, :, 1:-1, 1:-1] |= masks[0, :, 1:-1, 1:-1]  # larger parts with holes; they overlap
    write_rtstruct(tmp_path / "s.dcm", Volume(masks, grid), OVERLAPPING, truth.files[::-1], **BY)
    found, schema, series = read_rtstruct(tmp_path / "s.dcm", grid=grid)
    np.testing.assert_array_equal(found.array, masks)
    assert (found.grid, found.array.dtype, schema) == (grid, np.uint8, OVERLAPPING)
    assert series == truth.datasets[0].SeriesInstanceUID


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """One series that many masks are written on."""
    from pydicom.data import get_testdata_file

    (series,) = find_series(get_testdata_file("CT_small.dcm"))
    return series.stack(), tmp_path_factory.mktemp("standing") / "s.dcm"


@given(arrays(np.bool_, (8, 8)), st.sampled_from([(0, 0), (60, 50), (120, 120)]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mask_comes_back(standing: tuple[Any, Path], part: np.ndarray, at: tuple[int, int]) -> None:
    stack, path = standing
    mask = np.zeros((1, *stack.grid().shape), bool)
    mask[0, 0, at[0] : at[0] + 8, at[1] : at[1] + 8] = part
    write_rtstruct(path, Volume(mask, stack.grid()), LabelSchema.of({"a": 1}), stack, **BY)
    np.testing.assert_array_equal(read_rtstruct(path, grid=stack.grid())[0].array, mask)


def test_header_says_what_was_given(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    labels = np.random.default_rng(1).integers(0, 5, grid.shape).astype(np.uint8)
    labels[labels == 3] = 0  # the third structure is empty
    labels[[0, -1]] = 0
    labels[2, 0, 0] = 255  # not annotated
    write_rtstruct(tmp_path / "s.dcm", Volume(labels, grid, "label"), EXCLUSIVE, truth.files, **BY)
    head = rtstruct_header(tmp_path / "s.dcm")
    assert [(r.name, r.number, r.kind, r.skipped) for r in head.rois] == [
        ("lung_left", 1, "ORGAN", {}),
        ("lung_right", 2, "ORGAN", {}),
        ("nodule", 3, "", {}),
        ("body", 4, "", {}),
    ]
    assert [(r.colour, r.code) for r in head.rois] == [(s.colour, s.code) for s in EXCLUSIVE.structures]
    assert [r.contours > 0 for r in head.rois] == [True, True, False, True]
    assert head.schema.structures == EXCLUSIVE.structures
    assert (head.series, {r.frame for r in head.rois}) == (truth.datasets[0].SeriesInstanceUID, {grid.frame})
    assert set(head.instances) == {d.SOPInstanceUID for d in truth.datasets[1:-1]}
    found, schema, _ = read_rtstruct_labels(tmp_path / "s.dcm", grid=grid)
    np.testing.assert_array_equal(found.array[0], np.where(labels == 255, 0, labels))
    assert schema.names == EXCLUSIVE.names


def test_references_lead_to_the_images(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    write_rtstruct(
        tmp_path / "s.dcm", Volume(np.ones(grid.shape, bool), grid), LabelSchema.of({"a": 1}), truth.files, **BY
    )
    written = dcmread(tmp_path / "s.dcm")
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "FrameOfReferenceUID"):
        assert written[keyword].value == truth.datasets[0][keyword].value
    (frame,) = written.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == truth.datasets[0].FrameOfReferenceUID
    assert study.ReferencedSOPInstanceUID == truth.datasets[0].StudyInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in series.ContourImageSequence} == {
        d.SOPInstanceUID for d in truth.datasets
    }
    places = {d.SOPInstanceUID: d.ImagePositionPatient for d in truth.datasets}
    contours = written.ROIContourSequence[0].ContourSequence
    assert len(contours) == len(truth.datasets)
    for contour in contours:
        (image,) = contour.ContourImageSequence
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert contour.NumberOfContourPoints == len(points) == 4
        assert set(points[:, 2]) == {float(places[image.ReferencedSOPInstanceUID][2])}
        # half a voxel before the first centre to half a voxel behind the last
        np.testing.assert_allclose(points[:, 0].min(), -100.25 - 0.45, atol=1e-6)
        np.testing.assert_allclose(points[:, 0].max(), -100.25 + 10.5 * 0.9, atol=1e-6)
        np.testing.assert_allclose(points[:, 1].max(), -80.5 + 8.5 * 0.7, atol=1e-6)
    region = written.StructureSetROISequence[0]
    assert (region.ROIGenerationAlgorithm, region.ROIGenerationDescription) == ("AUTOMATIC", "model 1.0")


def test_a_contour_longer_than_64_kilobytes(make_series: Make, tmp_path: Path) -> None:
    truth = make_series(shape=(120, 120), count=2)
    grid = find_series(truth.folder)[0].stack().grid()
    comb = np.zeros(grid.shape, bool)
    comb[0, 0] = comb[0, :, ::2] = True
    comb[0, 1::2, ::4] = False
    comb[0, :, 1::2] |= np.arange(120)[:, None] % 3 == 0
    write_rtstruct(tmp_path / "s.dcm", Volume(comb, grid), LabelSchema.of({"a": 1}), truth.files, **BY)
    np.testing.assert_array_equal(read_rtstruct(tmp_path / "s.dcm", grid=grid)[0].array[0], comb)
    written = dcmread(tmp_path / "s.dcm").ROIContourSequence[0].ContourSequence
    assert max(len(c.get_item("ContourData").value) for c in written) > 1 << 16


def test_what_cannot_be_written(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    ones = np.ones(grid.shape, np.uint8)

    def write(array: np.ndarray, schema: LabelSchema = EXCLUSIVE, place: Grid = grid, files: Any = truth.files) -> None:
        write_rtstruct(tmp_path / "s.dcm", Volume(array, place), schema, files, **BY)

    moved = grid.affine.copy()
    moved[0, 3] += 0.3
    with pytest.raises(GeometryError, match=r"0\.3 mm apart"):
        write(ones, place=Grid(grid.shape, moved))
    with pytest.raises(LabelError, match="3 channels, the schema has 4"):
        write(np.zeros((3, *grid.shape), np.uint8))
    with pytest.raises(LabelError, match="value 7, at most 4"):
        write(ones * 7)
    with pytest.raises(LabelError, match="may overlap"):
        write(ones, OVERLAPPING)
    with pytest.raises(LabelError, match="float32"):
        write(ones.astype(np.float32))
    with pytest.raises(ConfigError, match="none are given"):
        write(ones, files=[])
    with pytest.raises(SeriesError, match="2 series"):
        write(ones, files=[*truth.files, *make_series().files])
    assert not (tmp_path / "s.dcm").exists()


def _strip(z: int, ds: Any) -> None:
    del ds.PatientName, ds.PatientBirthDate, ds.PatientSex, ds.StudyID, ds.AccessionNumber
    del ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName, ds.Laterality, ds.PositionReferenceIndicator


def _foreign(z: int, ds: Any) -> None:
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", "Müller^Zoë"
    ds.add_new("StudyID", "SH", "a study id that is too long")


@pytest.mark.parametrize("edit", [None, _strip, _foreign])
@pytest.mark.parametrize("manual", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_dciodvfy_finds_no_error(
    make_series: Make, dciodvfy_errors: Any, tmp_path: Path, edit: Any, manual: bool, empty: bool
) -> None:
    truth, grid = _source(make_series, edit=edit)
    labels = np.zeros(grid.shape, np.uint8)
    labels[1:4, 1:5] = 0 if empty else 2
    path = tmp_path / "s.dcm"
    write_rtstruct(path, Volume(labels, grid), EXCLUSIVE, truth.files, manual=manual, **BY)
    assert dciodvfy_errors(path, "RTStructureSet") == []
    if edit is _foreign:
        assert dcmread(path).PatientName == "Müller^Zoë"


@pytest.mark.parametrize("tool", ["drtdump", "dcmdump"])
def test_dcmtk_reads_it(make_series: Make, tmp_path: Path, tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed (apt-get install dcmtk)")
    truth, grid = _source(make_series)
    labels = np.zeros(grid.shape, np.uint8)
    labels[1:4, 1:5] = 2
    write_rtstruct(tmp_path / "s.dcm", Volume(labels, grid), EXCLUSIVE, truth.files, **BY)
    done = subprocess.run([tool, str(tmp_path / "s.dcm")], capture_output=True, text=True, check=True)
    told = done.stdout + done.stderr
    assert ("lung_right" if tool == "dcmdump" else "RT Structure Set object") in told
    assert not [line for line in told.splitlines() if line.startswith(("E:", "W:", "F:"))]
