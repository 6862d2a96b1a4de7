"""Simulated studies on disk, read back by independent readers."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

import isocenter.io.dicom
from isocenter.data import Dataset
from isocenter.errors import ConfigError
from isocenter.simulate import SimulatedCase, simulate_thorax, thorax, write_study

OPTIONS = {"matrix": 56, "slice_mm": 14.0}
SEED = 3


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four studies: one of each scanner."""
    out = tmp_path_factory.mktemp("simulated") / "studies"
    simulate_thorax(out, cases=4, seed=SEED, **OPTIONS)
    return out


@pytest.fixture(scope="module")
def cases() -> list[SimulatedCase]:
    return [thorax(i, SEED, **OPTIONS) for i in range(4)]


def _itk(folder: Path) -> sitk.Image:
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


@pytest.mark.parametrize("index", range(4))
def test_simpleitk_reads_what_was_simulated(tree: Path, cases: list[SimulatedCase], index: int) -> None:
    case = cases[index]
    image = _itk(tree / case.id / "ct")
    assert (sitk.GetArrayFromImage(image) == case.image.array[0]).all()
    grid = case.image.grid
    assert np.allclose(image.GetOrigin(), grid.origin_mm, atol=1e-6)
    assert np.allclose(image.GetSpacing()[::-1], grid.spacing_mm, atol=1e-6)
    assert np.allclose(image.GetDirection(), np.eye(3).ravel())


@pytest.mark.parametrize("index", range(4))
def test_the_segmentation_is_the_truth_on_the_grid_of_the_series(
    tree: Path, cases: list[SimulatedCase], index: int
) -> None:
    case = cases[index]
    masks, schema, series = isocenter.io.dicom.read_seg(tree / case.id / "seg.dcm", grid=case.image.grid)
    assert schema.names == case.schema.names
    assert masks.grid == case.image.grid
    for mask, structure in zip(masks.array, case.schema.structures, strict=True):
        assert (mask.astype(bool) == (case.labels.array[0] == structure.values[0])).all()
    first = dcmread(tree / case.id / "ct" / "0001.dcm", stop_before_pixels=True)
    assert series == first.SeriesInstanceUID


def test_highdicom_reads_the_same_labels(tree: Path, cases: list[SimulatedCase]) -> None:
    import highdicom as hd

    seg = hd.seg.segread(tree / cases[0].id / "seg.dcm")
    volume = seg.get_volume(combine_segments=True, allow_missing_positions=True)
    mine = cases[0].labels
    spots = np.argwhere(volume.array)[::97]
    index = np.rint(mine.grid.to_index(volume.map_indices_to_reference(spots))).astype(int)
    assert len(spots) > 50
    assert (mine.array[0][tuple(index.T)] == volume.array[tuple(spots.T)]).all()
    assert (volume.array > 0).sum() == (mine.array > 0).sum()


def test_truth_and_table_say_what_is_in_the_study(tree: Path, cases: list[SimulatedCase]) -> None:
    with (tree / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == [case.id for case in cases]
    for case, row in zip(cases, rows, strict=True):
        truth = json.loads((tree / case.id / "truth.json").read_text())
        assert truth["volumes_ml"] == case.volumes_ml()
        assert [n["diameter_mm"] for n in truth["nodules"]] == [n.diameter_mm for n in case.nodules]
        assert row["class.nodule"] == ("yes" if case.nodules else "no")
        assert int(row["n_nodules"]) == len(truth["nodules"])
        image = dcmread(tree / case.id / "ct" / "0001.dcm", stop_before_pixels=True)
        assert row["patient"] == image.PatientID == truth["patient"]
        assert row["kernel"] == image.ConvolutionKernel
        assert row["contrast"] == ("yes" if "ContrastBolusAgent" in image else "no")
        assert float(image.SliceThickness) == case.profile.thickness_mm


def test_the_tree_is_a_dataset(tree: Path, cases: list[SimulatedCase]) -> None:
    dataset = Dataset.read(tree)
    assert list(dataset.ids) == [case.id for case in cases]
    assert dataset.schema is not None
    assert dataset.schema.names == cases[0].schema.names
    assert dataset.schema.exclusive
    read = dataset[cases[1].id]
    assert (read.images["ct"].read().array == cases[1].image.array).all()
    assert read.attributes["scanner"] == cases[1].profile.name


def test_a_rerun_writes_the_same_bytes_however_many_cases(tree: Path, tmp_path: Path) -> None:
    simulate_thorax(tmp_path / "again", cases=2, seed=SEED, **OPTIONS)
    for path in sorted(p for p in (tmp_path / "again").rglob("*") if p.is_file() and p.name != "cases.csv"):
        assert path.read_bytes() == (tree / path.relative_to(tmp_path / "again")).read_bytes(), path.name


def test_identifiers_are_unique_and_of_the_uuid_root(tree: Path, tmp_path: Path) -> None:
    simulate_thorax(tmp_path / "other", cases=1, seed=SEED, matrix=32, slice_mm=12.0)
    seen: list[str] = []
    for folder in (tree, tmp_path / "other"):
        heads = [dcmread(p, stop_before_pixels=True) for p in folder.rglob("*.dcm")]
        seen += [h.SOPInstanceUID for h in heads]
        seen += sorted({h.StudyInstanceUID for h in heads}) + sorted({h.FrameOfReferenceUID for h in heads})
    assert len(set(seen)) == len(seen)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in seen)


def test_dciodvfy_finds_no_error(tree: Path, cases: list[SimulatedCase]) -> None:
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy is not here; install Debian's dicom3tools")
    for case in cases:
        for file in ("ct/0001.dcm", "seg.dcm"):
            done = subprocess.run(
                [tool, "-new", str(tree / case.id / file)], capture_output=True, text=True, check=False
            )
            assert "Error" not in done.stderr + done.stdout, done.stderr
            assert done.returncode == 0


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folders = simulate_thorax(
        tmp_path, cases=2, seed=0, matrix=32, slice_mm=20.0, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert [f.name for f in folders] == ["thorax_0001", "thorax_0002"]


def test_a_case_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ConfigError("no space")

    monkeypatch.setattr(isocenter.io.dicom, "write_seg", fail)
    with pytest.raises(ConfigError, match="no space"):
        write_study(tmp_path / "case", thorax(0, 1, matrix=32, slice_mm=20.0))
    assert not list(tmp_path.iterdir())


def test_wrong_places_and_counts_are_named(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not an empty folder"):
        simulate_thorax(tmp_path / "full", cases=1, seed=0)
    with pytest.raises(ConfigError, match="0 cases"):
        simulate_thorax(tmp_path / "new", cases=0, seed=0)
    assert not (tmp_path / "new").exists()
