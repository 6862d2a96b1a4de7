"""Peaks and box codes of detection."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isocenter.errors import PlanError
from isocenter.tasks.peaks import NEAR, box_losses, decode_boxes, draw_peaks, focal_loss, read_peaks, strides_of

BOXES = torch.tensor([[[2.5, 5.5, 9.5, 6.5, 12.5, 14.5], [0.5, 17.5, 1.5, 1.5, 18.5, 2.5]]])
CELLS, STRIDES = (4, 6, 5), (2, 4, 4)


@given(stride=st.sampled_from([1, 2, 4, 8, 16]), extra=st.integers(1, 60))
def test_strides_follow_from_sizes(stride, extra):
    size = stride // 2 + extra
    assert strides_of((size, 1, 7), (-(-size // stride), 1, 7)) == (stride, 1, 1)


def test_sizes_that_no_stride_explains_are_refused():
    with pytest.raises(PlanError, match="5 cells for 12 voxels"):
        strides_of((12, 8, 8), (5, 2, 2))


def test_a_peak_stands_in_the_cell_of_the_middle():
    heat, weight, wanted = draw_peaks(BOXES, torch.tensor([[0, 1]]), count=2, cells=CELLS, strides=STRIDES)
    # middles (4.5, 9, 12) and (1, 18, 2): cells of 2 x 4 x 4 voxels, the first of which spans -0.5 to 1.5
    assert torch.nonzero(heat[0] == 1).tolist() == [[0, 2, 2, 3], [1, 0, 4, 0]]
    assert float(heat.max()) == 1
    assert float(heat.min()) >= 0
    assert (weight[weight > 0] >= NEAR).all()
    assert wanted[0, :3, 2, 2, 3].tolist() == pytest.approx([(4.5 - 4.5) / 2, (9 - 9.5) / 4, (12 - 13.5) / 4])
    assert wanted[0, 3:, 2, 2, 3].exp().tolist() == pytest.approx([4 / 2, 7 / 4, 5 / 4])


def test_boxes_that_fill_up_a_batch_leave_no_trace():
    none = torch.tensor([[-1, -1]])
    heat, weight, _ = draw_peaks(BOXES, none, count=2, cells=CELLS, strides=STRIDES)
    assert not heat.any()
    assert not weight.any()
    padded = draw_peaks(BOXES, torch.tensor([[0, -1]]), count=2, cells=CELLS, strides=STRIDES)
    alone = draw_peaks(BOXES[:, :1], torch.tensor([[0]]), count=2, cells=CELLS, strides=STRIDES)
    for one, other in zip(padded, alone, strict=True):
        assert torch.equal(one, other)


def test_codes_give_the_boxes_back_at_every_cell_that_learns_them():
    _, weight, wanted = draw_peaks(BOXES, torch.tensor([[0, 0]]), count=1, cells=CELLS, strides=STRIDES)
    found = decode_boxes(wanted[0], STRIDES)[:, weight[0] > 0].T
    apart = (found[:, None] - BOXES[0][None]).abs().amax(2).min(1)
    assert apart.indices.unique().tolist() == [0, 1]
    assert float(apart.values.max()) < 1e-4


def test_a_middle_between_two_cells_makes_both_of_them_a_peak():
    box = torch.tensor([[[-0.5, -0.5, -0.5, 3.5, 7.5, 3.5]]])
    heat, _, _ = draw_peaks(box, torch.tensor([[0]]), count=1, cells=(1, 4, 1), strides=(4, 4, 4))
    assert heat[0, 0, 0, :, 0].tolist() == pytest.approx(
        [1.0, 1.0, np.exp(-0.5 * (1.5**2 - 0.5**2) / 0.25), 0], abs=2e-4
    )


def test_focal_loss_equals_the_formula():
    rng = np.random.default_rng(0)
    logits, heat = rng.normal(size=(2, 1, 3, 4, 4)), rng.uniform(0, 0.9, (2, 1, 3, 4, 4))
    heat[0, 0, 1, 2, 2] = heat[1, 0, 0, 0, 0] = 1
    p = 1 / (1 + np.exp(-logits))
    expected = -np.where(heat == 1, (1 - p) ** 2 * np.log(p), (1 - heat) ** 4 * p**2 * np.log(1 - p)).sum()
    assert float(focal_loss(torch.from_numpy(logits), torch.from_numpy(heat))) == pytest.approx(expected)


def test_box_loss_equals_the_formula():
    code = torch.zeros(1, 6, 1, 1, 2)
    wanted = code.clone()
    wanted[0, 2, ..., 0] = 3  # boxes of one cell, three cells apart along the columns: hull of 4, union of 2
    weight = torch.tensor([1.0, 0.5]).view(1, 1, 1, 2)
    giou = 0 - (4 - 2) / 4
    expected = ((3 - 0.25) / 6 + 1 - giou) * 1.0 / 1.5
    assert float(box_losses(code, wanted, weight)) == pytest.approx(expected)
    assert float(box_losses(wanted, wanted, weight)) == pytest.approx(0, abs=1e-6)
    assert float(box_losses(code, wanted, weight * 0)) == 0


def test_peaks_are_read_best_first():
    heat = torch.zeros(2, 1, 5, 5)
    heat[0, 0, 1, 1], heat[0, 0, 1, 2], heat[0, 0, 4, 4], heat[1, 0, 1, 2], heat[1, 0, 4, 0] = 0.6, 0.5, 0.9, 0.7, 0.04
    boxes = torch.arange(6 * 25.0).view(6, 1, 5, 5)
    corners, scores, classes = read_peaks(heat, boxes, least=0.05, limit=10)
    assert scores.tolist() == pytest.approx([0.9, 0.7, 0.6])  # 0.5 stands beside 0.6 of its class
    assert classes.tolist() == [0, 1, 0]
    assert corners.tolist() == [boxes[:, 0, 4, 4].tolist(), boxes[:, 0, 1, 2].tolist(), boxes[:, 0, 1, 1].tolist()]
    assert len(read_peaks(heat, boxes, least=0.05, limit=2)[1]) == 2
