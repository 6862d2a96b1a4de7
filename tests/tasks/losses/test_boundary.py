"""Signed distances against brute force and scipy, and the boundary loss against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.synthetic import make_case
from tests.tasks.losses.loss_cases import PAIR, REGIONS, SCHEMAS, draw, task_of, value

from isocenter.errors import PlanError
from isocenter.records import IGNORE, LabelMap, LabelSchema
from isocenter.tasks.losses import Boundary, build_losses, signed_distance
from isocenter.volume import Grid, Volume


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


def test_steps_scale_distances_as_in_scipy() -> None:
    mask = draw(PAIR)[1][0, 0].numpy() > 0
    found = signed_distance(mask[None], (4.0, 1.0, 2.0))[0]
    away = ndimage.distance_transform_edt(~mask, sampling=(4, 1, 2))
    within = ndimage.distance_transform_edt(mask, sampling=(4, 1, 2))
    np.testing.assert_allclose(found, np.where(mask, 1 - within, away), atol=1e-5)


def test_one_slice_is_measured_in_its_plane() -> None:
    mask = np.zeros((1, 1, 1, 7), bool)
    mask[..., 3:] = True
    wide = signed_distance(mask, (0.5, 1.0, 2.0))[0, 0, 0]
    assert wide.tolist() == [6, 4, 2, 0, -2, -4, -6]


def test_the_boundary_loss_is_the_mean_of_share_times_distance() -> None:
    logits, labels = draw(REGIONS)
    wanted = []
    for k in range(2):
        distance = np.stack([signed_distance(each[k : k + 1].numpy() > 0)[0] for each in labels])
        wanted.append((logits.sigmoid()[:, k].numpy() * distance).mean())
    found = value(task_of(REGIONS, loss={"boundary": 1}), logits, labels, "boundary")
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-4)


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


def test_losses_that_prepare_nothing_leave_the_batch_as_it_is() -> None:
    task = task_of(loss={"dice": 1, "focal": 1})
    assert set(task.collate([{"labels": each} for each in draw(PAIR)[1]])) == {"labels"}


@SCHEMAS
def test_labels_that_no_loader_has_seen_give_the_same(schema: LabelSchema) -> None:
    logits, labels = draw(schema)
    labels[..., 0] = IGNORE
    task = task_of(schema, loss={"boundary": {"steps": [3, 1, 1]}})
    direct = task.loss({"segmentation": logits}, {"labels": labels})["boundary"]
    assert float(direct) == pytest.approx(float(value(task, logits, labels, "boundary")), rel=1e-6)
    assert float(direct) != pytest.approx(
        float(value(task_of(schema, loss={"boundary": 1}), logits, labels, "boundary"))
    )


def test_a_loss_that_extends_it_finds_its_own_distances() -> None:
    from isocenter.tasks.losses import loss, losses

    @loss("boundary-squared")
    class Squared(Boundary):
        def prepare(self, masks, known):
            distance = super().prepare(masks, known)
            return np.sign(distance) * distance**2

    try:
        logits, labels = draw(PAIR)
        task = task_of(loss={"boundary": 1, "boundary-squared": 1})
        batch = task.collate([{"labels": each} for each in labels])
        torch.testing.assert_close(
            batch["loss.boundary-squared"], batch["loss.boundary"] * batch["loss.boundary"].abs()
        )
        both = task.loss({"segmentation": logits}, batch)
        assert float(both["boundary"]) != pytest.approx(float(both["boundary-squared"]))
        # at coarser levels neither is asked for
        coarse = {"segmentation": logits, "segmentation@1": logits[..., ::2]}
        assert float(task.loss(coarse, batch)["boundary"]) == pytest.approx(float(both["boundary"]))
    finally:
        losses._items.pop("boundary-squared")


def test_steps_that_are_none_are_refused() -> None:
    with pytest.raises(PlanError, match=r"task\.options\.loss\.boundary\.steps\.1: .*greater than 0"):
        build_losses({"boundary": {"steps": [1, 0, 1]}})
