"""Segmentations by other writers, damaged ones, and real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sr.codedict import codes

from isocenter.io.dicom import Stack, find_series, read_seg, read_seg_fractions, read_seg_labels, seg_header, write_seg
from isocenter.records import (
    FileFormatError,
    IsocenterError,
    LabelSchema,
    SeriesError,
)
from isocenter.volume import Grid, Volume

Make = Callable[..., Any]
SCHEMA = LabelSchema.of({"a": 1, "b": 2, "c": 3, "d": 4})
BY = {"algorithm_name": "model", "algorithm_version": "1.0"}


def _source(make_series: Make, **kwargs: Any) -> tuple[Any, Grid]:
    truth = make_series(**kwargs)
    return truth, find_series(truth.folder)[0].stack().grid()


def _labels(grid: Grid, top: int = 4) -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, top + 1, grid.shape).astype(np.uint8)
    labels[labels == 3] = 0  # the third structure is empty
    labels[[0, -1]] = 0  # and so are the outer slices
    return labels


def _by_highdicom(files: list[str], pixels: np.ndarray, kind: str, **kwargs: Any) -> Any:
    descriptions = [
        hd.seg.SegmentDescription(
            k, f"thing {k % 2}", codes.SCT.Organ, codes.SCT.Liver, "MANUAL", tracking_uid=hd.UID(), tracking_id="a"
        )
        for k in range(1, 4)
    ]
    return hd.seg.Segmentation(
        [dcmread(f) for f in files],
        pixels,
        kind,
        descriptions,
        hd.UID(),
        1,
        hd.UID(),
        1,
        "m",
        "m",
        "1",
        "1",
        **kwargs,
    )


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"])
@pytest.mark.parametrize("omit", [True, False])
def test_segmentations_of_highdicom(make_series: Make, tmp_path: Path, kind: str, syntax: str, omit: bool) -> None:
    truth, grid = _source(make_series)
    labels = _labels(grid, top=3)
    if kind == "BINARY" and syntax.endswith("2.5"):
        syntax = "1.2.840.10008.1.2"  # one-bit frames cannot be RLE-coded
    seg = _by_highdicom(truth.files, labels, kind, transfer_syntax_uid=syntax, omit_empty_frames=omit)
    seg.save_as(tmp_path / "s.dcm")
    masks, schema, _ = read_seg(tmp_path / "s.dcm", grid=grid)
    np.testing.assert_array_equal(masks.array, [labels == k for k in (1, 2, 3)])
    assert schema.names == ("thing_1", "thing_0", "thing_1_3")
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=grid)[0].array[0], labels)


def test_what_is_not_a_segmentation(make_series: Make, tmp_path: Path) -> None:
    truth, _ = _source(make_series)
    with pytest.raises(SeriesError, match="is CT, not a segmentation"):
        read_seg(truth.files[0])
    (tmp_path / "x.dcm").write_text("hello")
    with pytest.raises(FileFormatError, match="not a DICOM file"):
        seg_header(tmp_path / "x.dcm")
    with pytest.raises(FileFormatError, match="cannot be read"):
        seg_header(tmp_path / "none.dcm")


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_damage_anywhere_is_typed(make_series: Make, tmp_path: Path, kind: Any) -> None:
    truth, grid = _source(make_series)
    labels = _labels(grid)
    array = np.stack([labels == k for k in (1, 2, 3, 4)]) * np.float32(0.7) if kind == "fractional" else labels
    write_seg(tmp_path / "s.dcm", Volume(array, grid), SCHEMA, truth.files, kind=kind, **BY)
    data = (tmp_path / "s.dcm").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(120):
        bad = bytearray(data)
        if rng.random() < 0.3:
            bad = bad[: rng.integers(0, len(bad))]
        else:
            for at in rng.integers(132, len(bad), 3):
                bad[at] = rng.integers(0, 256)
        (tmp_path / "d.dcm").write_bytes(bad)
        try:
            read_seg(tmp_path / "d.dcm", grid=grid if rng.random() < 0.5 else None, threshold=0.5)
        except IsocenterError as error:
            assert "Canary" not in str(error)  # noqa: PT017


def _nrrd(path: Path) -> tuple[np.ndarray, Grid]:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(path))
    turn = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn[:, ::-1], image.GetOrigin()
    array = sitk.GetArrayFromImage(image)
    return array, Grid(array.shape, affine)


PARTS = [f"partial_overlaps-{k}.nrrd" for k in (1, 2, 3)]


@pytest.mark.real
@pytest.mark.parametrize(
    ("seg", "nrrds", "numbers"),
    [
        ("23x38x3/seg/label.seg", ["23x38x3/nrrd/label.nrrd"], [1]),
        ("24x38x3/seg/label.seg", ["24x38x3/nrrd/label.nrrd"], [1]),
        ("liver.dcm", ["liver_seg.nrrd"], [1]),
        ("partial_overlaps.dcm", PARTS, [1, 2, 3, 4, 5]),
        ("sparse-labelmap-noppv.dcm", ["sparse_labelmap_noppv_seg.nrrd"], [1]),
        ("sparse-labelmap-ppv5.dcm", ["sparse_labelmap_ppv5_seg.nrrd"], [1]),
    ],
)
def test_dcmqi_cases_are_voxel_exact(real_data: Any, seg: str, nrrds: list[str], numbers: list[int]) -> None:
    """Voxels of the NRRD with the number of a segment are those of the segment, and both lie at the same places."""
    folder = real_data("dcmqi_seg_paramap_sr") / "data" / "segmentations"
    arrays = [_nrrd(folder / name) for name in nrrds]
    grid = arrays[0][1]
    assert all(other.is_close(grid) for _, other in arrays)
    expected = np.stack([np.any([array == number for array, _ in arrays], axis=0) for number in numbers])
    assert expected.any(axis=(1, 2, 3)).all()
    masks, schema, series = read_seg(folder / seg, grid=grid)
    assert series
    assert [s.values for s in schema.structures] == [(n,) for n in numbers]
    np.testing.assert_array_equal(masks.array, expected)
    # without the grid of the NRRD: slices from the first to the last with a frame, at the very same places
    own = read_seg(folder / seg)[0]
    first = round(float(grid.to_index(own.grid.origin_mm)[0]))
    part = Volume(expected, grid).crop((first, 0, 0), (first + own.grid.shape[0], *grid.shape[1:]))
    assert own.grid.difference(part.grid, tolerance_mm=1e-3) is None
    np.testing.assert_array_equal(own.array, part.array)
    assert own.array.sum() == expected.sum()


@pytest.mark.real
def test_highdicom_files_on_their_source(real_data: Any) -> None:
    folder = real_data("highdicom_test_files") / "data" / "test_files"
    names = ("binary", "binary_overlap", "binary_fractional", "true_fractional")
    for name in (f"seg_image_ct_{kind}.dcm" for kind in names):
        masks, schema, _ = read_seg_fractions(folder / name)
        theirs = hd.seg.segread(folder / name).get_volume(allow_missing_positions=True)
        index = np.argwhere(masks.array > 0)
        place = np.rint(theirs.map_reference_to_indices(masks.grid.to_world(index[:, 1:]))).astype(int)
        np.testing.assert_allclose(theirs.array[(*place.T, index[:, 0])], masks.array[tuple(index.T)], atol=1e-7)
        assert (theirs.array > 0).sum() == len(index) > 0
        assert len(schema) == theirs.array.shape[-1]
    for name in ("seg_image_cr_binary", "seg_image_sm_dots", "seg_image_sm_control", "seg_image_sm_control_labelmap"):
        with pytest.raises(SeriesError, match="patient space"):
            read_seg(folder / f"{name}.dcm")
    for name in ("seg_image_sm_dots_tiled_full", "seg_image_sm_control_labelmap_palette_color"):
        with pytest.raises(SeriesError, match=r"DimensionOrganizationType \(0020,9311\) is TILED_.*tiles of a slide"):
            read_seg(folder / f"{name}.dcm")


@pytest.mark.real
def test_segmentation_of_a_real_series(real_data: Any, dciodvfy_errors: Any, tmp_path: Path) -> None:
    series = find_series(real_data("sarcoma_pet_ct_mr") / "dicom" / "STS_008" / "CT" / "image")[0]
    stack: Stack = series.stack()
    volume = stack.volume()
    labels = (volume.array[0] > -300).astype(np.uint8) + (volume.array[0] > 200)
    schema = LabelSchema.of({"soft_tissue": 1, "bone": 2})
    write_seg(tmp_path / "s.dcm", Volume(labels, volume.grid, "label"), schema, series.files, **BY)
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=stack.grid())[0].array[0], labels)
    assert dciodvfy_errors(tmp_path / "s.dcm") == []


@pytest.mark.real
@pytest.mark.parametrize(
    "folder",
    [
        "dcm_qa_ct/In/GE",  # gantry tilt and slice gaps from 1.1 to 7 mm
        "dcm_qa_enh_multiframe/In/Philips",  # one multi-frame file, several times
        "dcm_qa_enh_multiframe/In/Siemens/XA10",
        "dcm_qa_nih/In/20180918Si/mr_0003",  # mosaics
        "dcmqi_seg_paramap_sr/data/segmentations/23x38x3/multiframe",  # a classic series converted to one file
    ],
)
def test_on_images_of_every_form(real_data: Any, dciodvfy_errors: Any, tmp_path: Path, folder: str) -> None:
    """Every frame states the place that the header of its image states, and holds what was drawn there."""
    name, _, rest = folder.partition("/")
    stack = find_series(real_data(name) / rest)[0].stacks()[-1]
    labels = np.random.default_rng(0).integers(0, 3, (len(stack), *stack.planes.shape)).astype(np.uint8)
    labels[::3] = 0
    regular = not stack.problems()
    masks = Volume(labels, stack.grid()) if regular else labels
    write_seg(tmp_path / "s.dcm", masks, LabelSchema.of({"a": 1, "b": 2}), stack, **BY)
    ds = dcmread(tmp_path / "s.dcm")
    places = np.array([f.PlanePositionSequence[0].ImagePositionPatient for f in ds.PerFrameFunctionalGroupsSequence])
    numbers = [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in ds.PerFrameFunctionalGroupsSequence]
    expected = [(k, z) for k in (1, 2) for z in range(len(stack)) if (labels[z] == k).any()]
    assert numbers == [k for k, _ in expected]
    stated = np.array([stack.headers[z].numbers("ImagePositionPatient", 3) for _, z in expected])
    assert np.abs(places - stated).max() < 1e-6
    np.testing.assert_array_equal(ds.pixel_array, [labels[z] == k for k, z in expected])
    assert dciodvfy_errors(tmp_path / "s.dcm") == []
    if regular:
        np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=stack.grid())[0].array[0], labels)
