"""Segmentation: truth, losses, mirroring, decoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.synthetic import label_map, make_case

from isocenter.augment import SpatialMap, identity_map
from isocenter.errors import GeometryError, LabelError, PlanError
from isocenter.plan import StructureSpec, TaskSpec
from isocenter.records import IGNORE, LabelMap, LabelSchema, Masks, Prediction
from isocenter.tasks import Placement, Segmentation, Slab
from isocenter.volume import Grid, Volume

GRID = Grid.regular((3, 6, 8), spacing_mm=(2, 1, 1))
SIDES = LabelSchema.of({"lung_left": 3, "lung_right": 7, "heart": 4}, ignore=9)
REGIONS = LabelSchema.of({"whole": (1, 2), "core": 2}, ignore=9)


def segmentation(schema: LabelSchema, **options: object) -> Segmentation:
    return Segmentation(
        TaskSpec(
            structures=TaskSpec.structures_of(schema),
            exclusive=schema.exclusive,
            ignore=schema.ignore,
            options=options,
        ),
        "ct",
    )


def drawn(values: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(values, GRID.shape).astype(np.uint8)


def case_of(array: np.ndarray, schema: LabelSchema, grid: Grid = GRID):
    image = Volume(np.zeros(GRID.shape, np.float32), GRID)
    return make_case("k1", image, label_map(array, grid, schema))


def logits_for(task: Segmentation, labels: torch.Tensor, height: float = 12.0) -> torch.Tensor:
    """Outputs that say exactly ``labels``; unannotated voxels say nothing."""
    known = labels.where(labels != IGNORE, torch.tensor(0, dtype=torch.uint8)).long()
    if task.schema.exclusive:
        hot = torch.nn.functional.one_hot(known[:, 0], len(task.schema) + 1).movedim(-1, 1)
    else:
        hot = known
    return (hot.float() * 2 - 1) * height


def test_truth_is_encoded_as_the_schema_says():
    array = drawn([0, 3, 4, 7, 9])
    labels = segmentation(SIDES).encode(case_of(array, SIDES), {"ct": GRID})["labels"].numpy()[0]
    expected = np.vectorize({0: 0, 3: 1, 7: 2, 4: 3, 9: IGNORE}.get)(array)
    assert np.array_equal(labels, expected)


def test_regions_share_values():
    array = drawn([0, 1, 2, 9])
    labels = segmentation(REGIONS).encode(case_of(array, REGIONS), {"ct": GRID})["labels"].numpy()
    assert np.array_equal(labels == 1, np.stack([np.isin(array, (1, 2)), array == 2]))
    assert np.array_equal(labels == IGNORE, np.stack([array == 9] * 2))


def test_masks_are_taken_by_name_and_may_overlap_only_where_the_plan_says():
    planes = np.zeros((2, *GRID.shape), np.uint8)
    planes[0, 0], planes[1, :2] = 1, 1
    volume = Volume(planes, GRID, "label")
    schema = LabelSchema.of({"core": 1, "whole": 2}, exclusive=False)
    image = Volume(np.zeros(GRID.shape, np.float32), GRID)
    case = make_case("k1", image, Masks(image="ct", schema=schema, read=lambda: volume))
    labels = segmentation(REGIONS).encode(case, {"ct": GRID})["labels"].numpy()
    assert np.array_equal(labels, planes[::-1])  # the plan's order, not the file's
    apart = LabelSchema.of({"core": 1, "whole": 2})
    with pytest.raises(LabelError, match="case k1: structure 'whole' overlaps"):
        segmentation(apart).encode(case, {"ct": GRID})


def test_truth_that_cannot_be_used_is_refused_by_name():
    task = segmentation(SIDES)
    with pytest.raises(LabelError, match=r"case k1: label value 5 is not declared"):
        task.encode(case_of(drawn([0, 5]), SIDES), {"ct": GRID})
    with pytest.raises(GeometryError, match=r"case k1: .*does not lie on image 'ct'"):
        task.encode(case_of(drawn([0, 3]), SIDES, Grid.regular(GRID.shape, spacing_mm=(2, 1, 1.2))), {"ct": GRID})
    with pytest.raises(LabelError, match="case k1: has no label map 'main'"):
        task.encode(make_case("k1", Volume(np.zeros(GRID.shape), GRID)), {"ct": GRID})


def test_loss_equals_monai():
    from monai.losses import DiceCELoss

    task = segmentation(LabelSchema.of({"a": 1, "b": 2}), levels=1)
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 6, 5, generator=rng)
    labels = torch.randint(0, 3, (2, 1, 4, 6, 5), generator=rng)
    terms = task.loss({"segmentation": logits}, {"labels": labels.to(torch.uint8)})
    peer = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=0, smooth_dr=0)
    assert float(terms["cross-entropy"] + terms["dice"]) == pytest.approx(float(peer(logits, labels)), rel=1e-5)


def test_loss_of_regions_equals_the_formula():
    task = segmentation(REGIONS, levels=1, loss={"dice": 2.0, "cross-entropy": {"weight": 3.0}})
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 2, 3, 4, 5)), rng.choice([0, 1, IGNORE], (2, 2, 3, 4, 5))
    terms = task.loss(
        {"segmentation": torch.from_numpy(logits).float()}, {"labels": torch.from_numpy(labels).to(torch.uint8)}
    )
    share, known = 1 / (1 + np.exp(-logits)), labels != IGNORE
    entropy = -np.where(labels == 1, np.log(share), np.log(1 - share))[known].mean()
    dice = [
        2 * share[:, k][labels[:, k] == 1].sum() / (share[:, k][known[:, k]].sum() + (labels[:, k] == 1).sum())
        for k in range(2)
    ]
    assert float(terms["cross-entropy"]) == pytest.approx(3 * entropy, rel=1e-5)
    assert float(terms["dice"]) == pytest.approx(2 * (1 - np.mean(dice)), rel=1e-5)
    assert float(terms["score"]) == pytest.approx(np.mean(dice), rel=1e-5)


@pytest.mark.parametrize("schema", [SIDES, REGIONS], ids=["exclusive", "regions"])
def test_unannotated_voxels_change_nothing(schema):
    task = segmentation(schema)
    array = drawn([*sorted(schema.values), 0, 9])
    labels = task.encode(case_of(array, schema), {"ct": GRID})["labels"][None]
    channels = task.heads()["segmentation"].channels
    logits = torch.randn(1, channels, *GRID.shape, generator=torch.Generator().manual_seed(0))
    moved = torch.where(torch.from_numpy(array == 9), logits + 50 * torch.randn(logits.shape), logits)
    first = task.loss({"segmentation": logits}, {"labels": labels})
    second = task.loss({"segmentation": moved}, {"labels": labels})
    for name, value in first.items():
        assert torch.allclose(value, second[name]), name
    moved.requires_grad_()
    terms = task.loss({"segmentation": moved}, {"labels": labels})
    (terms["cross-entropy"] + terms["dice"]).backward()
    there = moved.grad[0].abs().amax(0) > 0
    assert torch.equal(there, torch.from_numpy(array != 9))


@pytest.mark.parametrize("schema", [SIDES, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("value", [0, IGNORE], ids=["background", "unannotated"])
def test_patches_without_structures_give_a_finite_loss(schema, value):
    task = segmentation(schema)
    labels = torch.full((2, 1 if schema.exclusive else len(schema), *GRID.shape), value, dtype=torch.uint8)
    channels = task.heads()["segmentation"].channels
    logits = torch.randn(2, channels, *GRID.shape).requires_grad_()
    terms = task.loss({"segmentation": logits, "segmentation@1": logits[..., ::2, ::2]}, {"labels": labels})
    (terms["cross-entropy"] + terms["dice"]).backward()
    assert torch.isfinite(logits.grad).all()
    assert (float(terms["cross-entropy"].detach()) > 0) == (value == 0)


def test_finer_resolutions_weigh_more():
    task = segmentation(LabelSchema.of({"a": 1}))
    labels = torch.zeros(1, 1, 1, 8, 8, dtype=torch.uint8)
    labels[..., :4] = 1
    right, wrong = logits_for(task, labels), logits_for(task, 1 - labels)

    def entropy(*outputs: torch.Tensor) -> float:
        named = {f"segmentation@{k}" if k else "segmentation": v for k, v in enumerate(outputs)}
        return float(task.loss(named, {"labels": labels})["cross-entropy"])

    def coarse(t):
        return t[..., ::2, ::2]

    alone = entropy(wrong)
    assert entropy(wrong, coarse(right)) == pytest.approx(alone * 2 / 3, rel=1e-4)
    assert entropy(right, coarse(wrong)) == pytest.approx(alone / 3, rel=1e-4)


@pytest.mark.parametrize("schema", [SIDES, LabelSchema.of({"lung_left": (3, 4), "lung_right": (4, 7), "heart": 4})])
def test_mirroring_swaps_left_and_right(schema):
    task = segmentation(schema)
    array = drawn([0, 3, 4, 7])
    targets = task.encode(case_of(array, schema), {"ct": GRID})
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = GRID.shape[2] - 1
    moved = task.warp(targets, SpatialMap(flip, GRID.shape, mirrored=True))
    swapped = np.array([0, 1, 2, 7, 4, 5, 6, 3], np.uint8)[array][..., ::-1].copy()
    assert torch.equal(moved["labels"], task.encode(case_of(swapped, schema), {"ct": GRID})["labels"])
    # a flip from head to foot moves voxels, not names
    kept = task.warp(targets, SpatialMap(flip, GRID.shape, mirrored=False))
    assert torch.equal(kept["labels"], targets["labels"].flip(-1))


def test_beyond_the_image_nothing_is_annotated():
    task = segmentation(SIDES)
    targets = task.encode(case_of(drawn([0, 3]), SIDES), {"ct": GRID})
    patch = task.warp(targets, identity_map(centre=(1, 0, 0), shape=(3, 6, 8)))["labels"]
    assert (patch[:, :, :2] == IGNORE).all()
    assert (patch[..., :3] == IGNORE).all()
    assert torch.equal(patch[:, :, 2:, 3:], targets["labels"][:, :, :4, :5])


def test_structures_that_a_batch_lacks_have_no_part_in_dice():
    labels = torch.zeros(1, 1, 2, 4, 4, dtype=torch.uint8)
    labels[..., 1:] = 1
    logits = torch.randn(1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    share = logits.softmax(1)[:, 1]
    terms = segmentation(LabelSchema.of({"a": 1, "b": 2}), levels=1).loss({"segmentation": logits}, {"labels": labels})
    dice = 2 * share[labels[:, 0] == 1].sum() / (share.sum() + (labels == 1).sum())
    assert float(terms["dice"]) == pytest.approx(1 - float(dice), rel=1e-5)


def test_sites_lie_in_their_structure():
    task = segmentation(SIDES)
    array = drawn([0, 3, 4])
    sites = task.sites(task.encode(case_of(array, SIDES), {"ct": GRID}))
    assert set(sites) == {"lung_left", "heart"}
    for name, value in (("lung_left", 3), ("heart", 4)):
        assert len(sites[name]) == (array == value).sum()
        assert (array[tuple(sites[name].T)] == value).all()


@pytest.mark.parametrize("schema", [SIDES, REGIONS], ids=["exclusive", "regions"])
def test_perfect_outputs_come_back_as_the_truth(schema):
    task = segmentation(schema)
    array = drawn([0, *sorted(schema.values), 9])
    case = case_of(array, schema)
    labels = task.encode(case, {"ct": GRID})["labels"]
    logits = logits_for(task, labels[None])[0]
    # what is said of unannotated voxels is not judged
    logits[-1] = torch.where(torch.from_numpy(array == 9), 99.0, logits[-1])
    slabs = (Slab(z, {"segmentation": logits[:, z : z + 1]}) for z in range(GRID.shape[0]))
    decoded = task.decode(slabs, Placement(GRID, GRID))
    measures = task.measure(Prediction(case, decoded.annotations), case)
    assert [m.name for m in measures] == list(schema.names)
    assert [m.values["dice"] for m in measures] == [1.0] * len(schema)
    (found,) = decoded.annotations
    assert isinstance(found, LabelMap if schema.exclusive else Masks)
    assert found.image == "ct"


def test_plans_that_do_not_fit_are_refused():
    one = (StructureSpec(name="a", values=(1,)),)
    with pytest.raises(PlanError, match="at least one structure"):
        Segmentation(TaskSpec(), "ct")
    with pytest.raises(
        PlanError, match=r"tolerence_mm: no such option \(did you mean 'tolerance_mm'\?\); segmentation knows .*levels"
    ):
        Segmentation(TaskSpec(structures=one, options={"tolerence_mm": 1}), "ct")
    with pytest.raises(PlanError, match=r"task\.options\.levels: .* found 0"):
        Segmentation(TaskSpec(structures=one, options={"levels": 0}), "ct")
