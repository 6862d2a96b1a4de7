"""Boxes as arrays, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocenter.tasks.boxes import clip_boxes, drop_fragments, instance_boxes, map_boxes, nms
from isocenter.volume import Grid

SMALL = st.integers(0, 6)


@st.composite
def scored_boxes(draw, most: int = 12):
    rows = draw(st.lists(st.tuples(*[SMALL] * 6, st.integers(0, 4), st.integers(0, 1)), max_size=most))
    table = np.array(rows, dtype=np.float64).reshape(-1, 8)
    corners = np.concatenate([np.minimum(table[:, :3], table[:, 3:6]), np.maximum(table[:, :3], table[:, 3:6]) + 1], 1)
    return corners, table[:, 6] / 4, table[:, 7].astype(np.int64)


def voxels(box: np.ndarray) -> set[tuple[int, ...]]:
    return set(itertools.product(*[range(int(a), int(b)) for a, b in zip(box[:3], box[3:], strict=True)]))


@settings(max_examples=60)
@given(boxes=scored_boxes(), most=st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]))
def test_suppression_equals_brute_force(boxes, most):
    corners, scores, classes = boxes
    sets, kept = [voxels(b) for b in corners], []
    for k in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        rivals = [sets[j] for j in kept if classes[j] == classes[k]]
        if all(len(sets[k] & other) / len(sets[k] | other) <= most for other in rivals):
            kept.append(k)
    assert nms(corners, scores, classes, most).tolist() == kept


@settings(max_examples=60)
@given(boxes=scored_boxes(), bits=st.integers(0, 2**12 - 1))
def test_fragments_equal_brute_force(boxes, bits):
    corners, _, classes = boxes
    cut = np.array([bool(bits >> k & 1) for k in range(len(corners))], dtype=bool)
    sets = [voxels(b) for b in corners]
    expected = [
        not cut[k]
        or all(
            len(sets[k] & sets[j]) <= len(sets[k]) / 2
            for j in range(len(sets))
            if not cut[j] and classes[j] == classes[k]
        )
        for k in range(len(sets))
    ]
    assert drop_fragments(corners, classes, cut).tolist() == expected


@settings(max_examples=60)
@given(boxes=scored_boxes(), shape=st.tuples(*[st.integers(1, 7)] * 3))
def test_clipping_keeps_the_voxels_inside(boxes, shape):
    corners, _, _ = boxes
    clipped, left = clip_boxes(corners - 0.5, shape)
    for box, part, share in zip(corners, clipped + 0.5, left, strict=True):
        inside = {v for v in voxels(box) if all(0 <= i < n for i, n in zip(v, shape, strict=True))}
        assert voxels(part) == inside
        assert share == pytest.approx(len(inside) / len(voxels(box)))


def test_boxes_keep_their_place_in_the_patient():
    stored = Grid.regular((10, 20, 30), spacing_mm=(3, 1, 0.5), origin_mm=(5, 6, 7)).permute([2, 0, 1]).flip([1])
    working = stored.reorient("SPL").respaced((2, 2, 2))
    boxes = np.array([[3.5, 1.5, 0.5, 8.5, 4.5, 9.5], [-0.5, -0.5, -0.5, 0.5, 0.5, 0.5]])
    moved = map_boxes(boxes, stored, working)
    for before, after in zip(boxes, moved, strict=True):
        first, second = (
            np.sort(grid.to_world(box.reshape(2, 3)), axis=0) for grid, box in ((stored, before), (working, after))
        )
        np.testing.assert_allclose(first, second, atol=1e-9)
    np.testing.assert_allclose(map_boxes(moved, working, stored), boxes, atol=1e-9)
    assert map_boxes(np.zeros((0, 6)), stored, working).shape == (0, 6)


def test_boxes_of_instances_lie_around_their_voxels():
    numbers = np.zeros((2, 4, 6, 6), np.int16)
    numbers[0, 1:3, 0:2, 5] = 1
    numbers[1, 2, 1, 3:6] = 3  # beside the first, in an array of its own
    corners, count = instance_boxes(numbers, 3)
    assert corners.tolist() == [[0.5, -0.5, 4.5, 2.5, 1.5, 5.5], [0.0] * 6, [1.5, 0.5, 2.5, 2.5, 1.5, 5.5]]
    assert count.tolist() == [4, 0, 3]
