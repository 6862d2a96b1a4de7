"""Where the frames of a segmentation lie: tilted, unevenly spaced, resampled and multi-frame sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from isocenter.io.dicom import find_series, read_seg, read_seg_labels, write_seg
from isocenter.io.dicom.stack import GeometryPolicy
from isocenter.records import GeometryError, LabelSchema, SeriesError
from isocenter.volume import Grid, Volume

Make = Callable[..., Any]
SCHEMA = LabelSchema.of({"a": 1, "b": 2})
BY = {"algorithm_name": "model", "algorithm_version": "1.0"}
TILTED = (0.0, 0.7, 2.4)


def _labels(shape: tuple[int, ...]) -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, 3, shape).astype(np.uint8)
    labels[[0, 3]] = 0
    return labels


def _stated(path: Path) -> dict[tuple[float, ...], np.ndarray]:
    """Pixels of every frame of a label map by the position it states, read by highdicom."""
    seg = hd.seg.segread(path)
    places = [f.PlanePositionSequence[0].ImagePositionPatient for f in seg.PerFrameFunctionalGroupsSequence]
    return {
        tuple(round(float(v), 4) for v in place): seg.get_frame(number, apply_real_world_transform=False)
        for number, place in enumerate(places, 1)
    }


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_gantry_tilt_is_exact(make_series: Make, tmp_path: Path, kind: Any) -> None:
    truth = make_series(step=TILTED)
    stack = find_series(truth.folder)[0].stack()
    labels = _labels(stack.grid().shape)
    write_seg(tmp_path / "s.dcm", Volume(labels, stack.grid()), SCHEMA, truth.files, kind=kind, **BY)
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=stack.grid())[0].array[0], labels)
    own = read_seg_labels(tmp_path / "s.dcm")[0]  # sheared like its source
    start = 1 if kind == "binary" else 0
    assert own.grid.is_close(stack.grid().crop((start, 0, 0), stack.grid().shape))
    np.testing.assert_array_equal(own.array[0], labels[start:])


def test_each_frame_states_the_place_of_its_slice(make_series: Make, tmp_path: Path) -> None:
    steps = np.cumsum([0, 1, 2.5, 1, 4, 1.5])

    def place(z: int, ds: Any) -> None:
        ds.ImagePositionPatient = [-100.25, -80.5, round(20.125 + steps[z], 4)]

    truth = make_series(edit=place)
    stack = find_series(truth.folder)[0].stack()
    labels = _labels((6, 5, 7))
    write_seg(tmp_path / "s.dcm", labels, SCHEMA, stack, kind="labelmap", **BY)
    found = _stated(tmp_path / "s.dcm")
    assert len(found) == 6
    for dataset, plane in zip(truth.datasets, labels, strict=True):
        np.testing.assert_array_equal(found[tuple(float(v) for v in dataset.ImagePositionPatient)], plane)
    with pytest.raises(GeometryError, match="6 frames lie on no regular grid"):
        read_seg(tmp_path / "s.dcm")
    with pytest.raises(GeometryError, match=r"shape \(5, 5, 7\) are not on the 6 slices of 5 x 7"):
        write_seg(tmp_path / "t.dcm", labels[:5], SCHEMA, stack, **BY)
    written = dcmread(tmp_path / "s.dcm")
    assert "SpacingBetweenSlices" not in written.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    instances = [
        f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for f in written.PerFrameFunctionalGroupsSequence
    ]
    assert instances == [d.SOPInstanceUID for d in truth.datasets]


@pytest.mark.parametrize(
    ("policy", "change"),
    [
        (GeometryPolicy(spacing="resample"), "spacing"),
        (GeometryPolicy(missing="fill"), "missing"),
        (GeometryPolicy(tilt="rectify"), "tilt"),
    ],
)
def test_masks_on_a_resampled_source(make_series: Make, tmp_path: Path, policy: GeometryPolicy, change: str) -> None:
    def place(z: int, ds: Any) -> None:
        if change == "spacing" and z == 5:
            ds.ImagePositionPatient[2] += 1

    truth = make_series(edit=place, step=TILTED if change == "tilt" else 2.5)
    files = truth.files[:2] + truth.files[3:] if change == "missing" else truth.files
    for file in set(truth.files) - set(files):
        Path(file).unlink()
    grid = find_series(truth.folder)[0].stack().grid(policy)
    labels = _labels(grid.shape)
    write_seg(tmp_path / "s.dcm", Volume(labels, grid), SCHEMA, files, kind="labelmap", **BY)
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=grid)[0].array[0], labels)
    written = dcmread(tmp_path / "s.dcm")
    drawn = [bool(f.DerivationImageSequence) for f in written.PerFrameFunctionalGroupsSequence]
    # a frame names the image at its very place, where there is one
    expected = {"missing": [True, True, False, True, True, True], "tilt": [False] * len(drawn)}
    assert drawn == expected.get(change, drawn)
    assert len(written.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == len(files)


def test_frames_in_any_order(make_series: Make, tmp_path: Path) -> None:
    truth = make_series(across=(0.6, 0.8, 0), down=(0, 0, -1))
    grid = find_series(truth.folder)[0].stack().grid()
    labels = _labels(grid.shape)
    write_seg(tmp_path / "s.dcm", Volume(labels, grid), SCHEMA, truth.files, kind="labelmap", **BY)
    ds = dcmread(tmp_path / "s.dcm")
    pixels = ds.pixel_array
    order = [3, 0, 5, 1, 4, 2]
    ds.PerFrameFunctionalGroupsSequence = [ds.PerFrameFunctionalGroupsSequence[i] for i in order]
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.PixelData = pixels[order].tobytes()
    ds["PixelData"].is_undefined_length = False
    ds.save_as(tmp_path / "s.dcm")
    for target in (None, grid):
        found = read_seg_labels(tmp_path / "s.dcm", grid=target)[0]
        np.testing.assert_array_equal(found.array[0], labels)
        assert found.grid.is_close(grid)


def test_frames_that_are_parts_of_slices(make_series: Make, tmp_path: Path) -> None:
    truth = make_series()
    grid = find_series(truth.folder)[0].stack().grid()
    labels = _labels(grid.shape)
    part = Volume(labels, grid).crop((1, 1, 2), (6, 4, 6))
    write_seg(tmp_path / "s.dcm", Volume(labels, grid), SCHEMA, truth.files, kind="labelmap", **BY)
    ds = dcmread(tmp_path / "s.dcm")
    ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[1:]
    ds.Rows, ds.Columns, ds.NumberOfFrames = 3, 4, 5
    for z, item in enumerate(ds.PerFrameFunctionalGroupsSequence):
        item.PlanePositionSequence[0].ImagePositionPatient = part.grid.to_world([z, 0, 0]).round(6).tolist()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.PixelData = part.array.tobytes()
    ds["PixelData"].is_undefined_length = False
    ds.save_as(tmp_path / "s.dcm")
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm")[0].array, part.array)
    whole = np.zeros(grid.shape, np.uint8)
    whole[1:, 1:4, 2:6] = part.array[0]
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=grid)[0].array[0], whole)


def _multi_frame(make_series: Make, tmp_path: Path) -> tuple[Path, Grid]:
    """A series as one multi-frame file, made by highdicom."""
    truth = make_series()
    grid = find_series(truth.folder)[0].stack().grid()
    path = tmp_path / "multi.dcm"
    hd.legacy.LegacyConvertedEnhancedCTImage(truth.datasets[::-1], hd.UID(), 5, hd.UID(), 1).save_as(path)
    return path, grid


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_multi_frame_source(make_series: Make, tmp_path: Path, kind: Any) -> None:
    path, grid = _multi_frame(make_series, tmp_path)
    labels = _labels(grid.shape)
    array = np.stack([labels == 1, labels == 2]).astype(np.float32) if kind == "fractional" else labels
    write_seg(tmp_path / "s.dcm", Volume(array, grid), SCHEMA, [path], kind=kind, **BY)
    masks, _, series = read_seg(tmp_path / "s.dcm", grid=grid, threshold=0.5)
    np.testing.assert_array_equal(masks.array, [labels == 1, labels == 2])
    source = dcmread(path)
    assert series == source.SeriesInstanceUID
    for frame in dcmread(tmp_path / "s.dcm").PerFrameFunctionalGroupsSequence:
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        drawn_on = source.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        place, theirs = (f.PlanePositionSequence[0].ImagePositionPatient for f in (frame, drawn_on))
        np.testing.assert_allclose(place, theirs, atol=1e-9)


def test_the_stack_is_told_where_the_files_hold_several(make_series: Make, tmp_path: Path) -> None:
    def time(z: int, ds: Any) -> None:
        ds.ImagePositionPatient[2] = 20.125 + 2.5 * (z % 3)
        ds.AcquisitionTime, ds.AcquisitionNumber = f"12000{z // 3}", z // 3 + 1

    truth = make_series(edit=time)
    stacks = find_series(truth.folder)[0].stacks()
    assert len(stacks) == 2
    grid = stacks[1].grid()
    masks = Volume(_labels((4, 5, 7))[:3], grid)
    with pytest.raises(SeriesError, match="the source holds 2 volumes on these voxels"):
        write_seg(tmp_path / "s.dcm", masks, SCHEMA, truth.files, **BY)
    write_seg(tmp_path / "s.dcm", masks, SCHEMA, stacks[1], **BY)
    referenced = dcmread(tmp_path / "s.dcm").ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {i.ReferencedSOPInstanceUID for i in referenced} == {h.text("SOPInstanceUID") for h in stacks[1].headers}


def test_what_cannot_be_referred_to(make_series: Make, tmp_path: Path) -> None:
    for keyword, tag in (("FrameOfReferenceUID", "0020,0052"), ("SeriesInstanceUID", "0020,000E")):
        truth = make_series(edit=lambda z, ds, k=keyword: setattr(ds, k, ""))
        with pytest.raises(SeriesError, match=rf"{keyword} \({tag}\) is absent"):
            write_seg(tmp_path / "s.dcm", np.zeros((6, 5, 7), np.uint8), SCHEMA, truth.files, **BY)
