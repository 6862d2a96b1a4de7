"""What a segmentation says of a voxel: masks, labels, fractions; written, and read by highdicom and by us."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sr.codedict import codes

from isocenter.io.dicom import find_series, read_seg, read_seg_fractions, read_seg_labels, seg_header, write_seg
from isocenter.records import Code, ConfigError, FileFormatError, LabelError, LabelSchema, SeriesError, Structure
from isocenter.volume import Grid, Volume

Make = Callable[..., Any]
SCHEMA = LabelSchema(
    (
        Structure("lung_left", (1,), Code("39607008", "SCT", "Lung"), mirror="lung_right", colour=(200, 30, 40)),
        Structure("lung_right", (2,), Code("39607008", "SCT", "Lung"), mirror="lung_left"),
        Structure("nodule", (5,)),
    )
)
MASKS = LabelSchema(SCHEMA.structures, exclusive=False)
BY = {"algorithm_name": "model", "algorithm_version": "1.0"}


@pytest.fixture
def source(make_series: Make) -> tuple[list[str], Grid]:
    truth = make_series()
    return truth.files, find_series(truth.folder)[0].stack().grid()


def _labels(grid: Grid) -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, 4, grid.shape).astype(np.uint8)
    labels[[0, 2]] = 0
    labels[labels == 2] = 0
    return labels


def _theirs(path: Path, grid: Grid, **kwargs: Any) -> np.ndarray:
    """What highdicom reads, ``(slice, row, column[, segment])`` on ``grid``; what it has no frame for is 0."""
    volume = hd.seg.segread(path).get_volume(allow_missing_positions=True, **kwargs)
    out = np.zeros((*grid.shape, *volume.array.shape[3:]), volume.array.dtype)
    index = np.stack(np.meshgrid(*map(np.arange, volume.spatial_shape), indexing="ij"), -1).reshape(-1, 3)
    place = np.rint(grid.to_index(volume.map_indices_to_reference(index))).astype(int)
    out[tuple(place.T)] = volume.array[tuple(index.T)]
    return out


def test_fractions_are_kept_to_1_in_510(source: Any, tmp_path: Path) -> None:
    files, grid = source
    probability = np.random.default_rng(0).random((3, *grid.shape)).astype(np.float32)
    probability[0, 1, 1] = [0, 1, 0.5, 1 / 510, 3 / 510, 0.001, 0.999]
    probability[:, 4] = 0
    write_seg(tmp_path / "s.dcm", Volume(probability, grid, "probability"), MASKS, files, kind="fractional", **BY)
    found, schema, _ = read_seg_fractions(tmp_path / "s.dcm", grid=grid)
    assert (found.array.dtype, found.unit) == (np.float32, "probability")
    assert np.abs(found.array.astype(float) - probability).max() <= 1 / 510 + 1e-7
    assert (schema.names, schema.exclusive) == (SCHEMA.names, False)
    assert (seg_header(tmp_path / "s.dcm").kind, seg_header(tmp_path / "s.dcm").fractional) == (
        "FRACTIONAL",
        "PROBABILITY",
    )
    np.testing.assert_allclose(np.moveaxis(_theirs(tmp_path / "s.dcm", grid), -1, 0), found.array, atol=1e-7)
    assert len(dcmread(tmp_path / "s.dcm").PerFrameFunctionalGroupsSequence) == 3 * (len(found.array[0]) - 1)


def test_fractions_become_masks_only_when_asked(source: Any, tmp_path: Path) -> None:
    files, grid = source
    probability = np.zeros((3, *grid.shape), np.float32)
    probability[1, 2, 3, :4] = [127 / 255, 128 / 255, 1, 0.2]
    path = tmp_path / "s.dcm"
    write_seg(path, Volume(probability, grid), MASKS, files, kind="fractional", **BY)
    for read in (read_seg, read_seg_labels):
        with pytest.raises(SeriesError, match=r"SegmentationType \(0062,0001\) is FRACTIONAL.*threshold=0.5"):
            read(path, grid=grid)
    for threshold, inside in ((0.5, [0, 1, 1, 0]), (0.2, [1, 1, 1, 1]), (1.0, [0, 0, 1, 0])):
        masks, _, _ = read_seg(path, grid=grid, threshold=threshold)
        assert masks.array[1, 2, 3, :4].tolist() == inside
        assert masks.array.sum() == sum(inside)
    for threshold in (0, 1.5, -1):
        with pytest.raises(ConfigError, match="above 0 and up to 1"):
            read_seg(path, threshold=threshold)


def test_masks_are_fractions_of_0_and_1(source: Any, tmp_path: Path) -> None:
    files, grid = source
    labels = _labels(grid)
    for kind in ("binary", "labelmap"):
        write_seg(tmp_path / "s.dcm", Volume(labels, grid), SCHEMA, files, kind=kind, **BY)
        found, _, _ = read_seg_fractions(tmp_path / "s.dcm", grid=grid)
        np.testing.assert_array_equal(found.array, np.stack([labels == k for k in (1, 2, 3)]).astype(np.float32))
        assert seg_header(tmp_path / "s.dcm").fractional == ""


def test_probabilities_that_are_none(source: Any, tmp_path: Path) -> None:
    files, grid = source
    array = np.full((3, *grid.shape), 0.5, np.float32)

    def write(array: np.ndarray, kind: Any = "fractional") -> None:
        write_seg(tmp_path / "s.dcm", Volume(array, grid), MASKS, files, kind=kind, **BY)

    for wrong in (np.nan, 1.01, -0.1, np.inf):
        bad = array.copy()
        bad[2, 5, 4, 6] = wrong
        with pytest.raises(LabelError, match="must be from 0 to 1"):
            write(bad)
    with pytest.raises(LabelError, match="uint8, probabilities"):
        write(array.astype(np.uint8))
    with pytest.raises(LabelError, match="2 channels, the schema has 3"):
        write(array[:2])
    with pytest.raises(ConfigError, match="kind 'bits' of segmentation is not known; there are binary, fractional"):
        write(array, "bits")
    assert not (tmp_path / "s.dcm").exists()
    write(array + np.float32(0.5 + 1e-7))  # rounding of a softmax


def test_label_map_round_trip(source: Any, tmp_path: Path) -> None:
    files, grid = source
    labels = _labels(grid)
    labels[5, 0, :3] = 255
    path = tmp_path / "s.dcm"
    write_seg(path, Volume(labels, grid, "label"), SCHEMA, files, kind="labelmap", **BY)
    clean = np.where(labels == 255, 0, labels)
    found, schema, _ = read_seg_labels(path)  # all its frames are there, so that it has the grid of its source
    assert found.grid.is_close(grid)
    np.testing.assert_array_equal(found.array[0], clean)
    np.testing.assert_array_equal(read_seg(path, grid=grid)[0].array, [clean == k for k in (1, 2, 3)])
    assert schema.exclusive
    assert (schema.names, schema["lung_left"].code) == (SCHEMA.names, SCHEMA["lung_left"].code)
    np.testing.assert_array_equal(_theirs(path, grid, combine_segments=True), clean)
    written = dcmread(path)
    assert (written.SOPClassUID, written.SegmentationType) == ("1.2.840.10008.5.1.4.1.1.66.7", "LABELMAP")
    assert (written.PixelPaddingValue, written.file_meta.TransferSyntaxUID) == (0, "1.2.840.10008.1.2.5")


def test_label_map_from_masks_that_do_not_meet(source: Any, tmp_path: Path) -> None:
    files, grid = source
    labels = _labels(grid)
    masks = np.stack([labels == k for k in (1, 2, 3)])
    write_seg(tmp_path / "s.dcm", Volume(masks, grid), MASKS, files, kind="labelmap", **BY)
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=grid)[0].array[0], labels)
    masks[0, 3, 2, 2] = masks[2, 3, 2, 2] = True
    with pytest.raises(LabelError, match="structures overlap, which a label map cannot hold"):
        write_seg(tmp_path / "s.dcm", Volume(masks, grid), MASKS, files, kind="labelmap", **BY)


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_nothing_found(source: Any, tmp_path: Path, kind: Any) -> None:
    files, grid = source
    array = np.zeros((3, *grid.shape), np.float32 if kind == "fractional" else np.uint8)
    write_seg(tmp_path / "s.dcm", Volume(array, grid), MASKS, files, kind=kind, **BY)
    found, schema, _ = read_seg_fractions(tmp_path / "s.dcm")
    assert found.grid.is_close(grid)
    assert found.array.sum() == 0
    assert schema.names == SCHEMA.names


def test_overlap_is_told(source: Any, tmp_path: Path) -> None:
    files, grid = source
    masks = np.zeros((3, *grid.shape), bool)
    masks[0, 1, :2], masks[1, 1, 3:] = True, True
    for expected in ("NO", "YES"):
        write_seg(tmp_path / "s.dcm", Volume(masks, grid), MASKS, files, **BY)
        assert dcmread(tmp_path / "s.dcm").SegmentsOverlap == expected
        assert seg_header(tmp_path / "s.dcm").schema.exclusive == (expected == "NO")
        masks[2, 1, 1, 1] = True


def test_only_the_structures_asked_for(source: Any, tmp_path: Path) -> None:
    files, grid = source
    labels = _labels(grid)
    for kind in ("binary", "labelmap"):
        write_seg(tmp_path / "s.dcm", Volume(labels, grid, "label"), SCHEMA, files, kind=kind, **BY)
        found, schema, _ = read_seg(tmp_path / "s.dcm", grid=grid, structures=["nodule", "lung_left"])
        np.testing.assert_array_equal(found.array, [labels == 3, labels == 1])
        assert (schema.names, schema["lung_left"].mirror) == (("nodule", "lung_left"), None)
        with pytest.raises(LabelError, match="no structure 'heart'"):
            read_seg(tmp_path / "s.dcm", structures=["heart"])


def _fractional(files: list[str], pixels: np.ndarray, **kwargs: Any) -> Any:
    segment = hd.seg.SegmentDescription(1, "liver", codes.SCT.Organ, codes.SCT.Liver, "MANUAL")
    images = [dcmread(f) for f in files]
    by = (hd.UID(), 1, hd.UID(), 1, "m", "m", "1", "1")
    return hd.seg.Segmentation(images, pixels, "FRACTIONAL", [segment], *by, **kwargs)


def test_fractions_by_others(source: Any, tmp_path: Path) -> None:
    files, grid = source
    fraction = np.random.default_rng(3).random((*grid.shape, 1))
    path = tmp_path / "s.dcm"
    seg = _fractional(files, fraction, fractional_type="OCCUPANCY", max_fractional_value=100)
    seg.save_as(path)
    assert seg_header(path).fractional == "OCCUPANCY"
    found, _, _ = read_seg_fractions(path, grid=grid)
    np.testing.assert_allclose(found.array[0], np.rint(fraction[..., 0] * 100) / 100, atol=1e-7)

    seg.MaximumFractionalValue = 90
    seg.save_as(path)
    with pytest.raises(FileFormatError, match=r"has the value \d+, MaximumFractionalValue \(0062,000E\) is 90"):
        read_seg_fractions(path, grid=grid)
    for wrong in (0, 256):
        seg.MaximumFractionalValue = wrong
        seg.save_as(path)
        with pytest.raises(SeriesError, match=rf"MaximumFractionalValue \(0062,000E\) is {wrong}"):
            read_seg_fractions(path, grid=grid)
    del seg.MaximumFractionalValue
    seg.save_as(path)
    with pytest.raises(SeriesError, match=r"MaximumFractionalValue \(0062,000E\) is absent"):
        read_seg(path, grid=grid, threshold=0.5)
