"""Patches: where they are cut, and that they depend on seed and step alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.synthetic import image_ref, label_map, make_case, small_plan

from isocenter.pipeline import Pipeline
from isocenter.plan import Plan
from isocenter.records import IGNORE, Case, LabelSchema
from isocenter.training import PatchStream
from isocenter.volume import Grid, Volume

SCHEMA = LabelSchema.of({"common": 1, "rare": 2})
ALL = {
    "rotation_deg": [20, 20, 20], "scale": 0.2, "mirror": [2], "brightness": 0.3, "contrast": 0.3, "gamma": 0.3,
    "noise": 0.3, "blur": 1.0, "low_resolution": 2.0, "intensity_probability": 0.5,
}  # fmt: skip


def plan_of(**training) -> Plan:
    return small_plan(
        {"structures": [{"name": s.name, "values": list(s.values)} for s in SCHEMA.structures]},
        {"dimensions": 3},
        {"patch": [4, 6, 6], "batch": 3, **training},
    )


def case_of(name: str, shape=(10, 12, 14), offset: float = 0.0) -> Case:
    """Every voxel tells its place: value = running number + offset."""
    grid = Grid.regular(shape, spacing_mm=(2, 1, 1))
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + offset
    labels = np.zeros(shape, np.uint8)
    labels[: shape[0] // 2] = 1
    labels[-1, -1, -1] = 2
    return make_case(name, Volume(values, grid), label_map(labels, grid, SCHEMA))


def stream_of(plan: Plan, *cases: Case, **settings) -> PatchStream:
    pipeline = Pipeline(plan)
    return PatchStream(plan, pipeline.task, [pipeline.prepare(case, targets=True) for case in cases], **settings)


def test_without_augmentation_a_patch_is_a_part_of_its_case() -> None:
    case = case_of("a")
    image, labels = case.image("ct").read().array[0], case.annotations[0].read().array[0]
    stream = stream_of(plan_of(), case)
    starts = set()
    for step in range(30):
        batch = stream.batch(step)
        assert batch.inputs["ct"].shape == (3, 1, 4, 6, 6)
        assert batch.present == {}
        for patch, target in zip(batch.inputs["ct"][:, 0].numpy(), batch.targets["labels"][:, 0].numpy(), strict=True):
            start = np.unravel_index(round(float(patch[0, 0, 0])), image.shape)
            part = tuple(slice(a, a + n) for a, n in zip(start, patch.shape, strict=True))
            np.testing.assert_allclose(patch, image[part], atol=0.2)
            np.testing.assert_array_equal(target, labels[part])
            starts.add(start)
    assert len(starts) > 30


@pytest.mark.parametrize("shape", [(2, 12, 14), (10, 3, 4), (1, 1, 2)])
def test_a_small_image_lies_in_the_middle_and_the_rest_is_unannotated(shape) -> None:
    case = case_of("a", shape)
    batch = stream_of(plan_of(foreground=0), case).batch(0)
    known = batch.targets["labels"][0, 0] != IGNORE
    for axis, (n, p) in enumerate(zip(shape, (4, 6, 6), strict=True)):
        there = np.flatnonzero(known.any(dim=tuple(a for a in range(3) if a != axis)).numpy())
        assert len(there) == min(n, p)
        if n < p:
            assert abs((there[0] + there[-1]) / 2 - (p - 1) / 2) <= 0.5


def test_structures_are_drawn_in_equal_shares_whatever_their_size() -> None:
    stream = stream_of(plan_of(foreground=1.0, batch=8), case_of("a"))
    labels = torch.cat([stream.batch(step).targets["labels"] for step in range(40)])
    rare = (labels == 2).flatten(1).any(1).float().mean()
    assert 0.4 < float(rare) < 0.6
    anywhere = stream_of(plan_of(foreground=0.0, batch=8), case_of("a"))
    labels = torch.cat([anywhere.batch(step).targets["labels"] for step in range(40)])
    assert float((labels == 2).flatten(1).any(1).float().mean()) < 0.2


def test_cases_are_drawn_in_equal_shares() -> None:
    stream = stream_of(plan_of(batch=8), *[case_of(n, offset=1e5 * k) for k, n in enumerate("abc")])
    first = torch.cat([stream.batch(step).inputs["ct"][:, 0, 0, 0, 0] for step in range(40)])
    counts = np.bincount((first / 1e5).round().int().numpy(), minlength=3)
    assert counts.min() > 70


def test_batches_depend_on_seed_stream_and_step_alone() -> None:
    cases = [case_of("a"), case_of("b", (9, 9, 9))]
    plan = plan_of(augmentation=ALL, seed=4)
    stream = stream_of(plan, *cases)
    forward = [stream.batch(step) for step in range(4)]
    fresh = stream_of(plan, *cases)
    torch.manual_seed(77)
    np.random.seed(77)
    for step in (3, 1, 2, 0):
        again = fresh.batch(step)
        assert torch.equal(again.inputs["ct"], forward[step].inputs["ct"])
        assert torch.equal(again.targets["labels"], forward[step].targets["labels"])
    for other in (stream_of(plan, *cases, number=1), stream_of(plan_of(augmentation=ALL, seed=5), *cases)):
        assert not torch.equal(other.batch(0).inputs["ct"], forward[0].inputs["ct"])


def test_augmentation_can_be_left_out() -> None:
    plan = plan_of(augmentation=ALL)
    off = stream_of(plan, case_of("a"), augment=False).batch(0)
    image = case_of("a").image("ct").read().array[0]
    for patch in off.inputs["ct"][:, 0].numpy():
        start = np.unravel_index(round(float(patch[0, 0, 0])), image.shape)
        np.testing.assert_allclose(
            patch, image[tuple(slice(a, a + n) for a, n in zip(start, patch.shape, strict=True))], atol=0.2
        )


def test_a_missing_image_stays_zeros_in_training_too() -> None:
    plan = plan_of(augmentation=ALL | {"intensity_probability": 1.0})
    plan = Plan.model_validate(plan.model_dump() | {"inputs": [{"name": "ct"}, {"name": "pet", "required": False}]})
    with_pet, without = case_of("a"), case_of("b")
    with_pet = Case(
        "a", "p", {**with_pet.images, "pet": image_ref(with_pet.image("ct").read(), "pet")}, with_pet.annotations
    )
    stream = stream_of(plan, with_pet, without)
    seen = set()
    for step in range(6):
        batch = stream.batch(step)
        for k, there in enumerate(batch.present["pet"].tolist() if batch.present else [True] * 3):
            assert bool(batch.inputs["pet"][k].any()) is there
            assert batch.inputs["ct"][k].any()
            seen.add(there)
    assert seen == {True, False}
