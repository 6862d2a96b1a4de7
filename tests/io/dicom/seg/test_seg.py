"""Segmentations: written, validated, read back, and read from other writers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from isocenter.io.dicom import find_series, read_seg, read_seg_labels, seg_header, write_seg
from isocenter.records import (
    Code,
    ConfigError,
    GeometryError,
    LabelError,
    LabelSchema,
    SeriesError,
    Structure,
)
from isocenter.volume import Grid, Volume

Make = Callable[..., Any]
LIVER = Code("10200004", "SCT", "Liver")
EXCLUSIVE = LabelSchema(
    (
        Structure("lung_left", (1,), Code("39607008", "SCT", "Lung"), mirror="lung_right", colour=(200, 30, 40)),
        Structure("lung_right", (2,), Code("39607008", "SCT", "Lung"), mirror="lung_left"),
        Structure("nodule", (3,), Code("27925004", "SCT", "Nodule")),
        Structure("body", (7,)),
    )
)
OVERLAPPING = LabelSchema((Structure("liver", (1, 2), LIVER), Structure("lesion", (2,))), exclusive=False)
BY = {"algorithm_name": "model", "algorithm_version": "1.0"}


def _source(make_series: Make, **kwargs: Any) -> tuple[Any, Grid]:
    truth = make_series(**kwargs)
    return truth, find_series(truth.folder)[0].stack().grid()


def _labels(grid: Grid, top: int = 4) -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, top + 1, grid.shape).astype(np.uint8)
    labels[labels == 3] = 0  # the third structure is empty
    labels[[0, -1]] = 0  # and so are the outer slices
    return labels


def test_exclusive_round_trip(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    labels = _labels(grid)
    path = tmp_path / "out" / "segmentation.dcm"
    write_seg(path, Volume(labels, grid, "label"), EXCLUSIVE, truth.files[::-1], **BY)
    masks, schema, series = read_seg(path, grid=grid)
    assert masks.array.dtype == np.uint8
    np.testing.assert_array_equal(masks.array, [labels == k for k in (1, 2, 3, 4)])
    assert series == truth.datasets[0].SeriesInstanceUID
    assert masks.grid == grid
    assert schema.exclusive
    assert schema.names == EXCLUSIVE.names
    assert [s.values for s in schema.structures] == [(1,), (2,), (3,), (4,)]
    assert schema["nodule"].code == EXCLUSIVE["nodule"].code
    assert schema["body"].code == Code("85756007", "SCT", "Tissue")
    assert schema["lung_left"].mirror == "lung_right"
    assert np.abs(np.subtract(schema["lung_left"].colour, (200, 30, 40))).max() <= 1
    np.testing.assert_array_equal(read_seg_labels(path, grid=grid)[0].array[0], labels)


def test_overlapping_round_trip_with_unannotated_voxels(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    masks = np.random.default_rng(1).integers(0, 2, (2, *grid.shape)).astype(np.uint8)
    masks[1, 2] = 255
    write_seg(tmp_path / "s.dcm", Volume(masks, grid), OVERLAPPING, truth.files, **BY)
    found, schema, _ = read_seg(tmp_path / "s.dcm", grid=grid)
    np.testing.assert_array_equal(found.array, masks == 1)
    assert not schema.exclusive
    with pytest.raises(LabelError, match="overlaps another"):
        read_seg_labels(tmp_path / "s.dcm", grid=grid)


def test_one_boolean_mask(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    mask = _labels(grid) > 1
    for exclusive in (True, False):
        schema = LabelSchema((Structure("liver", (1,), LIVER),), exclusive=exclusive)
        write_seg(tmp_path / "s.dcm", Volume(mask, grid), schema, truth.files, **BY)
        np.testing.assert_array_equal(read_seg(tmp_path / "s.dcm", grid=grid)[0].array[0], mask)


def test_highdicom_reads_the_same(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series, across=(0.6, 0.8, 0), down=(0, 0, -1))
    labels = _labels(grid)
    write_seg(tmp_path / "s.dcm", Volume(labels, grid, "label"), EXCLUSIVE, truth.files, **BY)
    volume = hd.seg.segread(tmp_path / "s.dcm").get_volume(combine_segments=True, allow_missing_positions=True)
    index = np.argwhere(labels > 0)
    theirs = np.rint(volume.map_reference_to_indices(grid.to_world(index))).astype(int)
    np.testing.assert_array_equal(volume.array[tuple(theirs.T)], labels[tuple(index.T)])
    assert (volume.array > 0).sum() == len(index)


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), [0]), ((2, 1, 0), [1]), ((1, 2, 0), [0, 2])])
def test_masks_in_any_axis_order_are_matched_by_position(
    make_series: Make, tmp_path: Path, order: tuple[int, int, int], flips: list[int]
) -> None:
    truth, grid = _source(make_series)
    volume = Volume(_labels(grid), grid, "label")
    write_seg(tmp_path / "s.dcm", volume.permute(order).flip(flips), EXCLUSIVE, truth.files, **BY)
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=grid)[0].array, volume.array)
    turned = grid.permute(order).flip(flips)
    np.testing.assert_array_equal(
        read_seg_labels(tmp_path / "s.dcm", grid=turned)[0].array, volume.permute(order).flip(flips).array
    )


def test_nothing_found_at_all(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    write_seg(tmp_path / "s.dcm", Volume(np.zeros(grid.shape, np.uint8), grid), EXCLUSIVE, truth.files, **BY)
    masks, schema, _ = read_seg(tmp_path / "s.dcm", grid=grid)
    assert (masks.array.sum(), masks.array.shape) == (0, (4, *grid.shape))
    assert schema.names == EXCLUSIVE.names


def test_header_alone(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    write_seg(tmp_path / "s.dcm", Volume(_labels(grid), grid, "label"), EXCLUSIVE, truth.files, **BY)
    header = seg_header(tmp_path / "s.dcm")
    assert (header.kind, header.series) == ("BINARY", truth.datasets[0].SeriesInstanceUID)
    assert header.schema.names == EXCLUSIVE.names
    assert set(header.instances) <= {d.SOPInstanceUID for d in truth.datasets}
    written = dcmread(tmp_path / "s.dcm")
    for keyword in ("PatientID", "StudyInstanceUID", "AccessionNumber", "FrameOfReferenceUID"):
        assert written[keyword].value == truth.datasets[0][keyword].value
    item = written.SegmentSequence[0]
    assert (item.SegmentAlgorithmType, item.SegmentAlgorithmName) == ("AUTOMATIC", "model")
    assert item.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    assert written.SegmentSequence[2].SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"


def test_without_the_source_grid_the_masks_span_their_frames(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    labels = _labels(grid)
    labels[3] = 0  # a gap inside
    write_seg(tmp_path / "s.dcm", Volume(labels, grid, "label"), EXCLUSIVE, truth.files, **BY)
    found = read_seg_labels(tmp_path / "s.dcm")[0]
    assert found.grid.is_close(grid.crop((1, 0, 0), (5, 5, 7)))
    np.testing.assert_array_equal(found.array[0], labels[1:5])


def test_other_grids_are_refused(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    masks = Volume(_labels(grid), grid, "label")
    other = grid.crop((0, 0, 0), (6, 5, 6))
    with pytest.raises(GeometryError, match=r"shape \(6, 5, 6\) against \(6, 5, 7\)"):
        write_seg(tmp_path / "s.dcm", masks.crop((0, 0, 0), (6, 5, 6)), EXCLUSIVE, truth.files, **BY)
    moved = Grid(grid.shape, _moved(grid, 0.3))
    with pytest.raises(GeometryError, match=r"0\.3 mm apart"):
        write_seg(tmp_path / "s.dcm", Volume(masks.array, moved), EXCLUSIVE, truth.files, **BY)
    assert not (tmp_path / "s.dcm").exists()

    write_seg(tmp_path / "s.dcm", masks, EXCLUSIVE, truth.files, **BY)
    for wrong, words in (
        (other, "outside the images"),
        (Grid(grid.shape, _moved(grid, 0.3), grid.frame), "off the voxels"),
        (grid.respaced((2.5, 0.35, 0.9)), "PixelSpacing"),
        (Grid(grid.shape, grid.affine, "1.2.3"), "frame of reference"),
    ):
        with pytest.raises(GeometryError, match=words):
            read_seg(tmp_path / "s.dcm", grid=wrong)


def _moved(grid: Grid, by_mm: float) -> np.ndarray:
    affine = grid.affine.copy()
    affine[0, 3] += by_mm
    return affine


def test_masks_that_do_not_fit_the_schema(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)

    def write(array: np.ndarray, schema: LabelSchema = EXCLUSIVE) -> None:
        write_seg(tmp_path / "s.dcm", Volume(array, grid), schema, truth.files, **BY)

    with pytest.raises(LabelError, match="3 channels, the schema has 4"):
        write(np.zeros((3, *grid.shape), np.uint8))
    with pytest.raises(LabelError, match="value 7, at most 4"):
        write(np.full(grid.shape, 7, np.uint8))
    with pytest.raises(LabelError, match="may overlap"):
        write(np.zeros(grid.shape, np.uint8), OVERLAPPING)
    with pytest.raises(LabelError, match="float32"):
        write(np.zeros(grid.shape, np.float32))
    with pytest.raises(LabelError, match="at most"):
        write(np.full((4, *grid.shape), 2, np.int16))


def test_sources_that_are_not_one_volume(make_series: Make, tmp_path: Path) -> None:
    truth, grid = _source(make_series)
    other = make_series()
    masks = Volume(_labels(grid), grid, "label")
    (tmp_path / "t.txt").write_text("x")

    def write(files: list[Any]) -> None:
        write_seg(tmp_path / "s.dcm", masks, EXCLUSIVE, files, **BY)

    with pytest.raises(SeriesError, match="2 series"):
        write([*truth.files, *other.files])
    with pytest.raises(GeometryError, match="missing"):
        write_seg(
            tmp_path / "s.dcm", masks.crop((1, 0, 0), grid.shape), EXCLUSIVE, truth.files[:2] + truth.files[3:], **BY
        )
    with pytest.raises(SeriesError, match="not a DICOM file"):
        write([tmp_path / "t.txt"])
    with pytest.raises(ConfigError, match="none are given"):
        write([])


def test_source_without_uids_or_persons(make_series: Make, tmp_path: Path) -> None:
    def strip(z: int, ds: Dataset) -> None:
        del ds.PatientName, ds.PatientBirthDate, ds.PatientSex, ds.StudyID, ds.AccessionNumber
        del ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName, ds.Laterality, ds.PositionReferenceIndicator

    truth, grid = _source(make_series, edit=strip)
    masks = Volume(_labels(grid), grid, "label")
    write_seg(tmp_path / "s.dcm", masks, EXCLUSIVE, truth.files, **BY)
    blank, _ = _source(make_series, edit=lambda z, ds: setattr(ds, "SeriesInstanceUID", ""))
    with pytest.raises(SeriesError, match=r"SeriesInstanceUID \(0020,000E\) is absent"):
        write_seg(tmp_path / "t.dcm", masks, EXCLUSIVE, blank.files, **BY)
