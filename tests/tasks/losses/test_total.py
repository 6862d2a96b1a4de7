"""Losses together: weights by loss, by structure, by resolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tasks.losses.loss_cases import PAIR, SCHEMAS, draw, task_of, value

from isocenter.errors import PlanError
from isocenter.records import LabelSchema


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


@SCHEMAS
def test_coarser_levels_count_half_as_much_except_where_only_the_finest_is_looked_at(schema: LabelSchema) -> None:
    logits, labels = draw(schema, (4, 8, 8))
    names = ("dice", "focal", "boundary", "cldice")
    task = task_of(schema, loss=dict.fromkeys(names, 1))
    targets = task.collate([{"labels": each} for each in labels])
    half = torch.nn.functional.interpolate(logits, scale_factor=0.5, mode="trilinear")
    both = task.loss({"segmentation": logits, "segmentation@1": half}, targets)
    fine = task.loss({"segmentation": logits}, targets)
    less = torch.nn.functional.interpolate(labels, size=half.shape[2:], mode="nearest-exact")
    coarse = task.loss({"segmentation": half}, {"labels": less})
    for name in names:
        only = name in ("boundary", "cldice")
        wanted = fine[name] if only else (2 * fine[name] + coarse[name]) / 3
        assert float(both[name]) == pytest.approx(float(wanted), rel=1e-5), name
    assert both["score"] == fine["score"]


def test_weights_of_structures_that_are_not_there_are_refused() -> None:
    with pytest.raises(PlanError, match=r"'c' is not one of the structures \(a, b\)"):
        task_of(class_weights={"c": 2})
    with pytest.raises(PlanError, match=r"class_weights\.a: -1 is not a positive number"):
        task_of(class_weights={"a": -1})
