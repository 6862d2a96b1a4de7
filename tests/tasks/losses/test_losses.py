"""Losses against MONAI, against formulae, and against what any loss of segmentation must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.synthetic import make_case

from isocenter.errors import PlanError
from isocenter.plan import TaskSpec
from isocenter.records import IGNORE, LabelMap, LabelSchema
from isocenter.tasks import Segmentation
from isocenter.tasks.losses import Loss, Seen, build_losses, loss, losses, signed_distance, soft_skeleton
from isocenter.volume import Grid, Volume

PAIR, REGIONS = LabelSchema.of({"a": 1, "b": 2}), LabelSchema.of({"a": 1, "b": 2}, exclusive=False)
SCHEMAS = pytest.mark.parametrize("schema", [PAIR, REGIONS], ids=["exclusive", "regions"])
NAMES = ("boundary", "cldice", "cross-entropy", "dice", "focal", "generalised-dice", "top-k", "tversky")


def task_of(schema: LabelSchema = PAIR, **options) -> Segmentation:
    spec = TaskSpec(
        structures=TaskSpec.structures_of(schema), exclusive=schema.exclusive, options={"levels": 1, **options}
    )
    return Segmentation(spec, "ct")


def draw(schema: LabelSchema, shape=(4, 9, 8), batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits, and blobs as labels."""
    rng = np.random.default_rng(seed)
    channels = 2 + schema.exclusive
    logits = torch.from_numpy(rng.normal(size=(batch, channels, *shape))).float()
    blobs = ndimage.gaussian_filter(rng.normal(size=(2, batch, *shape)), (0, 0, *[1.5 if n > 1 else 0 for n in shape]))
    if schema.exclusive:
        labels = np.where(blobs[0] > 0.05, 1, np.where(blobs[1] > 0.05, 2, 0))[:, None]
    else:
        labels = (blobs > 0.05).astype(int).swapaxes(0, 1)
    return logits, torch.from_numpy(labels).to(torch.uint8)


def value(task: Segmentation, logits: torch.Tensor, labels: torch.Tensor, name: str) -> torch.Tensor:
    targets = task.collate([{"labels": each} for each in labels])
    return task.loss({"segmentation": logits}, targets)[name]


def right(labels: torch.Tensor, schema: LabelSchema, scale: float = 12.0) -> torch.Tensor:
    if schema.exclusive:
        hot = torch.nn.functional.one_hot(labels[:, 0].long().clamp_max(2), 3).movedim(-1, 1)
    else:
        hot = labels.long().clamp_max(1)
    return scale * (2 * hot - 1).float()


def test_these_losses_are_there() -> None:
    assert losses.names() == NAMES


def test_overlap_equals_monai() -> None:
    from monai.losses import GeneralizedDiceLoss, TverskyLoss

    logits, labels = draw(PAIR)
    plain = {"to_onehot_y": True, "softmax": True, "batch": True, "smooth_nr": 0, "smooth_dr": 0}
    tversky = TverskyLoss(alpha=0.3, beta=0.7, include_background=False, **plain)(logits, labels)
    task = task_of(loss={"tversky": 1, "generalised-dice": 1})
    assert float(value(task, logits, labels, "tversky")) == pytest.approx(float(tversky), rel=1e-5)
    general = GeneralizedDiceLoss(include_background=True, w_type="square", **plain)(logits, labels)
    assert float(value(task, logits, labels, "generalised-dice")) == pytest.approx(float(general), rel=1e-5)


def test_focal_equals_monai() -> None:
    from monai.losses import FocalLoss

    logits, labels = draw(REGIONS)
    theirs = FocalLoss(gamma=2.0, use_softmax=False)(logits, labels.float())
    ours = value(task_of(REGIONS, loss={"focal": 1}), logits, labels, "focal")
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)
    logits, labels = draw(PAIR)
    theirs = FocalLoss(gamma=1.5, use_softmax=True, to_onehot_y=True, include_background=True)(logits, labels)
    ours = value(task_of(loss={"focal": {"gamma": 1.5}}), logits, labels, "focal")
    assert float(ours) == pytest.approx(3 * float(theirs), rel=1e-4), "theirs is a mean over channels"


@pytest.mark.parametrize("shape", [(1, 12, 14), (6, 12, 14)])
def test_centre_lines_equal_monais(shape) -> None:
    from monai.losses.cldice import SoftclDiceLoss, soft_skel

    logits, labels = draw(REGIONS, shape)
    share = logits.sigmoid()
    flat = shape[0] == 1
    theirs = soft_skel(share[:, :, 0] if flat else share, 4)
    torch.testing.assert_close(soft_skeleton(share, 4), theirs[:, :, None] if flat else theirs)
    one = LabelSchema.of({"a": 1}, exclusive=False)
    ours = value(task_of(one, loss={"cldice": {"iterations": 4}}), logits[:1, :1], labels[:1, :1], "cldice")
    input_, target = (x[:1, :1, 0] if flat else x[:1, :1] for x in (share, labels.float()))
    assert float(ours) == pytest.approx(float(SoftclDiceLoss(iter_=4)(input_, target)), rel=1e-4)


def test_the_hardest_voxels_are_the_ones_that_count() -> None:
    logits, labels = draw(PAIR)
    each = torch.nn.functional.cross_entropy(logits, labels[:, 0].long(), reduction="none").ravel()
    count = round(0.25 * each.numel())
    wanted = each.sort(descending=True).values[:count].mean()
    found = value(task_of(loss={"top-k": {"share": 0.25}}), logits, labels, "top-k")
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)
    whole = value(task_of(loss={"top-k": {"share": 1.0}}), logits, labels, "top-k")
    assert float(whole) == pytest.approx(float(each.mean()), rel=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.tuples(st.integers(1, 4), st.integers(3, 9), st.integers(3, 9)))
def test_distances_are_to_the_nearest_voxel_of_the_other_side(seed: int, shape) -> None:
    mask = np.random.default_rng(seed).random(shape) > 0.6
    found = signed_distance(mask[None])[0]
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    inside = mask.ravel()
    if inside.all() or not inside.any():
        assert not found.any()
        return
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
    to_inside, to_outside = gaps[:, inside].min(1), gaps[:, ~inside].min(1)
    wanted = np.where(inside, 1 - to_outside, to_inside)
    np.testing.assert_allclose(found.ravel(), wanted, atol=1e-5)


def test_the_boundary_loss_is_the_mean_of_share_times_distance() -> None:
    logits, labels = draw(REGIONS)
    wanted = []
    for k in range(2):
        distance = np.stack([signed_distance(each[k : k + 1].numpy() > 0)[0] for each in labels])
        wanted.append((logits.sigmoid()[:, k].numpy() * distance).mean())
    found = value(task_of(REGIONS, loss={"boundary": 1}), logits, labels, "boundary")
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-4)


@SCHEMAS
@pytest.mark.parametrize("name", NAMES)
def test_the_truth_is_better_than_chance_and_than_what_is_shifted(name: str, schema: LabelSchema) -> None:
    logits, labels = draw(schema)
    task = task_of(schema, loss={name: 1})
    best = float(value(task, right(labels, schema), labels, name))
    shifted = float(value(task, right(labels.roll(3, -1), schema), labels, name))
    assert best < float(value(task, logits, labels, name))
    assert best < shifted
    if name != "boundary":
        assert best == pytest.approx(0, abs=2e-3 if name == "cldice" else 1e-3)


@SCHEMAS
@pytest.mark.parametrize("name", NAMES)
def test_unannotated_voxels_take_no_part(name: str, schema: LabelSchema) -> None:
    logits, labels = draw(schema)
    hidden = torch.rand(labels.shape[0], 1, *labels.shape[2:], generator=torch.Generator().manual_seed(0)) < 0.3
    labels = torch.where(hidden, torch.tensor(IGNORE, dtype=torch.uint8), labels)
    task = task_of(schema, loss={name: 1})
    logits.requires_grad_()
    value(task, logits, labels, name).backward()
    reached = logits.grad.abs().amax(1, keepdim=True) > 0
    assert not (reached & hidden).any()
    assert reached.any()
    nothing = value(task, logits, torch.full_like(labels, IGNORE), name)
    nothing.backward()
    assert torch.isfinite(nothing)
    assert torch.isfinite(logits.grad).all()


@SCHEMAS
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str, schema: LabelSchema) -> None:
    logits, labels = draw(schema, (2, 4, 5), batch=1)
    task = task_of(schema, loss={name: {"share": 1.0} if name == "top-k" else 1.0})
    logits = logits.requires_grad_()
    value(task, logits, labels, name).backward()
    place = (0, 1, 1, 2, 2)
    step = torch.zeros_like(logits)
    step[place] = 0.02
    with torch.no_grad():
        slope = (value(task, logits + step, labels, name) - value(task, logits - step, labels, name)) / 0.04
    assert float(logits.grad[place]) == pytest.approx(float(slope), rel=0.05, abs=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_computed_in_32_bit(name: str) -> None:
    logits, labels = draw(PAIR)
    task = task_of(loss={name: 1})
    half = value(task, logits.bfloat16(), labels, name)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(value(task, logits.bfloat16().float(), labels, name)))


@pytest.mark.parametrize("name", NAMES)
def test_each_loss_alone_teaches_a_toy(name: str) -> None:
    torch.manual_seed(0)
    _, labels = draw(PAIR, (1, 16, 16), batch=4)
    image = right(labels, PAIR, 1.0)[:, 1:] + 0.3 * torch.randn(4, 2, 1, 16, 16)
    network = torch.nn.Conv3d(2, 3, 1)
    task = task_of(loss={name: 1})
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    first = None
    for _ in range(60):
        now = value(task, network(image), labels, name)
        first = first if first is not None else float(now.detach())
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
    assert float(now.detach()) < first
    if name != "boundary":  # it says nothing of background, and stands beside an overlap loss
        found = network(image).argmax(1)
        assert float((found == labels[:, 0]).float().mean()) > 0.8


@SCHEMAS
def test_structures_weigh_as_told(schema: LabelSchema) -> None:
    logits, labels = draw(schema)
    plain = task_of(schema, loss={"dice": 1, "cross-entropy": 1})
    heavy = task_of(schema, loss={"dice": 1, "cross-entropy": 1}, class_weights={"b": 1e6})
    dice = [
        float(value(task_of(schema, loss={"dice": 1}, class_weights={n: 1e9}), logits, labels, "dice")) for n in "ab"
    ]
    assert float(value(plain, logits, labels, "dice")) == pytest.approx(np.mean(dice), rel=1e-4)
    assert float(value(heavy, logits, labels, "dice")) == pytest.approx(dice[1], rel=1e-3)
    if schema.exclusive:
        weights = torch.tensor([1.0, 1.0, 1e6])
        wanted = torch.nn.functional.cross_entropy(logits, labels[:, 0].long(), weights)
        assert float(value(heavy, logits, labels, "cross-entropy")) == pytest.approx(float(wanted), rel=1e-4)


def test_weights_and_losses_are_summed_as_the_plan_says() -> None:
    logits, labels = draw(PAIR)
    task = task_of(loss={"dice": 2, "focal": {"weight": 0.5, "gamma": 1}})
    terms = task.loss({"segmentation": logits}, task.collate([{"labels": each} for each in labels]))
    assert set(terms) == {"dice", "focal", "score"}
    assert float(terms["dice"]) == pytest.approx(2 * float(value(task_of(loss={"dice": 1}), logits, labels, "dice")))


def test_a_loss_from_outside() -> None:
    @loss("halves")
    class Halves(Loss):
        offset: float = 0.0

        def __call__(self, seen: Seen) -> torch.Tensor:
            return seen.share[:, seen.first :].mean() + self.offset

    logits, labels = draw(PAIR)
    found = value(task_of(loss={"halves": {"offset": 3}}), logits, labels, "halves")
    assert float(found) == pytest.approx(3 + float(logits.softmax(1)[:, 1:].mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "nothing would be learned"),
        ({"dise": 1}, r"no loss 'dise' \(did you mean 'dice'\?\)"),
        ({"dice": 0}, r"task\.options\.loss\.dice\.weight: .*greater than 0"),
        ({"tversky": {"bata": 1}}, r"task\.options\.loss\.tversky\.bata: no such option \(did you mean 'beta'\?\)"),
    ],
)
def test_losses_that_are_not_there_are_refused(given_, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        build_losses(given_)


def test_weights_of_structures_that_are_not_there_are_refused() -> None:
    with pytest.raises(PlanError, match=r"'c' is not one of the structures \(a, b\)"):
        task_of(class_weights={"c": 2})
    with pytest.raises(PlanError, match=r"class_weights\.a: -1 is not a positive number"):
        task_of(class_weights={"a": -1})


def test_what_is_prepared_comes_with_the_batch() -> None:
    grid = Grid.regular((1, 6, 6), spacing_mm=(5, 1, 1))
    array = np.zeros(grid.shape, np.uint8)
    array[0, 2:4, 2:4] = 1
    volume = Volume(array, grid, "label")
    case = make_case(
        "k", Volume(np.zeros(grid.shape, np.float32), grid), LabelMap(image="ct", schema=PAIR, read=lambda: volume)
    )
    task = task_of(loss={"dice": 1, "boundary": 0.1})
    batch = task.collate([task.encode(case, {"ct": grid})])
    assert batch["loss.boundary"].shape == (1, 2, 1, 6, 6)
    assert float(batch["loss.boundary"][0, 0, 0, 0, 0]) == pytest.approx(8**0.5)
