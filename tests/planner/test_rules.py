"""Rules: what the data is like decides, every decision says why, and budgets hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from isocenter.networks import build_network
from isocenter.plan import InputSpec, Plan, StructureSpec, TaskSpec, dump_plan, parse_plan
from isocenter.planner import CaseFingerprint, Fingerprint, plan_by_rules
from isocenter.planner.geometry import CASE_VOXELS, PATCH_VOXELS
from isocenter.tasks import build_task
from isocenter.volume import Grid

SEGMENTATION = TaskSpec(
    structures=(StructureSpec(name="liver", values=(1,)), StructureSpec(name="vessel", values=(2,)))
)
CLASSIFICATION = TaskSpec(name="classification", target="kind", classes=("a", "b"))
DETECTION = TaskSpec(name="detection", structures=(StructureSpec(name="nodule", values=(1,)),))
TASKS = {t.name: t for t in (SEGMENTATION, CLASSIFICATION, DETECTION)}
CT = (InputSpec(name="image", modality="CT"),)
MR = (InputSpec(name="image", modality="MR"),)


def case_of(grid: Grid, *, extent=None, thickness=None, seed: int = 0) -> CaseFingerprint:
    values = np.random.default_rng(seed).normal(40, 100, 5000).astype(np.float32)
    return CaseFingerprint(grid, {"image": values}, extent, thickness or {})


def grid_of(shape, spacing_mm, *, degrees=(0, 0, 0), order=(0, 1, 2)) -> Grid:
    grid = Grid.regular(shape, spacing_mm=spacing_mm)
    affine = grid.affine.copy()
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ affine[:3, :3]
    return Grid(shape, affine).permute(order)


def plan_of(*grids: Grid, task: TaskSpec = SEGMENTATION, inputs=CT, extent=None, thickness=None) -> Plan:
    cases = {f"c{k}": case_of(g, extent=extent, thickness=thickness, seed=k) for k, g in enumerate(grids)}
    return plan_by_rules(Fingerprint(cases), task=task, inputs=inputs, reference="image")


def multiple(plan: Plan) -> np.ndarray:
    return np.prod([plan.network.options["stem"], *plan.network.options["strides"]], axis=0)


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "dimensions"),
    [
        ((10, 256, 256), (8, 1.4, 1.4), 2),  # a cardiac MR
        ((1, 512, 512), (1, 0.2, 0.2), 2),  # a radiograph
        ((3, 256, 256), (1, 1, 1), 2),
        ((32, 256, 256), (4, 1, 1), 2),
        ((60, 256, 256), (5, 0.8, 0.8), 3),  # thick but many
        ((150, 512, 512), (1.5, 0.8, 0.8), 3),
        ((100, 100, 100), (1, 1, 1), 3),
    ],
)
def test_thick_and_few_slices_are_planned_flat(shape, spacing_mm, dimensions: int) -> None:
    plan = plan_of(grid_of(shape, spacing_mm))
    assert plan.network.dimensions == dimensions
    assert (plan.training.patch[0] == 1) is (dimensions == 2)
    assert (plan.preprocess.spacing_mm[0] == 0) is (dimensions == 2)
    detection = plan_of(grid_of(shape, spacing_mm), task=DETECTION)
    assert detection.network.dimensions == (2 if shape[0] <= 3 else 3)


def test_values_of_ct_are_absolute_and_those_of_mr_are_not() -> None:
    grid = grid_of((80, 80, 80), (1, 1, 1))
    scheme = plan_of(grid, grid).preprocess.intensity["image"]
    assert scheme.scheme == "fixed"
    values = np.concatenate([case_of(grid, seed=k).values["image"] for k in range(2)])
    assert scheme.lower == pytest.approx(np.percentile(values, 0.5), abs=0.01)
    assert scheme.upper == pytest.approx(np.percentile(values, 99.5), abs=0.01)
    clipped = np.clip(values, scheme.lower, scheme.upper)
    assert (scheme.mean, scheme.std) == (
        pytest.approx(clipped.mean(), abs=0.01),
        pytest.approx(clipped.std(), abs=0.01),
    )
    for inputs in (MR, (InputSpec(name="image", modality="PT"),), (InputSpec(name="image"),)):
        assert plan_of(grid, inputs=inputs).preprocess.intensity["image"].scheme == "image"


def test_axes_turn_to_the_most_frequent_planes() -> None:
    axial, coronal = grid_of((40, 60, 70), (2, 1, 1)), grid_of((40, 60, 70), (2, 1, 1), order=(1, 0, 2))
    assert plan_of(axial, axial, coronal).preprocess.orientation == "SPL"
    assert plan_of(axial, coronal, coronal).preprocess.orientation == "PSL"
    assert plan_of(axial.flip([0, 2])).preprocess.orientation == "SPL"
    # spacing is stated in the order of the working axes, however most cases are stored
    assert plan_of(axial, axial, coronal).preprocess.spacing_mm == (2, 1, 1)
    assert plan_of(axial, coronal, coronal).preprocess.spacing_mm == (1, 2, 1)


@pytest.mark.parametrize(("degrees", "kept"), [(0, False), (20, False), (29, False), (31, True), (40, True)])
def test_axes_stay_as_stored_where_images_are_too_oblique(degrees: float, kept: bool) -> None:
    straight = grid_of((40, 60, 70), (2, 1, 1))
    plan = plan_of(straight, grid_of((40, 60, 70), (2, 1, 1), degrees=(degrees, 0, 0)))
    assert (plan.preprocess.orientation is None) is kept
    assert ("stay as stored" in plan.reasons["preprocess.orientation"]) is kept


def test_a_working_grid_is_coarsened_for_its_budget_but_not_below_what_structures_need() -> None:
    fine = grid_of((300, 512, 512), (1, 0.7, 0.7))
    thick = plan_of(fine, thickness={"liver": 90.0, "vessel": 40.0}).preprocess.spacing_mm
    size = np.multiply(fine.shape, fine.spacing_mm)
    assert np.prod(size / thick) <= CASE_VOXELS * 1.01
    thin = plan_of(fine, thickness={"liver": 90.0, "vessel": 6.0})
    assert max(thin.preprocess.spacing_mm) <= 2.0 + 0.05, "three voxels across the thinnest"
    assert np.prod(size / thin.preprocess.spacing_mm) <= 4 * CASE_VOXELS * 1.01
    assert "vessel" in thin.reasons["preprocess.spacing_mm"]
    small = grid_of((90, 100, 110), (1.5, 1, 1))
    assert plan_of(small).preprocess.spacing_mm == (1.5, 1, 1)


def test_a_flat_patch_covers_what_is_annotated_and_around_it() -> None:
    grid = grid_of((10, 256, 216), (10, 1.5, 1.5))
    plan = plan_of(grid, extent=(60.0, 120.0, 90.0))
    assert plan.training.patch == (1, 112, 96)  # 1.4 x 80 and 60 pixels, at least 64, up to the next 16
    assert plan_of(grid).training.patch == (1, 256, 224)
    assert plan_of(grid, extent=(60.0, 9.0, 9.0)).training.patch == (1, 64, 64)


shapes = st.tuples(st.integers(1, 400), st.integers(24, 600), st.integers(24, 600))
spacings = st.tuples(st.floats(0.5, 10), st.floats(0.3, 3)).map(lambda s: (s[0], s[1], s[1]))


@settings(max_examples=150)
@given(shapes, spacings, st.sampled_from(sorted(TASKS)), st.sampled_from([CT, MR]), st.sampled_from([None, 3.0, 30.0]))
def test_any_dataset_gets_a_plan_whose_parts_fit_and_whose_budgets_hold(shape, spacing, name, inputs, thin) -> None:
    grid = grid_of(shape, spacing)
    extent = tuple(np.multiply(shape, spacing) * (0.9, 0.5, 0.4)) if name == "segmentation" else None
    plan = plan_of(grid, task=TASKS[name], inputs=inputs, extent=extent, thickness={"liver": thin} if thin else None)
    patch, flat = np.array(plan.training.patch), plan.network.dimensions == 2
    assert plan.inference.window == plan.training.patch
    assert (patch % multiple(plan) == 0).all(), "pooling divides the patch"
    assert (patch // multiple(plan) >= np.minimum(patch, 4)).all(), "something is left to look at"
    if name != "classification":
        assert np.prod(patch) <= (512 * 512 if flat else PATCH_VOXELS)
        assert plan.training.batch * np.prod(patch) <= 2 * max(PATCH_VOXELS, 2**20)
    else:
        assert np.prod(patch) <= 2 * PATCH_VOXELS
    working = np.where(np.array(plan.preprocess.spacing_mm) == 0, spacing, plan.preprocess.spacing_mm)
    if not flat:
        assert np.prod(np.multiply(shape, spacing) / working) <= 4 * CASE_VOXELS * 1.05
    assert 2 <= plan.training.batch <= 16
    assert len(plan.network.options["channels"]) == len(plan.network.options["strides"])
    assert max(plan.network.options["channels"]) <= 256
    if flat:
        assert multiple(plan)[0] == 1
    assert parse_plan(dump_plan(plan)) == plan


@settings(max_examples=15)
@example((4, 24, 24), (1.0, 1.0, 1.0), "detection")  # so small that pooling used to stop short of the head's stride
@given(shapes, spacings, st.sampled_from(sorted(TASKS)))
def test_the_planned_network_can_be_built_for_the_planned_task(shape, spacing, name: str) -> None:
    plan = plan_of(grid_of(shape, spacing), task=TASKS[name])
    build_network(plan.network, plan.inputs, build_task(plan.task, plan.preprocess.reference).heads())


@pytest.mark.parametrize("task", list(TASKS.values()), ids=list(TASKS))
@pytest.mark.parametrize("shape", [(10, 200, 200), (100, 200, 200)])
def test_every_decision_of_the_rules_has_its_reason(task: TaskSpec, shape) -> None:
    plan = plan_of(grid_of(shape, (8, 1, 1)), task=task)
    for key in plan.reasons:
        here: object = plan
        for part in key.split("."):
            here = here[part] if isinstance(here, dict) else getattr(here, part)
    assert set(plan.reasons) >= {
        "preprocess.orientation", "preprocess.spacing_mm", "preprocess.intensity.image", "network.dimensions",
        "network.options", "training.patch", "training.batch", "training.steps", "training.augmentation",
        "inference.window",
    }  # fmt: skip
    assert all(len(reason) > 10 for reason in plan.reasons.values())


def test_a_thick_axis_is_pooled_later() -> None:
    plan = plan_of(grid_of((60, 256, 256), (5, 1, 1)))
    total = multiple(plan)
    assert total[0] < total[1]
    even = plan_of(grid_of((100, 100, 100), (1, 1, 1)))
    assert len(set(multiple(even))) == 1


def test_a_class_is_learned_from_whole_cases() -> None:
    plan = plan_of(grid_of((120, 300, 300), (2, 1, 1)), task=CLASSIFICATION)
    size = np.array([240, 300, 300])
    assert (np.multiply(plan.training.patch, plan.preprocess.spacing_mm) >= size * 0.99).all()
    assert plan.inference.overlap == 0


def pieces_of(*shares: float) -> Plan:
    grid = grid_of((10, 200, 200), (8, 1, 1))
    cases = {
        f"c{k}": CaseFingerprint(grid, case_of(grid).values, None, {}, {"liver": share, "vessel": 0.4})
        for k, share in enumerate(shares)
    }
    return plan_by_rules(Fingerprint(cases), task=SEGMENTATION, inputs=CT, reference="image")


def test_what_is_one_piece_in_every_case_is_cleaned_to_one_piece() -> None:
    whole = pieces_of(1.0, 0.99, 0.96, 1.0, 1.0)
    assert whole.inference.largest_component == ("liver",)
    assert "in every case at least 96 %" in whole.reasons["inference.largest_component"]
    assert pieces_of(1.0, 0.99, 0.94, 1.0, 1.0).inference.largest_component == ()
    assert pieces_of(1.0, 1.0, 1.0, 1.0).inference.largest_component == (), "too few cases to tell"


def test_slices_are_looked_at_as_training_turned_and_scaled_them() -> None:
    flat, deep = plan_of(grid_of((10, 200, 200), (8, 1, 1))), plan_of(grid_of((100, 200, 200), (1, 1, 1)))
    augmentation = flat.training.augmentation
    assert len(flat.inference.views) == 4
    assert all(abs(v.rotation_deg) < augmentation.rotation_deg[0] for v in flat.inference.views)
    assert all(abs(v.scale - 1) < augmentation.scale for v in flat.inference.views)
    assert deep.inference.views == ()


def test_only_inputs_that_may_be_missing_are_left_out_in_training() -> None:
    grid = grid_of((10, 200, 200), (8, 1, 1))
    extra = InputSpec(name="other", modality="MR", required=False)
    cases = {"c": CaseFingerprint(grid, {"image": case_of(grid).values["image"], "other": np.ones(9, np.float32)})}
    plan = plan_by_rules(Fingerprint(cases), task=SEGMENTATION, inputs=(*CT, extra), reference="image")
    assert plan.training.augmentation.drop_image == 0.2
    assert plan_of(grid).training.augmentation.drop_image == 0
