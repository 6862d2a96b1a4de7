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


def three_images(**training) -> PatchStream:
    """A case with an image that the plan requires and two that it does not."""
    plan = plan_of(batch=8, **training)
    inputs = [{"name": "ct"}, {"name": "pet", "required": False}, {"name": "mr", "required": False}]
    plan = Plan.model_validate(plan.model_dump() | {"inputs": inputs})
    case = case_of("a")
    volume = case.image("ct").read()
    images = {**case.images, "pet": image_ref(volume, "pet"), "mr": image_ref(volume, "mr")}
    return stream_of(plan, Case("a", "p", images, case.annotations))


def test_images_that_are_not_required_are_left_out_as_often_as_the_plan_says() -> None:
    stream = three_images(augmentation={"drop_image": 0.25, "brightness": 1.0, "intensity_probability": 1.0})
    counts = {"ct": 0, "pet": 0, "mr": 0}
    both = 0
    for step in range(60):
        batch = stream.batch(step)
        for k in range(8):
            there = {name: bool(flags[k]) for name, flags in batch.present.items()} or dict.fromkeys(counts, True)
            both += not (there["pet"] or there["mr"])
            for name in counts:
                assert bool(batch.inputs[name][k].any()) is there[name]
                counts[name] += not there[name]
    assert counts["ct"] == 0
    assert 80 < counts["pet"] < 160  # of 480, a quarter: 120
    assert 80 < counts["mr"] < 160
    assert 10 < both < 55  # each by itself: a sixteenth


def test_one_image_always_stays() -> None:
    plan = plan_of(batch=8, augmentation={"drop_image": 1.0})
    inputs = [{"name": "ct", "required": False}, {"name": "pet", "required": False}]
    plan = Plan.model_validate(plan.model_dump() | {"inputs": inputs})
    case, alone = case_of("a"), case_of("b")
    case = Case("a", "p", {**case.images, "pet": image_ref(case.image("ct").read(), "pet")}, case.annotations)
    stream = stream_of(plan, case, alone)
    kept = {"ct": 0, "pet": 0}
    for step in range(30):
        batch = stream.batch(step)
        for k in range(8):
            there = [name for name in kept if batch.present[name][k]]
            assert len(there) == 1
            assert batch.inputs[there[0]][k].any()
            kept[there[0]] += 1
    assert 30 < kept["pet"] < 90  # half of the half of patches whose case has it
    assert kept["ct"] + kept["pet"] == 240


def test_nothing_is_left_out_unless_asked_for_or_without_augmentation() -> None:
    plain = three_images(augmentation=ALL)
    assert all(plain.batch(step).present == {} for step in range(5))
    dropping = three_images(augmentation=ALL | {"drop_image": 0.9})
    assert any(dropping.batch(step).present for step in range(5))
    dropping.augment = False
    assert all(dropping.batch(step).present == {} for step in range(5))
    again = three_images(augmentation=ALL | {"drop_image": 0.9})
    dropping.augment = True
    for step in (3, 1):
        first, second = dropping.batch(step), again.batch(step)
        assert all(torch.equal(first.inputs[name], second.inputs[name]) for name in first.inputs)
        assert all(torch.equal(first.present[name], second.present[name]) for name in first.present)


def test_batches_do_not_depend_on_who_makes_them() -> None:
    from concurrent.futures import ThreadPoolExecutor

    plan = plan_of(augmentation=ALL | {"elastic_mm": [1, 1, 1], "elastic_grid_mm": 4.0, "spatial_probability": 1.0})
    stream = stream_of(plan, case_of("a"), case_of("b", (9, 9, 9)))
    alone = [stream.batch(step) for step in range(6)]
    with ThreadPoolExecutor(3) as pool:
        for found, expected in zip(pool.map(stream.batch, range(6)), alone, strict=True):
            assert torch.equal(found.inputs["ct"], expected.inputs["ct"])
            assert torch.equal(found.targets["labels"], expected.targets["labels"])


def test_mirrored_patches_swap_left_and_right_under_an_elastic_map() -> None:
    schema = {"structures": [
        {"name": "left", "values": [1], "mirror": "right"}, {"name": "right", "values": [2], "mirror": "left"},
    ]}  # fmt: skip
    augmentation = {"mirror": [2], "spatial_probability": 1.0, "elastic_mm": [0, 1, 1], "elastic_grid_mm": 6.0}
    plan = small_plan(schema, {"dimensions": 3}, {"patch": [4, 12, 14], "batch": 8, "augmentation": augmentation})
    grid = Grid.regular((4, 12, 14), spacing_mm=(1, 1, 1))
    labels = np.ones(grid.shape, np.uint8)
    labels[..., 7:] = 2
    case = make_case(
        "a",
        Volume(labels.astype(np.float32), grid),
        label_map(labels, grid, LabelSchema.of({"left": 1, "right": 2})),
    )
    stream = stream_of(plan, case)
    sides = set()
    for step in range(4):
        batch = stream.batch(step)
        for values, found in zip(batch.inputs["ct"][:, 0], batch.targets["labels"][:, 0], strict=True):
            mirrored = bool(values[:, :, :3].mean() > values[:, :, -3:].mean())
            sides.add(mirrored)
            known = found != IGNORE
            # whatever happened, the left of the patch is called left; in the image the two are told apart by value
            clear = known & ((values - values.mean()).abs() > 0.3 * values.std())
            high = values > values.mean()
            assert torch.equal(found[clear] == 1, high[clear] if mirrored else ~high[clear])
    assert sides == {True, False}


def test_a_source_that_knows_its_sites_is_asked_for_them() -> None:
    class Telling(list):
        def sites(self, index: int):
            return {"rare": np.array([[9, 11, 13]], np.int32)}

    plan = plan_of(foreground=1.0)
    pipeline = Pipeline(plan)
    samples = Telling([pipeline.prepare(case_of("a"), targets=True)])
    stream = PatchStream(plan, pipeline.task, samples, augment=False)
    assert all((stream.batch(step).targets["labels"] == 2).any() for step in range(3))
