"""Soft skeletons and centre-line Dice against MONAI."""

from __future__ import annotations

import pytest
import torch
from tests.tasks.losses.loss_cases import REGIONS, draw, task_of, value

from isocenter.records import LabelSchema
from isocenter.tasks.losses import soft_skeleton


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


def test_a_broken_vessel_costs_more_than_a_thin_one() -> None:
    one = LabelSchema.of({"vessel": 1}, exclusive=False)
    tube = torch.zeros(1, 1, 1, 9, 60, dtype=torch.uint8)
    tube[..., 2:7, :] = 1
    thin, broken = tube.clone(), tube.clone()
    thin[..., 2, :] = thin[..., 6, :] = 0
    broken[..., 20:40] = 0
    task = task_of(one, loss={"dice": 1, "cldice": 1})
    costs = {
        name: [float(value(task, 24.0 * (drawn.float() - 0.5), tube, name)) for drawn in (thin, broken)]
        for name in ("dice", "cldice")
    }
    assert costs["dice"][0] > costs["dice"][1], "Dice prefers the broken one"
    assert costs["cldice"][0] < 0.05 < costs["cldice"][1]
