"""Reading whole cases finds what headers cannot show."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isocenter.data import Dataset, check_case, examine_case
from isocenter.errors import FileFormatError, GeometryError, LabelError, ValueRangeError
from isocenter.records import Case, LabelMap, LabelSchema
from isocenter.volume import Grid, Volume

SHAPE = (16, 16, 8)


def test_a_sound_case_has_volumes_and_ranges(table_folder: Path) -> None:
    case = Dataset.read(table_folder)["c3"]
    check_case(case)
    report = examine_case(case)
    assert report.errors == ()
    assert report.volumes_ml == pytest.approx({"structure_1": 8 * 3 / 1000, "structure_2": 8 * 3 / 1000})
    ct = case.image("ct").read().array
    assert report.ranges["ct"] == (float(ct.min()), float(ct.max()))
    assert set(report.ranges) == {"ct", "pet"}


def test_regions_are_counted_as_wholes(table_folder: Path) -> None:
    schema = LabelSchema.of({"whole": (1, 2), "core": (2,)})
    report = examine_case(Dataset.read(table_folder)["c0"], schema)
    assert report.volumes_ml == pytest.approx({"whole": 16 * 3 / 1000, "core": 8 * 3 / 1000})


def test_undeclared_value(table_folder: Path) -> None:
    schema = LabelSchema.of({"liver": 1})
    with pytest.raises(LabelError, match=r"case c0: label value 2 is not declared \(declared: 0, 1\)"):
        check_case(Dataset.read(table_folder)["c0"], schema)
    check_case(Dataset.read(table_folder)["c0"], LabelSchema.of({"liver": 1, "ignore": 2}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_numbers(table_folder: Path, files: Any, value: float) -> None:
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    array[3, 2, 1] = value
    files.save(table_folder / "ct0.nii.gz", array)
    with pytest.raises(ValueRangeError, match="NaN or infinite"):
        check_case(Dataset.read(table_folder)["c0"])


def test_constant_image(table_folder: Path, files: Any) -> None:
    files.save(table_folder / "ct0.nii.gz", np.full(SHAPE, 7, np.int16))
    with pytest.raises(ValueRangeError, match="7"):
        check_case(Dataset.read(table_folder)["c0"])


def test_images_from_elsewhere_are_held_to_the_same() -> None:
    from isocenter.records import ImageRef

    grid = Grid.regular((2, 2, 2), spacing_mm=(1, 1, 1))

    def case_of(array: Any) -> Case:
        ref = ImageRef("mr", "memory", lambda region, level: Volume(array, grid), lambda: grid)
        return Case("x", "x", {"mr": ref})

    with pytest.raises(ValueRangeError, match=r"case x: image 'mr' has 1 NaN"):
        check_case(case_of(np.array([np.nan, *range(7)]).reshape(2, 2, 2)))
    with pytest.raises(ValueRangeError, match=r"case x: image 'mr' is 0 everywhere"):
        check_case(case_of(np.zeros((2, 2, 2))))


def test_truncated_gzip(table_folder: Path) -> None:
    dataset = Dataset.read(table_folder)
    image, label = table_folder / "ct0.nii.gz", table_folder / "seg1.nii.gz"
    image.write_bytes(image.read_bytes()[:-400])
    label.write_bytes(gzip.compress(gzip.decompress(label.read_bytes())[:-100]))
    with pytest.raises(FileFormatError, match=r"case c0: .*ct0\.nii\.gz"):
        check_case(dataset["c0"])
    with pytest.raises(FileFormatError, match=r"case c1: .*seg1\.nii\.gz"):
        check_case(dataset["c1"])
    # without a schema beside the table, labels are read to find their values
    again = Dataset.read(table_folder)
    assert "seg1.nii.gz" in next(p.text for p in again.problems if p.case == "c1")


def test_label_on_another_grid_found_in_voxels_and_headers(table_folder: Path, files: Any) -> None:
    dataset = Dataset.read(table_folder)
    files.label(table_folder / "seg0.nii.gz", shape=(16, 16, 9))
    with pytest.raises(GeometryError, match=r"case c0.*shape \(8, 16, 16\) against \(9, 16, 16\)"):
        check_case(dataset["c0"])


def test_all_errors_of_a_case_are_told(table_folder: Path, files: Any) -> None:
    dataset = Dataset.read(table_folder)
    files.save(table_folder / "ct0.nii.gz", np.full(SHAPE, 7, np.int16))
    files.label(table_folder / "seg0.nii.gz", values=(1, 9))
    kinds = [type(e) for e in examine_case(dataset["c0"]).errors]
    assert kinds == [ValueRangeError, LabelError]
    label = dataset["c0"].find(LabelMap)
    assert label is not None
