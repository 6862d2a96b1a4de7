"""From a case to tensors and back: whatever the order of axes in the file, results lie where the image lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from tests.synthetic import image_ref, label_map, make_case

from isocenter.errors import DatasetError, GeometryError, LabelError, PlanError, ValueRangeError
from isocenter.inference import Engine
from isocenter.pipeline import Pipeline
from isocenter.plan import Plan
from isocenter.records import Boxes, Case, ClassLabel, Flag, LabelMap, LabelSchema, Masks, Points, Provenance
from isocenter.tasks import Decoded
from isocenter.volume import Grid, Volume

SCHEMA = LabelSchema.of({"left": 1, "right": 2})
BASE = Grid.regular((9, 14, 12), spacing_mm=(3, 1, 1.5), origin_mm=(-20, 30, 5), frame="1.2.3")


def oblique(grid: Grid, degrees: Sequence[float], shear: float = 0.0) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 0] += shear * affine[:3, 1]
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ affine[:3, :3]
    return Grid(grid.shape, affine, grid.frame)


STORED = {
    "as the plan": BASE,
    "flipped": BASE.flip([0, 2]),
    "sagittal": BASE.permute((2, 0, 1)).flip([1]),
    "coronal": BASE.permute((1, 0, 2)).flip([0]),
    "cycled": BASE.permute((1, 2, 0)).flip([0, 1]),
    "oblique": oblique(BASE.permute((2, 0, 1)), (12, -20, 8)),
    "gantry tilt": oblique(BASE.flip([1]), (0, 0, 0), shear=0.3),
    "a close call": oblique(BASE.permute((1, 2, 0)), (45, 0, 0)),
}
stored = pytest.mark.parametrize("grid", list(STORED.values()), ids=list(STORED))
orientations = pytest.mark.parametrize("orientation", [None, "SPL", "LPS", "IAR", "PSL"])


def plan_of(**changes) -> Plan:
    data = {
        "inputs": [{"name": "ct", "modality": "CT"}],
        "preprocess": {"reference": "ct", "intensity": {"ct": {"scheme": "none"}}},
        "task": {
            "structures": [{"name": s.name, "values": list(s.values), "mirror": s.mirror} for s in SCHEMA.structures]
        },
    }
    for key, value in changes.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return Plan.model_validate(data)


def case_of(grid: Grid, seed: int = 0) -> Case:
    """Smooth structures, and an image that tells the label of each voxel."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=grid.shape), 1.5)
    labels = np.where(noise > 0.05, 1, np.where(noise < -0.05, 2, 0)).astype(np.uint8)
    return make_case("case-7", Volume(labels.astype(np.float32), grid, "HU"), label_map(labels, grid, SCHEMA))


def truth(case: Case) -> Volume:
    return case.annotations[0].read()


@stored
@orientations
def test_inputs_and_targets_lie_on_the_working_grid_and_agree(grid: Grid, orientation: str | None) -> None:
    case = case_of(grid)
    sample = Pipeline(plan_of(preprocess={"orientation": orientation})).prepare(case, targets=True)
    assert sample.reference == grid
    assert sample.shape == sample.placement.working.shape == sample.inputs["ct"].shape[1:]
    assert sample.grids == {"ct": sample.placement.working}
    if orientation:
        assert sample.placement.working == grid.reorient(orientation)
    else:
        assert sample.placement.working == grid
    assert sample.inputs["ct"].dtype == torch.float32
    assert torch.equal(sample.inputs["ct"], sample.targets["labels"].float())
    # every voxel is where it was
    index = np.stack(np.indices(sample.shape), -1)
    back = np.rint(grid.to_index(sample.placement.working.to_world(index))).astype(int)
    np.testing.assert_array_equal(sample.inputs["ct"][0].numpy(), truth(case).array[0][tuple(np.moveaxis(back, -1, 0))])


@stored
@orientations
def test_what_is_decoded_comes_back_in_the_stored_order(grid: Grid, orientation: str | None) -> None:
    case = case_of(grid)
    plan = plan_of(preprocess={"orientation": orientation, "spacing_mm": (4, 2, 2)})
    pipeline = Pipeline(plan)
    sample = pipeline.prepare(case)
    target = sample.placement.target
    # what a task would decode: the truth, read off at the voxels of the target grid
    where = np.rint(grid.to_index(target.to_world(np.stack(np.indices(target.shape), -1)))).astype(int)
    labels = Volume(truth(case).array[0][tuple(np.moveaxis(where, -1, 0))], target, "label")
    masks = Volume(SCHEMA.masks(labels.array), target, "label")
    box = Boxes(
        schema=SCHEMA, image="ct", classes=np.array([0, 1]), scores=np.array([0.9, 0.8]),
        corners=np.array([[-0.5, 1.5, 2.5, 1.5, 3.5, 7.5], [0.0, 0.25, 1.0, 2.0, 3.0, 3.5]]),
    )  # fmt: skip
    others = (
        ClassLabel(classes=("a", "b"), values=("a",)),
        Points(schema=SCHEMA, positions_mm=np.ones((1, 3)), classes=np.array([0])),
    )
    decoded = Decoded(
        (
            LabelMap(schema=SCHEMA, image="ct", source="model", read=lambda: labels),
            Masks(schema=LabelSchema(SCHEMA.structures, exclusive=False), image="ct", read=lambda: masks),
            box,
            *others,
        ),
        maps={"doubt": Volume(np.stack([labels.array[0] * 0.5] * 2), target, "probability")},
        flags=(Flag("seen", "text"),),
    )
    provenance = Provenance("m", "1", "abc")
    prediction = pipeline.restore(decoded, sample, provenance)
    found, found_masks, found_box, *rest = prediction.annotations
    assert found.read().grid == found_masks.read().grid == prediction.maps["doubt"].grid == grid
    assert found.read().unit == "label"
    assert prediction.maps["doubt"].unit == "probability"
    np.testing.assert_array_equal(found.read().array, truth(case).array)
    np.testing.assert_array_equal(found_masks.read().array, SCHEMA.masks(truth(case).array))
    np.testing.assert_array_equal(prediction.maps["doubt"].array, np.concatenate([truth(case).array * 0.5] * 2))
    # a box holds the same places before and after
    for before, after in zip(box.corners, found_box.corners, strict=True):
        assert (after[:3] < after[3:]).all()
        inner = np.random.default_rng(0).uniform(before[:3], before[3:], (50, 3))
        moved = grid.to_index(target.to_world(inner))
        assert (moved >= after[:3] - 1e-9).all()
        assert (moved <= after[3:] + 1e-9).all()
        assert np.prod(after[3:] - after[:3]) == pytest.approx(np.prod(before[3:] - before[:3]))
    assert tuple(rest) == others
    assert prediction.case is case
    assert prediction.provenance == provenance
    assert prediction.flags == (Flag("seen", "text"),)


class Oracle(torch.nn.Module):
    """The image tells the label: logits that are largest there."""

    def forward(self, inputs, present):
        return {"segmentation": -torch.cat([(inputs["ct"] - k) ** 2 for k in range(3)], 1)}


@stored
@orientations
def test_a_perfect_network_gives_the_truth_on_the_image_itself(grid: Grid, orientation: str | None) -> None:
    case = case_of(grid)
    plan = plan_of(preprocess={"orientation": orientation}, inference={"window": (5, 6, 7), "precision": "fp32"})
    pipeline = Pipeline(plan)
    (found,) = Engine(pipeline, Oracle()).predict(pipeline.prepare(case)).annotations
    assert found.read().grid == grid
    np.testing.assert_array_equal(found.read().array, truth(case).array)


@stored
def test_through_a_coarser_grid_nearly_all_of_a_large_structure_comes_back(grid: Grid) -> None:
    fine = grid.respaced([s / 2.5 for s in grid.spacing_mm])
    place = np.stack(np.indices(fine.shape), -1) / np.array(fine.shape) - 0.5
    ball = (np.linalg.norm(place, axis=-1) < 0.35).astype(np.uint8)
    case = make_case("a", Volume(ball.astype(np.float32), fine), label_map(ball, fine, SCHEMA))
    spacing = tuple(1.7 * s for s in fine.reorient("SPL").spacing_mm)
    pipeline = Pipeline(
        plan_of(preprocess={"orientation": "SPL", "spacing_mm": spacing}, inference={"precision": "fp32"})
    )
    prediction = Engine(pipeline, Oracle()).predict(pipeline.prepare(case))
    found = prediction.annotations[0].read()
    assert found.grid == fine
    both = (found.array[0] == 1) & (ball == 1)
    assert 2 * both.sum() / ((found.array[0] == 1).sum() + ball.sum()) > 0.95
    assert [f.code for f in prediction.flags] == ["structure-empty"]
    assert "right" in prediction.flags[0].text


def test_only_the_largest_part_of_a_chosen_structure_is_kept() -> None:
    grid = STORED["sagittal"]
    labels = np.zeros(BASE.shape, np.uint8)
    labels[1:3, 1:6, 1:6] = labels[6, 1:3, 1:3] = 1
    labels[1:3, 8:12, 1:6] = labels[6, 8:10, 8:10] = 2
    on_plan = Volume(labels, BASE)
    case = make_case("a", Volume(np.random.default_rng(0).normal(size=grid.shape), grid))
    plan = plan_of(preprocess={"orientation": "SPL"}, inference={"largest_component": ["left"]})
    pipeline = Pipeline(plan)
    sample = pipeline.prepare(case)
    target = Volume(labels, sample.placement.target, "label")
    decoded = Decoded((LabelMap(schema=SCHEMA, image="ct", read=lambda: target),))
    found = pipeline.restore(decoded, sample).annotations[0].read().reorient("SPL")
    expected = on_plan.array.copy()
    expected[0, 6, 1:3, 1:3] = 0
    np.testing.assert_array_equal(found.array, expected)


def test_a_result_on_another_grid_is_refused() -> None:
    pipeline = Pipeline(plan_of(preprocess={"orientation": "SPL", "spacing_mm": (6, 2, 3)}))
    sample = pipeline.prepare(case_of(STORED["sagittal"]))
    for grid in (sample.placement.working, sample.placement.target.flip([1]), sample.reference):
        wrong = Volume(np.zeros(grid.shape, np.uint8), grid, "label")
        with pytest.raises(GeometryError, match="case case-7: the task decoded onto another grid"):
            pipeline.restore(Decoded((), maps={"doubt": wrong}), sample)


def test_empty_structures_are_flagged_by_their_values() -> None:
    pipeline = Pipeline(plan_of())
    sample = pipeline.prepare(case_of(BASE))
    schema = LabelSchema.of({"a": 4, "b": (7, 8), "c": 1})
    labels = Volume(np.full(BASE.shape, 8, np.uint8), BASE, "label")
    decoded = Decoded((LabelMap(schema=schema, image="ct", read=lambda: labels),))
    assert [f.text.split(":")[0] for f in pipeline.restore(decoded, sample).flags] == ["a", "c"]
    masks = Volume(np.stack([np.zeros(BASE.shape), np.ones(BASE.shape), np.ones(BASE.shape)]), BASE, "label")
    decoded = Decoded((Masks(schema=schema, image="ct", read=lambda: masks),))
    assert [f.text.split(":")[0] for f in pipeline.restore(decoded, sample).flags] == ["a"]


def test_what_images_say_of_themselves_is_flagged() -> None:
    pipeline = Pipeline(plan_of())
    case = case_of(BASE)
    image = replace(case.images["ct"], notes=lambda: ("tilted", "two files set aside"))
    sample = pipeline.prepare(replace(case, images={"ct": image, "unused": replace(image, name="unused")}))
    found = pipeline.restore(Decoded((), flags=(Flag("seen", "text"),)), sample).flags
    assert [(f.code, f.text, f.level) for f in found] == [
        ("image-note", "ct: tilted", "note"),
        ("image-note", "ct: two files set aside", "note"),
        ("seen", "text", "note"),
    ]


def test_every_input_comes_onto_the_grid_of_the_reference() -> None:
    inputs = [{"name": "ct"}, {"name": "pet", "channels": 2}, {"name": "mr", "required": False}]
    plan = plan_of(inputs=inputs, preprocess={"intensity": {n: {"scheme": "none"} for n in ("ct", "pet", "mr")}})
    case = case_of(BASE)
    ramp = BASE.pad((2, 2, 2), (2, 2, 2)).respaced((4, 2, 2))
    world = ramp.to_world(np.stack(np.indices(ramp.shape), -1))
    pet = Volume(np.stack([world[..., 0], world[..., 2]]), ramp)
    case = Case(case.id, case.patient, {**case.images, "pet": image_ref(pet, "pet")}, case.annotations)
    sample = Pipeline(plan).prepare(case, targets=True)
    assert sample.present == {"ct": True, "pet": True, "mr": False}
    assert sample.inputs["mr"].shape == (1, *BASE.shape)
    assert not sample.inputs["mr"].any()
    assert sample.inputs["pet"].shape == (2, *BASE.shape)
    places = BASE.to_world(np.stack(np.indices(BASE.shape), -1))
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(sample.inputs["pet"][0].numpy()[inner], places[..., 0][inner], atol=0.05)
    np.testing.assert_allclose(sample.inputs["pet"][1].numpy()[inner], places[..., 2][inner], atol=0.1)


def test_a_sample_is_the_same_every_time() -> None:
    plan = plan_of(
        preprocess={"orientation": "SPL", "spacing_mm": (4, 1.2, 1.2), "intensity": {"ct": {"scheme": "image"}}}
    )
    one, two = (Pipeline(plan).prepare(case_of(STORED["oblique"]), targets=True) for _ in range(2))
    assert torch.equal(one.inputs["ct"], two.inputs["ct"])
    assert torch.equal(one.targets["labels"], two.targets["labels"])
    assert Pipeline(plan).prepare(case_of(BASE)).targets == {}


def changed(case: Case, **images: Volume) -> Case:
    return Case(case.id, case.patient, {n: image_ref(v, n) for n, v in images.items()}, case.annotations)


def test_a_case_that_cannot_be_used_is_named_with_the_cause() -> None:
    case = case_of(BASE)
    image = case.image("ct").read()
    pipeline = Pipeline(plan_of(inputs=[{"name": "ct"}, {"name": "pet"}]))
    with pytest.raises(DatasetError, match=r"^case case-7: image 'pet' is missing, the model needs it \(found: ct\)"):
        pipeline.prepare(case)
    with pytest.raises(DatasetError, match=r"^case case-7: image 'ct' is missing \(it has: pet\)"):
        pipeline.prepare(changed(case, pet=image))
    broken = Volume(np.where(np.indices(BASE.shape).sum(0) == 3, np.nan, 1.0), BASE)
    with pytest.raises(ValueRangeError, match=r"^case case-7: image 'pet': has 10 NaN"):
        pipeline.prepare(changed(case, ct=image, pet=broken))
    with pytest.raises(ValueRangeError, match=r"^case case-7: image 'ct': is constant \(every voxel is 3\)"):
        pipeline.prepare(changed(case, ct=Volume(np.full(BASE.shape, 3), BASE), pet=image))
    with pytest.raises(DatasetError, match=r"^case case-7: image 'pet' has 2 channels, the model needs 1"):
        pipeline.prepare(changed(case, ct=image, pet=Volume(np.repeat(image.array, 2, 0), BASE)))
    elsewhere = Grid(BASE.shape, BASE.affine, "9.9.9")
    with pytest.raises(GeometryError, match=r"^case case-7: .*frames of reference"):
        pipeline.prepare(changed(case, ct=image, pet=Volume(image.array, elsewhere)))


def test_truth_that_cannot_be_used_is_named_with_the_cause() -> None:
    case, pipeline = case_of(BASE), Pipeline(plan_of())
    with pytest.raises(LabelError, match=r"^case case-7: .*label value 9"):
        pipeline.prepare(
            make_case("case-7", case.image("ct").read(), label_map(np.full(BASE.shape, 9), BASE, SCHEMA)), targets=True
        )
    shifted = Grid(BASE.shape, BASE.affine + np.array([[0, 0, 0, 5.0]] + [[0] * 4] * 3))
    wrong = label_map(truth(case).array[0], shifted, SCHEMA)
    with pytest.raises(GeometryError, match=r"^case case-7: .*mm apart"):
        pipeline.prepare(make_case("case-7", case.image("ct").read(), wrong), targets=True)
    pipeline.prepare(make_case("case-7", case.image("ct").read()))


def test_a_short_name_is_named_even_where_its_letters_stand_in_the_message_by_chance() -> None:
    other = Grid(BASE.shape, BASE.affine, "1.1.1")
    plan = plan_of(inputs=[{"name": "ct"}, {"name": "mr"}])
    image = case_of(BASE).image("ct").read()
    case = Case("a", "p", {"ct": image_ref(image), "mr": image_ref(Volume(image.array, other), "mr")})
    with pytest.raises(GeometryError, match=r"^case a: "):
        Pipeline(plan).prepare(case)


def test_a_plan_that_its_task_cannot_work_with_is_refused() -> None:
    with pytest.raises(PlanError, match=r"no task 'segmentatio'.*segmentation"):
        Pipeline(plan_of(task={"name": "segmentatio"}))
    with pytest.raises(PlanError, match="at least one structure"):
        Pipeline(plan_of(task={"structures": []}))
