"""Trees of DICOM studies with segmentations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import generate_uid

from isocenter.data import Dataset, check_case, examine_case, make_splits
from isocenter.errors import DatasetError, SplitError
from isocenter.records import ClassLabel, LabelMap, Masks

LIVER = (slice(1, 4), slice(2, 9), slice(3, 12))
SPLEEN = (slice(2, 5), slice(10, 14), slice(0, 5))
LESION = (slice(2, 3), slice(4, 6), slice(5, 8))


@pytest.fixture
def tree(tmp_path: Path, files: Any) -> Path:
    """Three patients: liver; liver and spleen; images alone."""
    root = tmp_path / "studies"
    one = files.series(root / "p1" / "ct", PatientID="ID-1")
    files.seg(root / "p1" / "seg.dcm", one, {"liver": LIVER})
    two = files.series(root / "p2" / "ct", PatientID="ID-2", Manufacturer="Other")
    files.seg(root / "p2" / "seg.dcm", two, {"spleen": SPLEEN, "liver": LIVER})
    files.series(root / "p3", PatientID="ID-3")
    (root / "readme.txt").write_text("not DICOM")
    return root


def test_studies_become_cases_with_one_schema(tree: Path) -> None:
    dataset = Dataset.read(tree)
    assert (dataset.name, dataset.layout, dataset.ids) == ("studies", "dicom", ("p1", "p2", "p3"))
    assert (dataset.images, dataset.modalities, dataset.problems) == (("ct",), {"ct": "CT"}, ())
    assert dataset.schema is not None
    assert [(s.name, s.values) for s in dataset.schema.structures] == [("liver", (1,)), ("spleen", (2,))]
    assert dataset.schema.exclusive
    assert dataset["p2"].attributes["manufacturer"] == "Other"
    first, second = (dataset[i].find(LabelMap) for i in ("p1", "p2"))
    assert first is not None
    assert second is not None
    expected = np.zeros((6, 16, 16), np.uint8)
    expected[LIVER] = 1
    assert np.array_equal(first.read().array[0], expected)
    expected[SPLEEN] = 2
    assert np.array_equal(second.read().array[0], expected)
    image = dataset["p1"].image("ct")
    assert image.read().grid.is_close(first.read().grid)
    assert image.read().unit == "HU"
    assert len(image.uids["instances"].split(",")) == 6
    assert dataset["p3"].annotations == ()
    assert dataset.annotated(LabelMap).ids == ("p1", "p2")
    for case in dataset:
        check_case(case)


def test_patients_are_pseudonyms_and_splits_go_by_them(tree: Path, files: Any, caplog: Any) -> None:
    files.series(tree / "p3_again", PatientID="ID-3")
    caplog.set_level("DEBUG")
    dataset = Dataset.read(tree)
    assert dataset["p3"].patient == dataset["p3_again"].patient
    assert len(dataset.patients) == 3
    told = caplog.text + repr([case.patient for case in dataset]) + repr(dataset.problems)
    assert not any(secret in told for secret in ("ID-1", "ID-3", "Canary"))
    splits = make_splits(dataset, seed=1)
    where = {i: name for name, ids in splits.items() for i in ids}
    assert where["p3"] == where["p3_again"]
    files.json(tree / "splits.json", {"train": ["p3"], "val": ["p3_again"]})
    with pytest.raises(SplitError, match=f"patient {dataset['p3'].patient} is in two splits"):
        Dataset.read(tree)


def test_cases_csv_adds_patients_classes_and_attributes(tree: Path) -> None:
    (tree / "cases.csv").write_text("case,patient,class.grade,site\np1,anna,high,north\np2,bert,low,south\n")
    dataset = Dataset.read(tree)
    assert dataset.patients == ("anna", "bert")
    assert dataset["p1"].attributes["site"] == "north"
    assert dataset["p1"].attributes["manufacturer"] == "Maker"
    label = dataset["p2"].find(ClassLabel, name="grade")
    assert label is not None
    assert label.values == ("low",)
    assert [p.case for p in dataset.problems] == ["p3"]


def test_overlapping_segments_become_masks_in_every_case(tree: Path, files: Any) -> None:
    files.seg(tree / "p3" / "seg.dcm", sorted((tree / "p3").glob("slice*")), {"liver": LIVER, "lesion": LESION})
    dataset = Dataset.read(tree)
    assert dataset.schema is not None
    assert (dataset.schema.names, dataset.schema.exclusive) == (("liver", "spleen", "lesion"), False)
    masks = dataset["p3"].find(Masks)
    assert masks is not None
    array = masks.read().array
    assert array.shape == (3, 6, 16, 16)
    assert array.sum((1, 2, 3)).tolist() == [3 * 7 * 9, 0, 1 * 2 * 3]
    assert dataset["p1"].find(LabelMap) is None
    assert dataset["p1"].find(Masks) is not None
    for case in dataset:
        check_case(case)


def test_several_segmentations_of_a_series_are_united(tree: Path, files: Any) -> None:
    source = sorted((tree / "p3").glob("slice*"))
    files.seg(tree / "p3" / "a.dcm", source, {"liver": LIVER})
    files.seg(tree / "p3" / "b.dcm", source, {"spleen": SPLEEN})
    dataset = Dataset.read(tree)
    label = dataset["p3"].find(LabelMap)
    assert label is not None
    assert np.bincount(label.read().array.ravel(), minlength=3).tolist()[1:] == [189, 3 * 4 * 5]
    files.seg(tree / "p3" / "c.dcm", source, {"liver": SPLEEN})
    doubled = Dataset.read(tree)
    assert "'liver' is segmented twice" in doubled.problems[0].text
    assert doubled.problems[0].kept


def test_several_series_of_a_study_are_told_apart(tmp_path: Path, files: Any) -> None:
    study = generate_uid()
    thin = files.series(tmp_path / "a" / "1", StudyInstanceUID=study, SeriesDescription="Thin 1.0 B30f")
    files.series(tmp_path / "a" / "2", StudyInstanceUID=study, SeriesDescription="Bone")
    assert Dataset.read(tmp_path).images == ("ct_bone", "ct_thin_1_0_b30f")
    files.seg(tmp_path / "a" / "seg.dcm", thin, {"liver": LIVER})
    dataset = Dataset.read(tmp_path)
    assert dataset.images == ("ct", "ct_bone")
    label = dataset["a"].find(LabelMap)
    assert label is not None
    assert label.image == "ct"


def test_volumes_of_one_series_become_images(tmp_path: Path, files: Any) -> None:
    uids = {f"{name}UID": generate_uid() for name in ("StudyInstance", "SeriesInstance", "FrameOfReference")}
    files.series(tmp_path / "a" / "soft", ConvolutionKernel="B30f", **uids)
    files.series(tmp_path / "a" / "sharp", ConvolutionKernel="B70f", **uids)
    dataset = Dataset.read(tmp_path)
    assert dataset.images == ("ct_kernel_b30f", "ct_kernel_b70f")
    assert not dataset.problems
    case = dataset["a"]
    assert {image: Path(ref.files[0]).parent.name for image, ref in case.images.items()} == {
        "ct_kernel_b30f": "soft",
        "ct_kernel_b70f": "sharp",
    }
    check_case(case)


def test_volumes_beside_a_broken_one_are_not_taken(tmp_path: Path, files: Any) -> None:
    uids = {f"{name}UID": generate_uid() for name in ("StudyInstance", "SeriesInstance", "FrameOfReference")}
    files.series(tmp_path / "a" / "soft", ConvolutionKernel="B30f", **uids)
    files.series(tmp_path / "a" / "sharp", ConvolutionKernel="B70f", **uids)
    (tmp_path / "a" / "sharp" / "slice3.dcm").unlink()
    with pytest.raises(DatasetError, match=r"no case can be used: .*\(kernel B70f\).*1 slice\(s\) missing"):
        Dataset.read(tmp_path)


def test_case_names_come_from_folders(tmp_path: Path, files: Any) -> None:
    files.series(tmp_path / "anna" / "early" / "ct")
    files.series(tmp_path / "anna" / "late" / "ct")
    files.series(tmp_path / "bert" / "early" / "ct")
    assert Dataset.read(tmp_path).ids == ("anna_early", "anna_late", "bert")
    assert Dataset.read(tmp_path / "bert").ids == ("early",)
    assert Dataset.read(tmp_path / "bert" / "early" / "ct").ids == ("ct",)


def test_what_cannot_be_read_is_named(tree: Path, files: Any) -> None:
    (tree / "p1" / "ct" / "slice3.dcm").unlink()  # a hole in the stack
    files.series(tree / "p4", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    dataset = Dataset.read(tree)
    assert dataset.ids == ("p2", "p3")
    first = {p.case: p for p in reversed(dataset.problems)}
    assert {case: p.kept for case, p in first.items()} == {"p1": False, "p4": False}
    assert "1 slice(s) missing" in first["p1"].text
    assert "scout" in first["p4"].text


def test_a_refused_series_does_not_take_the_case_along(tmp_path: Path, files: Any) -> None:
    study = generate_uid()
    files.series(tmp_path / "a" / "ct", StudyInstanceUID=study)
    files.series(tmp_path / "a" / "scout", StudyInstanceUID=study, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    dataset = Dataset.read(tmp_path)
    assert dataset.ids == ("a",)
    assert list(dataset["a"].images) == ["ct"]
    assert [(p.case, p.kept) for p in dataset.problems] == [("a", True)]
    assert "scout" in dataset.problems[0].text


def test_segmentation_of_a_series_that_is_not_there(tree: Path) -> None:
    for path in (tree / "p2" / "ct").iterdir():
        path.unlink()
    dataset = Dataset.read(tree)
    assert dataset.ids == ("p1", "p3")
    assert "is not among the usable images" in dataset.problems[0].text


def test_probabilities_are_no_labels(tree: Path) -> None:
    from isocenter.io.dicom import find_series, write_seg
    from isocenter.records import LabelSchema
    from isocenter.volume import Volume

    stack = find_series(tree / "p3")[0].stack()
    probability = Volume(np.full((1, 6, 16, 16), 0.4, np.float32), stack.grid())
    by = {"algorithm_name": "m", "algorithm_version": "1"}
    write_seg(tree / "p3" / "f.dcm", probability, LabelSchema.of({"liver": 1}), stack, kind="fractional", **by)
    dataset = Dataset.read(tree)
    assert dataset["p3"].annotations == ()
    (problem,) = dataset.problems
    assert "f.dcm: says probabilities, which are no labels" in problem.text


def test_segmentation_drawn_on_images_that_are_gone(tree: Path) -> None:
    (tree / "p2" / "ct" / "slice5.dcm").unlink()
    dataset = Dataset.read(tree)
    assert dataset["p2"].annotations == ()
    assert "1 of the images it was drawn on are not in the series" in dataset.problems[0].text


def test_blank_study_and_patient_are_kept_apart_by_folder(tmp_path: Path, files: Any) -> None:
    for name in ("a", "b"):
        files.series(tmp_path / name, StudyInstanceUID="", PatientID="")
    dataset = Dataset.read(tmp_path)
    assert dataset.ids == ("a", "b")
    assert len(dataset.patients) == 2


def test_a_file_is_not_a_tree(tree: Path) -> None:
    with pytest.raises(DatasetError, match="give the folder that holds the DICOM files"):
        Dataset.read(tree / "p1" / "seg.dcm", layout="dicom")


def _contours(path: Path, source: Any, boxes: dict[str, tuple[slice, ...]], **edits: Any) -> None:
    """A structure set with one block a structure; ``edits`` change the contours of a structure."""
    from pydicom import dcmread

    from isocenter.io.dicom.rtstruct import write_rtstruct
    from isocenter.records import LabelSchema
    from isocenter.volume import Grid, Volume

    masks = np.zeros((len(boxes), 6, 16, 16), np.uint8)
    for mask, box in zip(masks, boxes.values(), strict=True):
        mask[box] = 1
    schema = LabelSchema.of({name: k for k, name in enumerate(boxes, start=1)}, exclusive=False)
    volume = Volume(masks, Grid.regular((6, 16, 16), spacing_mm=(3, 1, 1)), "label")
    write_rtstruct(path, volume, schema, source, algorithm_name="", algorithm_version="", manual=True)
    written = dcmread(path)
    for name, edit in edits.items():
        for contour in written.ROIContourSequence[list(boxes).index(name)].ContourSequence:
            edit(contour)
    written.save_as(path)


def _off(contour: Any) -> None:
    contour.ContourData[2::3] = [float(z) + 1 for z in contour.ContourData[2::3]]


def test_contours_become_labels_of_the_series_they_were_drawn_on(tree: Path, files: Any) -> None:
    source = sorted((tree / "p3").glob("slice*"))
    _contours(tree / "p3" / "a.dcm", source, {"liver": LIVER})
    _contours(tree / "p3" / "b.dcm", source, {"spleen": SPLEEN, "liver": SPLEEN})
    dataset = Dataset.read(tree)
    assert dataset.schema is not None
    assert (dataset.schema.names, dataset.schema.exclusive) == (("liver", "spleen"), True)
    label = dataset["p3"].find(LabelMap)
    assert label is not None
    assert (label.image, label.source) == ("ct", f"{tree / 'p3' / 'a.dcm'}, {tree / 'p3' / 'b.dcm'}")
    expected = np.zeros((6, 16, 16), np.uint8)
    expected[LIVER], expected[SPLEEN] = 1, 2
    assert np.array_equal(label.read().array[0], expected)
    (doubled,) = dataset.problems
    assert "'liver' is outlined twice on one series" in doubled.text
    assert (doubled.case, doubled.kept) == ("p3", True)
    for case in dataset:
        check_case(case)


def test_contours_and_segmentations_of_a_series_are_united(tree: Path, files: Any) -> None:
    _contours(tree / "p1" / "a.dcm", sorted((tree / "p1" / "ct").iterdir()), {"liver": SPLEEN, "lesion": LESION})
    dataset = Dataset.read(tree)
    assert dataset.schema is not None
    assert (dataset.schema.names, dataset.schema.exclusive) == (("liver", "lesion", "spleen"), False)
    masks = dataset["p1"].find(Masks)
    assert masks is not None
    assert masks.read().array.sum((1, 2, 3)).tolist() == [3 * 7 * 9, 1 * 2 * 3, 0]
    assert ["'liver' is outlined twice" in p.text for p in dataset.problems] == [True]


def test_single_structures_that_cannot_be_read_are_named(tree: Path) -> None:
    source = sorted((tree / "p3").glob("slice*"))

    def point(contour: Any) -> None:
        contour.ContourGeometricType = "POINT"

    boxes = {"couch": LESION, "spleen": SPLEEN, "marker": LESION}
    _contours(tree / "p3" / "a.dcm", source, boxes, couch=_off, marker=point)
    dataset = Dataset.read(tree)
    assert dataset.schema is not None
    assert dataset.schema.names == ("liver", "spleen")
    label = dataset["p3"].find(LabelMap)
    assert label is not None
    assert np.bincount(label.read().array.ravel()).tolist() == [6 * 256 - 60, 0, 60]
    texts = [p.text for p in dataset.problems]
    assert all(p.kept and p.case == "p3" for p in dataset.problems)
    assert ["that enclose nothing are left out: 'marker' (POINT)" in t for t in texts] == [True, False]
    assert "contour 1 of 'couch' is off-plane: it lies 1.000 mm off" in texts[1]


def test_a_structure_that_others_have_and_that_cannot_be_read_is_not_taken_for_absent(tree: Path) -> None:
    source = sorted((tree / "p3").glob("slice*"))
    _contours(tree / "p3" / "a.dcm", source, {"liver": LIVER, "spleen": SPLEEN}, liver=_off)
    dataset = Dataset.read(tree)
    assert dataset["p3"].annotations == ()
    assert dataset.annotated(LabelMap).ids == ("p1", "p2")
    assert "other cases have 'liver', which cannot be read here: image 'ct' has no labels" in dataset.problems[-1].text
    assert dataset.problems[-1].kept


def test_contours_of_images_that_are_gone(tree: Path) -> None:
    source = sorted((tree / "p3").glob("slice*"))
    _contours(tree / "p3" / "a.dcm", source, {"top": (slice(5, 6), *LIVER[1:]), "high": (slice(3, 6), *SPLEEN[1:])})
    source[5].unlink()
    dataset = Dataset.read(tree)
    assert dataset.schema is not None
    assert dataset.schema.names == ("liver", "spleen", "high")
    label = dataset["p3"].find(LabelMap)
    assert label is not None
    assert label.read().array.sum() == 2 * 4 * 5 * 3  # what is left of it
    assert "'top' lies wholly outside the images" in dataset.problems[0].text
    for path in source[:5]:
        path.unlink()
    assert "the series that 'top' was drawn on is not among" in Dataset.read(tree).problems[0].text


@pytest.mark.real
def test_real_contours(real_data: Any) -> None:
    """The images were cropped and written anew under other UIDs."""
    dataset = Dataset.read(real_data("sarcoma_pet_ct_mr/dicom"))
    assert dataset.problems == ()
    assert dataset.schema is not None
    assert dataset.schema.names == ("GTV_Mass_CT", "GTV_Mass_MR_T1", "GTV_Mass_PET")
    voxels = {a.image: int((a.read().array > 0).sum()) for a in dataset["STS_008"].annotations}
    assert voxels == {"ct": 8862, "mr": 8862, "pet": 388}


def test_simulated_studies(tmp_path: Path) -> None:
    from isocenter.simulate import simulate_thorax, thorax_schema

    simulate_thorax(tmp_path, cases=2, seed=7, matrix=48, slice_mm=12)
    dataset = Dataset.read(tmp_path)
    assert (dataset.layout, len(dataset), len(dataset.patients), dataset.problems) == ("dicom", 2, 2, ())
    assert dataset.images == ("ct",)
    assert dataset.schema is not None
    assert set(dataset.schema.names) <= set(thorax_schema().names)
    assert {"lung_left", "lung_right"} <= set(dataset.schema.names)
    assert dataset.schema["lung_left"].mirror == "lung_right"
    for case in dataset:
        check_case(case)
    report = examine_case(dataset[dataset.ids[0]])
    assert report.volumes_ml["lung_left"] > 500
