"""Measured features of a case: quantities, ratios and changes, attributes, and what cannot be measured."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from tests.synthetic import image_ref, label_map, make_case

from isocenter.errors import GeometryError, LabelError
from isocenter.pipeline import Pipeline
from isocenter.pipeline.measuring import measure_case, standardise
from isocenter.plan import FeatureSpec, MeasuredSpec, Plan, QuantitySpec
from isocenter.records import ClassLabel, LabelSchema
from isocenter.volume import Grid, Volume

GRID = Grid.regular((4, 20, 20), spacing_mm=(10, 1, 1))
HEART = LabelSchema.of({"lv": 1, "wall": 2})


def heart(lv: int, wall: int) -> np.ndarray:
    """So many voxels of each in every slice."""
    plane = np.zeros(400, np.uint8)
    plane[:lv], plane[lv : lv + wall] = 1, 2
    return np.broadcast_to(plane.reshape(20, 20), GRID.shape).copy()


def case_of(ed=(100, 80), es=(40, 90), **attributes: str):
    bright = Volume(np.arange(1600, dtype=np.float32).reshape(GRID.shape), GRID)
    case = make_case("k1", bright, image="ed")
    found = [label_map(heart(*sizes), GRID, HEART, image=name) for name, sizes in (("ed", ed), ("es", es))]
    answer = ClassLabel(name="kind", classes=("no", "yes"), values=("yes",))
    images = {"ed": image_ref(bright, "ed"), "es": image_ref(bright, "es")}
    return replace(case, images=images, annotations=(*found, answer), attributes=attributes)


def volume(structure: str, image: str | None = None) -> QuantitySpec:
    return QuantitySpec(property="volume_ml", structure=structure, image=image)


def measured(*features: FeatureSpec, **more) -> MeasuredSpec:
    return MeasuredSpec(features=features, **more)


FRACTION = FeatureSpec(name="ef", of=volume("lv", "ed"), less=volume("lv", "es"), over=volume("lv", "ed"))


def test_volumes_ratios_and_changes() -> None:
    spec = measured(
        FeatureSpec(name="lv", of=volume("lv")), FRACTION,
        FeatureSpec(name="share", of=volume("lv", "es"), over=volume("wall", "es")),
    )  # fmt: skip
    np.testing.assert_allclose(measure_case(case_of(), spec, "ed"), [4.0, 0.6, 40 / 90])


def test_values_under_a_mask_and_shapes() -> None:
    spec = measured(
        FeatureSpec(name="mean", of=QuantitySpec(property="mean", structure="lv", image="ed")),
        FeatureSpec(name="shape", of=QuantitySpec(property="elongation", structure="lv")),
    )
    mean, shape = measure_case(case_of(), spec, "ed")
    values = np.arange(1600).reshape(GRID.shape)
    assert mean == pytest.approx(values[heart(100, 80) == 1].mean())
    assert 0 < shape <= 1


def test_attributes_are_numbers_or_told_by_a_value() -> None:
    spec = measured(
        FeatureSpec(name="age", of=QuantitySpec(attribute="age")),
        FeatureSpec(name="female", of=QuantitySpec(attribute="sex", equals="F")),
        FeatureSpec(name="size", of=volume("lv"), over=QuantitySpec(attribute="bsa")),
    )
    np.testing.assert_allclose(measure_case(case_of(age="71", sex="F", bsa="2.0"), spec, "ed"), [71, 1, 2.0])
    found = measure_case(case_of(age="", sex="M"), spec, "ed")
    assert math.isnan(found[0])
    assert found[1] == 0
    assert math.isnan(found[2])
    with pytest.raises(LabelError, match=r"case k1: attribute 'age' is no number; name its values with `equals`"):
        measure_case(case_of(age="old"), spec, "ed")


def test_what_cannot_be_measured_stands_at_the_mean() -> None:
    spec = measured(FRACTION.model_copy(update={"mean": 0.5, "std": 0.1}))
    assert math.isnan(measure_case(case_of(ed=(0, 5)), spec, "ed")[0])
    assert standardise(np.array([np.nan]), spec).tolist() == [0]
    assert standardise(np.array([0.7]), spec).tolist() == pytest.approx([2.0])


def test_masks_that_are_not_there_or_lie_elsewhere_are_named() -> None:
    with pytest.raises(LabelError, match=r"case k1: has no masks 'main' on image 'mr'"):
        measure_case(case_of(), measured(FeatureSpec(name="x", of=volume("lv", "mr"))), "ed")
    with pytest.raises(LabelError, match=r"case k1: has no masks 'predicted' on image 'ed'"):
        measure_case(case_of(), measured(FRACTION, annotation="predicted"), "ed")
    with pytest.raises(LabelError, match=r"masks on 'ed' have no 'rv' \(they have lv, wall\)"):
        measure_case(case_of(), measured(FeatureSpec(name="x", of=volume("rv"))), "ed")
    case = case_of()
    moved = label_map(heart(5, 5), Grid.regular(GRID.shape, spacing_mm=(9, 1, 1)), HEART, image="ed")
    with pytest.raises(GeometryError, match=r"case k1: masks 'main' do not lie on image 'ed'"):
        measure_case(replace(case, annotations=(moved, *case.annotations[1:])), measured(FRACTION), "ed")


def plan_of(**changes) -> Plan:
    features = [{**FRACTION.model_dump(), "mean": 0.5, "std": 0.1}]
    return Plan.model_validate(
        {
            "inputs": [{"name": "ed"}, {"name": "es"}, {"name": "measured", "kind": "vector", "channels": 1}],
            "preprocess": {"reference": "ed"},
            "measured": {"features": features},
            "task": {"name": "classification", "target": "kind", "classes": ["no", "yes"]},
            **changes,
        }
    )


def test_a_pipeline_prepares_numbers_beside_images() -> None:
    sample = Pipeline(plan_of()).prepare(case_of(), targets=True)
    assert sample.inputs["measured"].shape == (1, 1, 1, 1)
    assert float(sample.inputs["measured"]) == pytest.approx(1.0)
    assert sample.present == {"ed": True, "es": True, "measured": True}
    assert set(sample.grids) == {"ed", "es"}


def test_plans_whose_numbers_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"vectors are \[\('measured', 1\)\], but `measured` gives \[\]"):
        plan_of(measured=None)
    with pytest.raises(ValidationError, match="vectors are"):
        plan_of(inputs=[{"name": "ed"}, {"name": "es"}, {"name": "measured", "kind": "vector", "channels": 2}])
    with pytest.raises(ValidationError, match="names of features are not unique"):
        measured(FRACTION, FRACTION)
    with pytest.raises(ValidationError, match="a property of a structure, or an attribute"):
        QuantitySpec(property="volume_ml")
