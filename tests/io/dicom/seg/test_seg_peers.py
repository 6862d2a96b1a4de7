"""What we write, read by dcmqi, dcmtk and dciodvfy; what dcmqi writes, read by us."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from isocenter.io.dicom import find_series, read_seg, read_seg_labels, write_seg
from isocenter.records import Code, LabelSchema, Structure
from isocenter.volume import Grid, Volume

pytestmark = pytest.mark.peers
Make = Callable[..., Any]
KINDS = ("binary", "labelmap", "fractional")
SCHEMA = LabelSchema(
    (
        Structure("liver", (1,), Code("10200004", "SCT", "Liver"), colour=(221, 130, 101)),
        Structure("nodule", (2,), Code("27925004", "SCT", "Nodule")),
        Structure("body", (3,)),
    )
)
OVERLAPPING = LabelSchema(SCHEMA.structures, exclusive=False)
BY = {"algorithm_name": "model", "algorithm_version": "1.0"}
OBLIQUE = {"across": (0.6, 0.8, 0), "down": (0, 0, -1)}
TILTED = {"step": (0.0, 0.7, 2.4)}


def _tool(name: str, remedy: str) -> str:
    """A program that others wrote; the packages of Python put theirs beside the interpreter."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        reason = f"{name} is not installed ({remedy})"
        if os.environ.get("CI") and (shutil.which("apt-get") or remedy.startswith("pip")):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _run(*words: str | Path) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def dcmqi(tmp_path: Path) -> Callable[[Path], tuple[dict[str, Volume], dict[str, Any]]]:
    """Volumes that dcmqi makes of a segmentation, by the names of their files, and what it says of the segments."""
    tool = _tool("segimage2itkimage", "pip install dcmqi")

    def read(path: Path) -> tuple[dict[str, Volume], dict[str, Any]]:
        out = tmp_path / "dcmqi"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        _run(tool, "--inputDICOM", path, "--outputDirectory", out, "-t", "nrrd", "-p", "x")
        found = {file.stem: _nrrd(file) for file in sorted(out.glob("*.nrrd"))}
        return found, json.loads((out / "x-meta.json").read_text())

    return read


def _nrrd(path: Path) -> Volume:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = (np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image)
    return Volume(array, Grid(array.shape, affine))


def _source(make_series: Make, **kwargs: Any) -> tuple[list[str], Grid]:
    truth = make_series(**kwargs)
    return truth.files, find_series(truth.folder)[0].stack().grid()


def _labels(grid: Grid) -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, 4, grid.shape).astype(np.uint8)
    labels[[0, 3]] = 0
    return labels


def _same_places(theirs: Volume, array: np.ndarray, grid: Grid) -> None:
    """Every voxel of ``array`` that is not 0 has its value in ``theirs`` at its place, and there are no others."""
    index = np.argwhere(array > 0)
    place = theirs.grid.to_index(grid.to_world(index))
    assert np.abs(place - np.rint(place)).max() < 1e-3
    np.testing.assert_allclose(theirs.array[0][tuple(np.rint(place).astype(int).T)], array[tuple(index.T)], atol=1e-6)
    assert (theirs.array > 0).sum() == len(index)


@pytest.mark.parametrize("where", [{}, OBLIQUE])
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_dcmqi_reads_masks(make_series: Make, dcmqi: Any, tmp_path: Path, kind: Any, where: Any) -> None:
    files, grid = _source(make_series, **where)
    labels = _labels(grid)
    write_seg(tmp_path / "s.dcm", Volume(labels, grid), SCHEMA, files, kind=kind, **BY)
    found, meta = dcmqi(tmp_path / "s.dcm")
    if kind == "labelmap":
        (volume,) = found.values()
        _same_places(volume, labels, grid)
        assert volume.grid.is_close(grid)
    else:
        for number in (1, 2, 3):
            _same_places(found[f"x-{number}"], np.where(labels == number, number, 0), grid)
    segments = {s["SegmentLabel"]: s for group in meta["segmentAttributes"] for s in group}
    assert segments["liver"]["SegmentedPropertyTypeCodeSequence"]["CodeValue"] == "10200004"
    assert segments["nodule"]["SegmentedPropertyCategoryCodeSequence"]["CodeValue"] == "49755003"
    assert segments["liver"]["SegmentAlgorithmName"] == "model"
    assert np.abs(np.subtract(segments["liver"]["recommendedDisplayRGBValue"], (221, 130, 101))).max() <= 2


def test_dcmqi_reads_fractions(make_series: Make, dcmqi: Any, tmp_path: Path) -> None:
    """It gives the numbers stored, of which 255 is a probability of 1."""
    files, grid = _source(make_series)
    probability = np.random.default_rng(3).random((3, *grid.shape)).astype(np.float32)
    probability[:, 2] = 0
    write_seg(tmp_path / "s.dcm", Volume(probability, grid), SCHEMA, files, kind="fractional", **BY)
    found, _ = dcmqi(tmp_path / "s.dcm")
    for number in (1, 2, 3):
        _same_places(found[f"x-{number}"], np.rint(probability[number - 1] * 255.0), grid)


def test_dcmqi_reads_overlapping_masks_of_a_multi_frame_source(make_series: Make, dcmqi: Any, tmp_path: Path) -> None:
    truth = make_series()
    grid = find_series(truth.folder)[0].stack().grid()
    hd.legacy.LegacyConvertedEnhancedCTImage(truth.datasets, hd.UID(), 5, hd.UID(), 1).save_as(tmp_path / "m.dcm")
    masks = np.random.default_rng(2).integers(0, 2, (3, *grid.shape)).astype(bool)
    write_seg(tmp_path / "s.dcm", Volume(masks, grid), OVERLAPPING, [tmp_path / "m.dcm"], **BY)
    found, _ = dcmqi(tmp_path / "s.dcm")
    for number in (1, 2, 3):
        _same_places(found[f"x-{number}"], masks[number - 1] * number, grid)


@pytest.mark.parametrize("kind", KINDS)
def test_dcmtk_parses_and_decodes(make_series: Make, tmp_path: Path, kind: Any) -> None:
    dump, decode = (_tool(name, "apt-get install dcmtk") for name in ("dcmdump", "dcmdrle"))
    files, grid = _source(make_series)
    labels = _labels(grid)
    array = np.stack([labels == k for k in (1, 2, 3)]) * np.float32(0.7) if kind == "fractional" else labels
    path = tmp_path / "s.dcm"
    write_seg(path, Volume(array, grid), SCHEMA, files, kind=kind, **BY)
    said = _run(dump, "+P", "SegmentationType", "+P", "SegmentLabel", "+P", "NumberOfFrames", path)
    assert f"[{kind.upper()}]" in said
    assert [name for name in SCHEMA.names if f"[{name}]" in said] == list(SCHEMA.names)
    assert not [line for line in said.splitlines() if line.startswith(("E:", "F:", "W:"))]
    if kind == "binary":
        return
    _run(decode, path, tmp_path / "plain.dcm")
    theirs = dcmread(tmp_path / "plain.dcm")
    assert not theirs.file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(theirs.pixel_array, dcmread(path).pixel_array)
    if kind == "labelmap":
        np.testing.assert_array_equal(theirs.pixel_array, labels)


@pytest.mark.parametrize("where", [{}, TILTED])
@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy(make_series: Make, dciodvfy_errors: Any, tmp_path: Path, kind: Any, where: Any) -> None:
    files, grid = _source(make_series, **where)
    labels = _labels(grid)
    array = np.stack([labels == k for k in (1, 2, 3)]) * np.float32(0.7) if kind == "fractional" else labels
    write_seg(tmp_path / "s.dcm", Volume(array, grid), SCHEMA, files, kind=kind, **BY)
    errors = dciodvfy_errors(tmp_path / "s.dcm", "SegmentNumber" if kind == "labelmap" else "Segmentation")
    if kind == "labelmap":
        # dicom3tools of 2022 knows neither the object (2024) nor that its background is segment 0
        errors = [e for e in errors if "Information Object Not found" not in e and "monotonically increasing" not in e]
    assert errors == []


@pytest.mark.real
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_what_dcmqi_writes(real_data: Any, tmp_path: Path, kind: str) -> None:
    """dcmqi's own labels on its own images, written anew by the dcmqi at hand."""
    tool = _tool("itkimage2segimage", "pip install dcmqi")
    folder = real_data("dcmqi_seg_paramap_sr") / "data" / "segmentations"
    truth = _nrrd(folder / "liver_spine_seg.nrrd")
    code = {"CodeValue": "10200004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Liver"}
    organ = {"CodeValue": "123037004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Anatomical Structure"}
    numbers = np.unique(truth.array[truth.array > 0]).tolist()
    segments = [
        {
            "labelID": number,
            "SegmentLabel": f"thing {number}",
            "SegmentAlgorithmType": "MANUAL",
            "SegmentedPropertyCategoryCodeSequence": organ,
            "SegmentedPropertyTypeCodeSequence": code,
        }
        for number in numbers
    ]
    (tmp_path / "meta.json").write_text(json.dumps({"SeriesNumber": "1", "segmentAttributes": [segments]}))
    words = ["--inputMetadata", tmp_path / "meta.json", "--outputDICOM", tmp_path / "s.dcm"]
    words += ["--inputImageList", folder / "liver_spine_seg.nrrd", "--inputDICOMDirectory", folder / "ct-3slice"]
    _run(tool, *words, "--skip", "1", "--segmentationType", kind)
    masks, schema, _ = read_seg(tmp_path / "s.dcm", grid=truth.grid)
    assert schema.names == tuple(f"thing_{n}" for n in numbers)
    np.testing.assert_array_equal(masks.array, [truth.array[0] == n for n in numbers])
    labels, _, _ = read_seg_labels(tmp_path / "s.dcm", grid=truth.grid)
    assert (labels.array > 0).sum() == (truth.array > 0).sum()
