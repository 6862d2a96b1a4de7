"""Findings against analytic shapes, and what must not be left unsaid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isocenter.records import (
    Boxes,
    Case,
    ClassLabel,
    Code,
    Finding,
    Flag,
    LabelError,
    LabelMap,
    LabelSchema,
    Masks,
    Points,
    Prediction,
    Scalar,
    Structure,
)
from isocenter.report import findings_of, flags_of
from isocenter.volume import Grid, Volume

CASE = Case("case-1", "patient-1", {})
GRID = Grid.regular((40, 50, 60), spacing_mm=(2.0, 1.0, 1.0), origin_mm=(-30.0, -25.0, -40.0))
SCHEMA = LabelSchema(
    (
        Structure("organ", (1,), Code("10200004", "SCT", "Liver")),
        Structure("nodule", (2,)),
        Structure("effusion", (3,)),
    )
)


def sphere(center_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij"), -1)
    return np.asarray(np.linalg.norm(GRID.to_world(index) - center_mm, axis=-1) <= radius_mm)


def labels() -> Volume:
    array = np.zeros(GRID.shape, np.uint8)
    array[sphere((-10, 0, 0), 15)] = 1
    array[sphere((20, 10, 10), 6)] = 2
    array[sphere((20, -15, -20), 3)] = 2
    return Volume(array, GRID, "label")


def label_map(schema: LabelSchema = SCHEMA, image: str | None = "ct") -> LabelMap:
    return LabelMap(image=image, schema=schema, read=labels)


def measured(finding: Finding) -> dict[str, float]:
    return {m.name: m.value for m in finding.measurements}


def test_segmentation_gives_volume_parts_and_density() -> None:
    ct = np.where(labels().array == 1, 60, -800).astype(np.int16)
    found = findings_of(Prediction(CASE, (label_map(),)), {"ct": Volume(ct, GRID, "HU")})
    organ, nodule, effusion = found
    assert [f.name for f in found] == ["organ", "nodule", "effusion"]
    assert organ.code == Code("10200004", "SCT", "Liver")
    assert measured(organ)["volume"] == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.02)
    assert measured(organ)["mean_attenuation"] == 60
    assert "components" not in measured(organ)
    assert organ.evidence == ("ct", "slice 20")
    assert measured(nodule)["components"] == 2
    assert measured(nodule)["largest_component_volume"] == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.05)
    assert measured(nodule)["volume"] > measured(nodule)["largest_component_volume"]
    assert {m.unit for f in found for m in f.measurements} == {"mL", "1", "[hnsf'U]"}
    assert measured(effusion) == {"volume": 0.0}  # said, not dropped


def test_densities_only_from_an_image_on_the_same_grid_and_in_known_units() -> None:
    prediction = Prediction(CASE, (label_map(),))
    other = GRID.respaced((4.0, 2.0, 2.0))
    elsewhere = {"ct": Volume(np.zeros(other.shape, np.int16), other, "HU")}
    unknown = {"ct": Volume(np.zeros(GRID.shape, np.float32), GRID, "a.u.")}
    for images in (None, {}, elsewhere, unknown):
        assert all("mean_attenuation" not in measured(f) for f in findings_of(prediction, images))
    pet = np.where(labels().array == 1, 3.0, 0.0)
    pet[0, 20, 25, 20] = 9.0  # inside the organ
    organ = findings_of(Prediction(CASE, (label_map(image=None),)), {"pet": Volume(pet, GRID, "SUVbw")})[0]
    assert measured(organ)["suv_max"] == 9.0
    assert measured(organ)["suv_mean"] == pytest.approx(3.0, abs=0.01)


def test_regions_and_masks_may_overlap() -> None:
    regions = LabelSchema.of({"whole": (1, 2), "core": 2})
    whole, core = findings_of(Prediction(CASE, (label_map(regions),)))
    array = labels().array[0]
    assert measured(whole)["volume"] == pytest.approx(np.count_nonzero(array) * 0.002)
    assert measured(core)["volume"] == pytest.approx(np.count_nonzero(array == 2) * 0.002)
    both = Volume(np.stack([array > 0, array == 2]), GRID, "label")
    masks = Masks(schema=LabelSchema.of({"whole": 1, "core": 2}, exclusive=False), read=lambda: both)
    assert [measured(f) for f in findings_of(Prediction(CASE, (masks,)))] == [measured(whole), measured(core)]
    wrong = Masks(schema=SCHEMA, read=lambda: both)
    with pytest.raises(LabelError, match="2 masks do not fit a schema of 3"):
        findings_of(Prediction(CASE, (wrong,)))


@pytest.mark.parametrize("orientation", ["SPL", "IAR", "LSP"])
def test_boxes_give_centre_and_size_in_the_patient(orientation: str) -> None:
    grid = GRID.reorient(orientation)
    low_mm, high_mm = np.array([-5.5, 2.5, -11.0]), np.array([6.5, 12.5, 3.0])
    ends = np.sort(np.stack([grid.to_index(low_mm), grid.to_index(high_mm)]), axis=0)
    small = np.array([1.0, 1, 1, 2, 2, 2])
    boxes = Boxes(
        image="ct",
        schema=LabelSchema.of({"nodule": 1, "node": 2}),
        corners=np.stack([small, ends.ravel()]),
        classes=np.array([1, 0]),
        scores=np.array([0.3, 0.9]),
    )
    image = {"ct": Volume(np.zeros(grid.shape, np.int16), grid, "HU")}
    first, second = findings_of(Prediction(CASE, (boxes,)), image)
    assert (first.name, first.probability, second.name, second.probability) == ("nodule", 0.9, "node", 0.3)
    values = measured(first)
    np.testing.assert_allclose([values[f"center_{a}"] for a in "xyz"], (low_mm + high_mm) / 2)
    np.testing.assert_allclose([values[f"size_{a}"] for a in "xyz"], high_mm - low_mm)


def test_classes_scalars_and_points() -> None:
    grade = ClassLabel(name="grade", classes=("low", "high"), values=("high",), probabilities=(0.2, 0.8))
    signs = ClassLabel(classes=("a", "b", "c"), values=("a", "c"), exclusive=False)
    age = Scalar(name="age", value=61.0, unit="a", interval=(55.0, 67.0))
    points = Points(schema=LabelSchema.of({"tip": 1}), positions_mm=np.array([[1.0, 2, 3]]), classes=np.array([0]))
    found = findings_of(Prediction(CASE, (grade, signs, age, points)))
    assert [(f.name, f.probability) for f in found[:3]] == [("high", 0.8), ("a", None), ("c", None)]
    assert (found[3].measurements[0].value, found[3].measurements[0].interval) == (61.0, (55.0, 67.0))
    assert measured(found[4]) == {"center_x": 1.0, "center_y": 2.0, "center_z": 3.0}


def test_empty_structures_are_flagged_once() -> None:
    prediction = Prediction(CASE, (label_map(),), flags=(Flag("noise-high", "Noisy.", "review"),))
    found = findings_of(prediction)
    flags = flags_of(prediction, found)
    assert [f.code for f in flags] == ["noise-high", "structure-empty"]
    assert "effusion" in flags[1].text
    assert flags_of(replace(prediction, flags=flags), found) == flags
