"""Losses by voxel against MONAI, torch and a sort."""

from __future__ import annotations

import pytest
import torch
from tests.tasks.losses.loss_cases import PAIR, REGIONS, SCHEMAS, draw, task_of, value

from isocenter.records import LabelSchema


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


@SCHEMAS
def test_focal_without_focus_is_cross_entropy(schema: LabelSchema) -> None:
    logits, labels = draw(schema)
    task = task_of(schema, loss={"focal": {"gamma": 0}, "cross-entropy": 1}, class_weights={"a": 3, "b": 0.5})
    focal, entropy = (float(value(task, logits, labels, name)) for name in ("focal", "cross-entropy"))
    assert focal == pytest.approx(entropy, rel=1e-6)


def test_the_hardest_voxels_are_the_ones_that_count() -> None:
    logits, labels = draw(PAIR)
    each = torch.nn.functional.cross_entropy(logits, labels[:, 0].long(), reduction="none").ravel()
    count = round(0.25 * each.numel())
    wanted = each.sort(descending=True).values[:count].mean()
    found = value(task_of(loss={"top-k": {"share": 0.25}}), logits, labels, "top-k")
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)
    whole = value(task_of(loss={"top-k": {"share": 1.0}}), logits, labels, "top-k")
    assert float(whole) == pytest.approx(float(each.mean()), rel=1e-5)
