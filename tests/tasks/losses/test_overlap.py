"""Losses of overlap against MONAI and formulae."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tasks.losses.loss_cases import PAIR, REGIONS, draw, right, task_of, value

from isocenter.errors import PlanError
from isocenter.tasks.losses import Seen, Tversky, build_losses, soft_dice


def test_overlap_equals_monai() -> None:
    from monai.losses import GeneralizedDiceLoss, TverskyLoss

    logits, labels = draw(PAIR)
    plain = {"to_onehot_y": True, "softmax": True, "batch": True, "smooth_nr": 0, "smooth_dr": 0}
    tversky = TverskyLoss(alpha=0.3, beta=0.7, include_background=False, **plain)(logits, labels)
    task = task_of(loss={"tversky": 1, "generalised-dice": 1})
    assert float(value(task, logits, labels, "tversky")) == pytest.approx(float(tversky), rel=1e-5)
    general = GeneralizedDiceLoss(include_background=True, w_type="square", **plain)(logits, labels)
    assert float(value(task, logits, labels, "generalised-dice")) == pytest.approx(float(general), rel=1e-5)


def test_dice_of_overlapping_structures_equals_monai() -> None:
    from monai.losses import DiceLoss, TverskyLoss

    logits, labels = draw(REGIONS)
    plain = {"sigmoid": True, "batch": True, "smooth_nr": 0, "smooth_dr": 0}
    dice = DiceLoss(**plain)(logits, labels.float())
    task = task_of(REGIONS, loss={"dice": 1, "tversky": {"alpha": 0.6, "beta": 0.2}})
    assert float(value(task, logits, labels, "dice")) == pytest.approx(float(dice), rel=1e-5)
    tversky = TverskyLoss(alpha=0.6, beta=0.2, **plain)(logits, labels.float())
    assert float(value(task, logits, labels, "tversky")) == pytest.approx(float(tversky), rel=1e-5)


def test_tversky_with_equal_halves_is_dice_and_focal_tversky_its_power() -> None:
    logits, labels = draw(PAIR)
    terms = {"dice": 1, "tversky": {"alpha": 0.5, "beta": 0.5}}
    task = task_of(loss=terms)
    whole = float(value(task, logits, labels, "dice"))
    assert float(value(task, logits, labels, "tversky")) == pytest.approx(whole, rel=1e-6)
    dice = soft_dice(Seen(logits, labels, exclusive=True)).numpy()
    focal = task_of(loss={"tversky": {"alpha": 0.5, "beta": 0.5, "exponent": 0.75}})
    assert float(value(focal, logits, labels, "tversky")) == pytest.approx(np.mean((1 - dice) ** 0.75), rel=1e-5)


def test_misses_cost_more_than_false_alarms_where_beta_is_larger() -> None:
    _, labels = draw(REGIONS)
    less, more = labels.clone(), labels.clone()
    less[..., :3], more[..., :3] = 0, 1
    mild, harsh = (task_of(REGIONS, loss={"tversky": {"alpha": 1 - b, "beta": b}}) for b in (0.5, 0.9))
    less, more = right(less, REGIONS), right(more, REGIONS)
    assert value(harsh, less, labels, "tversky") > value(mild, less, labels, "tversky") + 0.01
    assert value(harsh, more, labels, "tversky") < value(mild, more, labels, "tversky") - 0.01


def test_a_tversky_for_which_nothing_is_wrong_is_refused() -> None:
    assert Tversky(alpha=0, beta=1).beta == 1
    with pytest.raises(PlanError, match=r"task\.options\.loss\.tversky: .*alpha and beta are both 0"):
        build_losses({"tversky": {"alpha": 0, "beta": 0}})


def test_generalised_dice_leaves_out_what_is_not_in_the_batch() -> None:
    logits, labels = draw(PAIR)
    few = labels.where(labels != 2, torch.zeros_like(labels))
    task = task_of(loss={"generalised-dice": 1})
    p, g = logits.softmax(1).numpy(), right(few, PAIR, 0.5).numpy() + 0.5
    axes = (0, 2, 3, 4)
    w = np.array([1 / n**2 if n else 0 for n in g.sum(axes)])
    wanted = 1 - 2 * (w * (p * g).sum(axes)).sum() / (w * (p + g).sum(axes)).sum()
    assert float(value(task, logits, few, "generalised-dice")) == pytest.approx(wanted, rel=1e-5)
    nothing = value(
        task_of(REGIONS, loss={"generalised-dice": 1}),
        logits[:, 1:],
        torch.zeros_like(labels).expand(-1, 2, -1, -1, -1),
        "generalised-dice",
    )
    assert float(nothing) == 0
