"""Contours as others write them, to voxels; or refused by name."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid

from isocenter.errors import ConfigError, FileFormatError, GeometryError, IsocenterError, LabelError, SeriesError
from isocenter.io.dicom import find_series
from isocenter.io.dicom.rtstruct import (
    ContourPolicy,
    contour_problems,
    read_rtstruct,
    read_rtstruct_labels,
    rtstruct_header,
)
from isocenter.volume import Grid

Make = Callable[..., Any]
Contour = Mapping[str, Any]
IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))


@pytest.fixture
def source(make_series: Make) -> tuple[Any, Grid]:
    """Six slices of 12 x 14."""
    truth = make_series(shape=(12, 14))
    return truth, find_series(truth.folder)[0].stack().grid()


def box(top: float, left: float, bottom: float, right: float) -> np.ndarray:
    """Corners round the voxels from ``(top, left)`` to before ``(bottom, right)``."""
    return np.array([[top, left], [top, right], [bottom, right], [bottom, left]]) - 0.5


def at(grid: Grid, z: float, corners: Any, **more: Any) -> Contour:
    """A contour on slice ``z`` by its rows and columns."""
    corners = np.asarray(corners, float)
    index = np.concatenate([np.full((len(corners), 1), float(z)), corners], axis=1)
    points = grid.to_world(index).ravel().tolist()
    return {"ContourGeometricType": "CLOSED_PLANAR", "ContourData": [f"{v:.6f}" for v in points], **more}


def write(
    path: Path,
    truth: Any,
    rois: Mapping[str, Sequence[Contour]],
    *,
    edit: Callable[[Dataset], Any] | None = None,
    syntax: str = IMPLICIT,
) -> Path:
    """A structure set with ROI numbers from 0."""
    image = truth.datasets[0]
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.481.3", generate_uid(), "RTSTRUCT"
    ds.PatientName, ds.PatientID, ds.StudyInstanceUID = image.PatientName, image.PatientID, image.StudyInstanceUID
    ds.SeriesInstanceUID, ds.StructureSetLabel = generate_uid(), "others"
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, series.ContourImageSequence = image.SeriesInstanceUID, [_image(d) for d in truth.datasets]
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = image.FrameOfReferenceUID, [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items()):
        region, drawn = Dataset(), Dataset()
        region.ROINumber, region.ROIName, region.ReferencedFrameOfReferenceUID = number, name, frame.FrameOfReferenceUID
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for contour in contours:
            item = Dataset()
            for keyword, value in contour.items():
                setattr(item, keyword, value)
            drawn.ContourSequence.append(item)
        ds.StructureSetROISequence.append(region)
        ds.ROIContourSequence.append(drawn)
    if edit is not None:
        edit(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return path


def _image(source: Dataset) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return image


def _ring(shape: Sequence[int]) -> np.ndarray:
    expected = np.zeros(shape, np.uint8)
    expected[2, 1:9, 2:12], expected[2, 3:6, 4:8] = 1, 0
    return expected


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_holes_in_every_notation(source: Any, tmp_path: Path, syntax: str) -> None:
    truth, grid = source
    outer, inner = box(1, 2, 9, 12), box(3, 4, 6, 8)
    keyhole = [*outer, outer[0], *inner, inner[0]]
    xor = {"ContourGeometricType": "CLOSEDPLANAR_XOR"}
    rois = {
        "inner": [at(grid, 2, outer), at(grid, 2, inner)],
        "same way round": [at(grid, 2, inner[::-1]), at(grid, 2, outer)],
        "xor": [at(grid, 2, outer, **xor), at(grid, 2, inner, **xor)],
        "keyhole": [at(grid, 2, keyhole)],
    }
    found, schema, series = read_rtstruct(write(tmp_path / "s.dcm", truth, rois, syntax=syntax), grid=grid)
    np.testing.assert_array_equal(found.array, [_ring(grid.shape)] * 4)
    assert schema.names == ("inner", "same_way_round", "xor", "keyhole")
    assert ([s.values for s in schema.structures], schema.exclusive) == ([(1,), (2,), (3,), (4,)], False)
    assert (series, found.unit, found.grid) == (truth.datasets[0].SeriesInstanceUID, "label", grid)


@pytest.mark.parametrize(
    "place",
    [
        {"across": (1, 0, 0), "down": (0, 0, -1)},
        {"across": (0, 1, 0), "down": (0, 0, -1)},
        {"across": (0.6, 0.8, 0), "down": (-0.48, 0.36, 0.8)},
        {"step": (0.3, 0.9, 2.5)},
    ],
)
def test_contours_on_any_planes(make_series: Make, tmp_path: Path, place: Mapping[str, Any]) -> None:
    """A disc given in millimetres, against the distance of every voxel centre from its middle."""
    truth = make_series(shape=(40, 44), **place)
    grid = find_series(truth.folder)[0].stack().grid()
    middle = grid.to_world([3, 19.3, 21.8])
    down, across = grid.directions.T[1:]
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)[:, None]
    points = middle + 12 * (np.cos(angle) * down + np.sin(angle) * across)
    disc = {"ContourGeometricType": "CLOSED_PLANAR", "ContourData": [f"{v:.6f}" for v in points.ravel()]}
    found = read_rtstruct(write(tmp_path / "s.dcm", truth, {"disc": [disc]}), grid=grid)[0].array[0]
    centres = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    distance = np.linalg.norm(centres - middle, axis=-1)
    clear = np.abs(distance - 12) > 1e-3
    expected = distance < 12
    expected[np.arange(6) != 3] = False  # nothing is interpolated
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert found.sum() > 500


def test_several_contours_and_empty_slices_between(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    contours = [at(grid, 1, box(0, 0, 2, 3)), at(grid, 1, box(5, 5, 7, 7)), at(grid, 4, box(0, 0, 12, 14))]
    path = write(tmp_path / "s.dcm", truth, {"a": contours, "b": []})
    found = read_rtstruct(path, grid=grid)[0].array
    assert found.sum(axis=(2, 3)).tolist() == [[0, 10, 0, 0, 168, 0], [0] * 6]
    np.testing.assert_array_equal(read_rtstruct_labels(path, grid=grid)[0].array, found[:1])
    head = rtstruct_header(path)
    assert [(r.name, r.number, r.contours, r.encloses) for r in head.rois] == [("a", 0, 3, True), ("b", 1, 0, True)]
    assert (head.series, head.instances) == (truth.datasets[0].SeriesInstanceUID, ())


def test_structures_that_share_a_border(source: Any, tmp_path: Path) -> None:
    """The border runs through voxel centres; every voxel is in one structure."""
    truth, grid = source
    left = [[2, 2], [2, 6], [5, 7], [8, 6], [8, 2]]
    right = [[8, 6], [5, 7], [2, 6], [2, 10], [8, 10]]
    path = write(tmp_path / "s.dcm", truth, {"l": [at(grid, 0, left)], "r": [at(grid, 0, right)]})
    found = read_rtstruct(path, grid=grid)[0].array[:, 0]
    expected = np.zeros((12, 14), int)
    expected[2:8, 2:10] = 1
    np.testing.assert_array_equal(found.sum(axis=0), expected)
    assert read_rtstruct_labels(path, grid=grid)[0].array[0, 0].any()


def test_off_plane_is_refused_with_the_distance(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    rois = {"near": [at(grid, 2.02, box(1, 1, 4, 4))], "far": [at(grid, 2.4, box(1, 1, 4, 4))]}
    tilted = at(grid, 0, box(1, 1, 4, 4))
    tilted["ContourData"][2::3] = ["20.125", "22.625", "25.125", "22.625"]
    path = write(tmp_path / "s.dcm", truth, rois | {"tilted": [tilted]})
    assert read_rtstruct(path, grid=grid, structures=["near"])[0].array[0, 2].sum() == 9
    with pytest.raises(GeometryError, match=r"contour 1 of 'far' is off-plane: it lies 1\.000 mm off .* slice 3"):
        read_rtstruct(path, grid=grid)
    with pytest.raises(GeometryError, match=r"0\.050 mm off .* 0\.01 mm is allowed"):
        read_rtstruct(path, grid=grid, structures=["near"], policy=ContourPolicy(tolerance_mm=0.01))
    wide = ContourPolicy(tolerance_mm=1.0001)
    assert read_rtstruct(path, grid=grid, structures=["far"], policy=wide)[0].array[0, 2].sum() == 9
    with pytest.raises(GeometryError, match=r"'tilted' is off-plane: it runs through 5\.000 mm of slices"):
        read_rtstruct(path, grid=grid, structures=["tilted"])
    found = contour_problems(path, grid=grid, structures=["near", "far", "tilted"])
    assert {name: "off-plane" in str(error) for name, error in found.items()} == {"far": True, "tilted": True}
    nearest = read_rtstruct(path, grid=grid, policy=ContourPolicy(tolerance_mm=math.inf))[0].array
    assert nearest.sum(axis=(2, 3))[:2].tolist() == [[0, 0, 9, 0, 0, 0]] * 2


def test_outside_is_refused_or_clipped(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    rois = {
        "edge": [at(grid, 0, box(0, 0, 12, 14))],
        "couch": [at(grid, 0, box(9, -3, 15, 20))],
        "above": [at(grid, z, box(1, 1, 4, 4)) for z in (5, 6, 7.3)],
        "elsewhere": [at(grid, 0, box(40, 1, 44, 4)), at(grid, -9, box(1, 1, 4, 4))],
        "far": [at(grid, 0, box(1, 1, 90000, 4))],
    }
    path = write(tmp_path / "s.dcm", truth, rois)
    assert read_rtstruct(path, grid=grid, structures=["edge"])[0].array.sum() == 168
    for name, words in (
        ("couch", r"up to 5\.400 mm outside"),
        ("above", r"2\.500 mm beyond the first or last slice"),
        ("elsewhere", "outside the images"),
        ("far", "outside the images"),
    ):
        with pytest.raises(GeometryError, match=words):
            read_rtstruct(path, grid=grid, structures=[name])
    clip = ContourPolicy(outside="clip")
    found = read_rtstruct(path, grid=grid, structures=["above", "couch"], policy=clip)[0].array
    assert found.sum(axis=(2, 3)).tolist() == [[3 * 14, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 9]]
    with pytest.raises(GeometryError, match="'elsewhere' lies wholly outside"):
        read_rtstruct(path, grid=grid, structures=["elsewhere"], policy=clip)
    with pytest.raises(GeometryError, match="'far' lies 629"):
        read_rtstruct(path, grid=grid, structures=["far"], policy=clip)


def test_contours_that_cross(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    one, other, hole = box(1, 1, 7, 7), box(4, 4, 10, 10), box(2, 2, 3, 3)
    crossing = [at(grid, 3, c) for c in (one, other, hole)]
    xor = [{**c, "ContourGeometricType": "CLOSEDPLANAR_XOR"} for c in crossing]
    path = write(tmp_path / "s.dcm", truth, {"a": crossing, "b": xor})
    with pytest.raises(GeometryError, match=r"'a' on slice 4: contours 1 and 2 cross \(9 voxels\)"):
        read_rtstruct(path, grid=grid)
    for how, count in (("unite", 36 + 36 - 9 - 1), ("cut", 36 + 36 - 18 - 1)):
        found = read_rtstruct(path, grid=grid, policy=ContourPolicy(crossing=how))[0].array
        assert found.sum(axis=(1, 2, 3)).tolist() == [count, 36 + 36 - 18 - 1]


def test_a_contour_given_twice_is_drawn_once(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    outer = box(1, 1, 7, 7)
    twice = [at(grid, 3, outer), at(grid, 3, outer[[2, 1, 0, 3]]), at(grid, 3, box(2, 2, 4, 4))]
    path = write(tmp_path / "s.dcm", truth, {"a": twice})
    assert read_rtstruct(path, grid=grid)[0].array.sum() == 36 - 4


def test_what_encloses_nothing_is_named(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    point = at(grid, 1, [[4, 4]], ContourGeometricType="POINT")
    line = at(grid, 1, box(1, 1, 4, 4), ContourGeometricType="OPEN_PLANAR")
    rois = {"iso": [point], "mixed": [line, at(grid, 1, box(1, 1, 4, 4)), line], "lines": [line, point]}
    path = write(tmp_path / "s.dcm", truth, rois)
    head = rtstruct_header(path)
    assert [(r.name, r.encloses, r.contours, dict(r.skipped)) for r in head.rois] == [
        ("iso", False, 0, {"POINT": 1}),
        ("mixed", True, 1, {"OPEN_PLANAR": 2}),
        ("lines", False, 0, {"OPEN_PLANAR": 1, "POINT": 1}),
    ]
    found, schema, _ = read_rtstruct(path, grid=grid)
    assert (schema.names, found.array.sum()) == (("mixed",), 9)
    with pytest.raises(LabelError, match=r"'iso' has only contours that enclose nothing \(POINT\); it has mixed"):
        read_rtstruct(path, grid=grid, structures=["iso"])
    with pytest.raises(LabelError, match="'liver' is not in it"):
        read_rtstruct(path, grid=grid, structures=["liver"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ContourData": ["1", "2", "3", "4"]}, "has 4 numbers, not three for each"),
        ({"ContourData": ["1"] * 6}, "has 6 numbers"),
        ({"ContourData": []}, "has 0 numbers"),
        ({"NumberOfContourPoints": 5}, r"NumberOfContourPoints \(3006,0046\) is 5, its data has 4"),
        ({"raw": b"1\\2\\3\\4\\5\\nan\\7\\8\\9\\1\\2\\3 "}, "is not finite"),
        ({"raw": b"1\\2\\3\\4\\5\\1e999\\7\\8\\9\\1\\2\\3 "}, "is not finite"),
        ({"raw": b"1\\2\\3\\4\\5\\six\\7\\8\\9\\1\\2\\3 "}, "text that is no number"),
        ({"raw": b"1\\2\\3\\4\\5\\\\7\\8\\9\\1\\2\\3"}, "text that is no number"),
    ],
)
def test_damaged_points(source: Any, tmp_path: Path, change: Mapping[str, Any], words: str) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    truth, grid = source

    def edit(ds: Dataset) -> None:
        if "raw" in change:
            data = change["raw"]
            raw = RawDataElement(Tag(0x30060050), "DS", len(data), data, 0, True, True)
            ds.ROIContourSequence[0].ContourSequence[0][0x30060050] = raw

    more = {} if "raw" in change else change
    rois = {"a": [at(grid, 1, box(1, 1, 4, 4), **more)], "b": [at(grid, 1, box(1, 1, 4, 4))]}
    path = write(tmp_path / "s.dcm", truth, rois, edit=edit)
    with pytest.raises(FileFormatError, match=f"contour 1 of 'a': .*{words}"):
        read_rtstruct(path, grid=grid)
    assert read_rtstruct(path, grid=grid, structures=["b"])[0].array.sum() == 9


def test_other_frames_and_several_series(source: Any, make_series: Make, tmp_path: Path) -> None:
    truth, grid = source
    other = make_series(shape=(12, 14))
    square = box(1, 1, 4, 4)
    path = write(tmp_path / "f.dcm", truth, {"a": [at(grid, 1, square)]})
    with pytest.raises(GeometryError, match="frame of reference of 'a'"):
        read_rtstruct(path, grid=Grid(grid.shape, grid.affine, "1.2.3"))

    def refer(ds: Dataset) -> None:
        series = Dataset()
        series.SeriesInstanceUID = other.datasets[0].SeriesInstanceUID
        series.ContourImageSequence = [_image(d) for d in other.datasets]
        study = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        study.RTReferencedSeriesSequence.append(series)

    on, off = [_image(truth.datasets[1])], [_image(other.datasets[1])]
    rois = {
        "a": [at(grid, 1, square, ContourImageSequence=on)],
        "b": [at(grid, 1, square, ContourImageSequence=off), at(grid, 2, square, ContourImageSequence=off)],
    }
    path = write(tmp_path / "s.dcm", truth, rois, edit=refer)
    uids = [t.datasets[0].SeriesInstanceUID for t in (truth, other)]
    assert [roi.series for roi in rtstruct_header(path).rois] == [(uids[0],), (uids[1],)]
    assert rtstruct_header(path).series == uids[1]
    assert rtstruct_header(path).rois[0].instances == (truth.datasets[1].SOPInstanceUID,)
    with pytest.raises(SeriesError, match="drawn on 2 series"):
        read_rtstruct(path, grid=grid)
    assert read_rtstruct(path, grid=grid, structures=["a"])[2] == uids[0]


def test_names_colours_and_kinds(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    square = [at(grid, 1, box(1, 1, 4, 4))]

    def edit(ds: Dataset) -> None:
        for region, name in zip(
            ds.StructureSetROISequence, ["GTV 1", "", "GTV/1", "background", "Lung_Left"], strict=False
        ):
            region.ROIName = name
        ds.ROIContourSequence[0].ROIDisplayColor = [300, 30, -1]
        ds.ROIContourSequence[1].ROIDisplayColor = [1, 2]
        seen = Dataset()
        seen.ReferencedROINumber, seen.RTROIInterpretedType = 0, "GTV"
        ds.RTROIObservationsSequence = [seen]

    path = write(tmp_path / "s.dcm", truth, dict.fromkeys("abcdef", square), edit=edit)
    head = rtstruct_header(path)
    assert [r.name for r in head.rois] == ["GTV_1", "roi_1", "GTV_1_2", "background_3", "Lung_Left", "f"]
    assert [r.colour for r in head.rois][:2] == [(255, 30, 0), None]
    assert [r.kind for r in head.rois][:2] == ["GTV", ""]
    with pytest.raises(LabelError, match="overlaps another"):
        read_rtstruct_labels(path, grid=grid)
    chosen = read_rtstruct(path, grid=grid, structures=["f", "roi_1"])[1]
    assert [(s.name, s.values) for s in chosen.structures] == [("roi_1", (2,)), ("f", (6,))]


def test_what_is_no_structure_set(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, grid = source
    with pytest.raises(SeriesError, match="is CT, not a structure set"):
        rtstruct_header(truth.files[0])
    (tmp_path / "x.dcm").write_text("hello")
    with pytest.raises(FileFormatError, match="not a DICOM file"):
        rtstruct_header(tmp_path / "x.dcm")
    with pytest.raises(FileFormatError, match="cannot be read"):
        rtstruct_header(tmp_path / "none.dcm")
    path = write(
        tmp_path / "s.dcm",
        truth,
        {"a": []},
        edit=lambda ds: ds.ROIContourSequence[0].__setattr__("ReferencedROINumber", 7),
    )
    with pytest.raises(FileFormatError, match="contours are of ROI 7"):
        rtstruct_header(path)
    many = {f"s{k}": [] for k in range(260)}
    with pytest.raises(LabelError, match="260 structures"):
        rtstruct_header(write(tmp_path / "m.dcm", truth, many))
    with pytest.raises(ConfigError, match="tolerance_mm is nan"):
        ContourPolicy(tolerance_mm=math.nan)
    with pytest.raises(ConfigError, match=r"crossing is 'add'.* refuse, unite, cut"):
        ContourPolicy(crossing="add")  # type: ignore[arg-type]
    assert grid.frame


def test_bombs_are_refused(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isocenter.io.dicom.rtstruct import draw, file

    truth, grid = source
    rois = {"a": [at(grid, 1, box(1, 1, 4, 4), Manufacturer="x" * 3_000_000)]}
    deflated = write(tmp_path / "d.dcm", truth, rois, syntax=DEFLATED)
    assert deflated.stat().st_size < 100_000
    with pytest.raises(FileFormatError, match="deflated bytes hold more than"):
        rtstruct_header(deflated)
    path = write(tmp_path / "s.dcm", truth, rois)
    assert read_rtstruct(path, grid=grid)[0].array.sum() == 9
    start = path.read_bytes()
    nest = struct.pack("<HHIHHI", 0x3006, 0x0040, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    (tmp_path / "n.dcm").write_bytes(start + nest * 3000)
    with pytest.raises(FileFormatError, match="sequences inside of each other"):
        rtstruct_header(tmp_path / "n.dcm")
    monkeypatch.setattr(file, "_MAX_BYTES", 1_000_000)
    with pytest.raises(FileFormatError, match="a structure set has at most"):
        rtstruct_header(path)
    monkeypatch.setattr(draw, "_MAX_WORK", 10_000)
    zigzag = np.stack([np.arange(4000) % 2 * 11.0, np.linspace(0, 13, 4000)], axis=1)
    path = write(tmp_path / "z.dcm", truth, {"a": [at(grid, 1, zigzag)]})
    with pytest.raises(FileFormatError, match="in reasonable time"):
        read_rtstruct(path, grid=grid)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_anywhere_is_typed(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    square = box(1, 1, 4, 4)
    rois = {"a": [at(grid, z, square) for z in range(5)], "b": [at(grid, 2, square[::-1] + 3)]}
    data = write(tmp_path / "s.dcm", truth, rois).read_bytes()
    rng, read = np.random.default_rng(0), 0
    for _ in range(200):
        bad = bytearray(data)
        if rng.random() < 0.3:
            bad = bad[: rng.integers(0, len(bad))]
        else:
            for place in rng.integers(132, len(bad), 3):
                bad[place] = rng.integers(0, 256)
        (tmp_path / "d.dcm").write_bytes(bad)
        try:
            read_rtstruct(tmp_path / "d.dcm", grid=grid)
            read += 1
        except IsocenterError as error:
            assert "Canary" not in str(error)  # noqa: PT017
    assert 0 < read < 200
