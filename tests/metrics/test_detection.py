from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocenter.errors import ConfigError, GeometryError, ValueRangeError
from isocenter.metrics import CPM_RATES, Matches, average_precision, box_iou, cpm, froc, match_boxes


@st.composite
def boxes(draw, most=5):
    count = draw(st.integers(0, most))
    low = draw(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=count, max_size=count))
    size = draw(st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=count, max_size=count))
    low, size = np.array(low, float).reshape(-1, 3), np.array(size, float).reshape(-1, 3)
    return np.concatenate([low, low + size], axis=1)


def as_voxels(box):
    mask = np.zeros((12, 12, 12), bool)
    z0, y0, x0, z1, y1, x1 = box.astype(int)
    mask[z0:z1, y0:y1, x0:x1] = True
    return mask


@given(boxes(), boxes())
@settings(max_examples=60)
def test_box_iou_counts_voxels(a, b):
    found = box_iou(a, b)
    assert found.shape == (len(a), len(b))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            first, second = as_voxels(p), as_voxels(q)
            union = (first | second).sum()
            assert found[i, j] == pytest.approx((first & second).sum() / union if union else 0)


def test_box_iou_of_flat_boxes_equals_that_of_one_slice():
    flat = np.array([[0, 0, 4, 4], [1, 1, 5, 6.5]])
    tall = np.insert(np.insert(flat, 2, 1.0, axis=1), 0, 0.0, axis=1)
    assert box_iou(flat, flat) == pytest.approx(box_iou(tall, tall))


def test_greedy_match_prefers_score_and_takes_each_object_once():
    truths = [[0, 0, 0, 10, 10, 10], [0, 0, 20, 10, 10, 30]]
    found = match_boxes(
        [[0, 0, 0, 10, 10, 10], [0, 0, 1, 10, 10, 11], [0, 0, 21, 10, 10, 31], [0, 0, 50, 1, 1, 51]],
        [0.5, 0.9, 0.3, 0.99],
        truths,
        min_iou=0.5,
    )
    assert found.hits.tolist() == [-1, 0, 1, -1]
    assert found.truths == 2


def test_match_takes_the_best_free_object():
    truths = [[0, 0, 0, 4, 4, 4], [0, 0, 1, 4, 4, 5]]
    found = match_boxes([[0, 0, 1, 4, 4, 5], [0, 0, 1, 4, 4, 5]], [0.9, 0.8], truths, min_iou=0.1)
    assert found.hits.tolist() == [1, 0]


def test_centre_criterion():
    truths = [[0, 0, 0, 4, 4, 4], [0, 0, 20, 4, 4, 24]]
    detections = [[0, 0, 3, 4, 4, 7], [0, 0, 23, 4, 4, 27]]  # each centre 3 mm off
    assert match_boxes(detections, [0.9, 0.8], truths, radius_mm=3.0).hits.tolist() == [0, 1]
    assert match_boxes(detections, [0.9, 0.8], truths, radius_mm=2.9).hits.tolist() == [-1, -1]
    assert match_boxes(detections, [0.9, 0.8], truths, radius_mm=[2.0, 4.0]).hits.tolist() == [-1, 1]


def test_nothing_found_and_nothing_to_find():
    none = np.zeros((0, 6))
    assert match_boxes(none, [], [[0, 0, 0, 1, 1, 1]], min_iou=0.1).hits.size == 0
    assert match_boxes([[0, 0, 0, 1, 1, 1]], [0.4], none, min_iou=0.1).hits.tolist() == [-1]
    assert match_boxes([[0, 0, 0, 1, 1, 1]], [0.4], [], radius_mm=3).hits.tolist() == [-1]


@st.composite
def scans(draw):
    found = []
    for _ in range(draw(st.integers(1, 4))):
        truths = draw(st.integers(0, 4))
        hits = draw(st.permutations(list(range(truths)) + [-1] * draw(st.integers(0, 5))))
        hits = hits[: draw(st.integers(0, len(hits)))]
        scores = draw(st.lists(st.integers(0, 6), min_size=len(hits), max_size=len(hits)))
        found.append(Matches(np.array(scores, float), np.array(hits, np.int64), truths))
    return found


def brute_curve(found):
    """Recall, precision, false positives a scan at every threshold, counted anew each time."""
    truths = sum(m.truths for m in found)
    for threshold in sorted({s for m in found for s in m.scores}, reverse=True):
        hits = sum(int(((m.scores >= threshold) & (m.hits >= 0)).sum()) for m in found)
        false = sum(int(((m.scores >= threshold) & (m.hits < 0)).sum()) for m in found)
        yield hits / truths, hits / (hits + false), false / len(found)


@given(scans())
@settings(max_examples=80)
def test_average_precision_and_cpm_equal_brute_force(found):
    if sum(m.truths for m in found) == 0:
        assert average_precision(found) is None
        assert froc(found) is None
        assert cpm(found) is None
        return
    points = list(brute_curve(found))
    area, before = 0.0, 0.0
    for recall, _, _ in points:
        area += (recall - before) * max(p for r, p, _ in points if r >= recall)
        before = recall
    assert average_precision(found) == pytest.approx(area)
    read = [max((r for r, _, f in points if f <= rate), default=0.0) for rate in CPM_RATES]
    assert cpm(found) == pytest.approx(np.mean(read))
    assert all(np.diff(froc(found).sensitivity) >= 0)


def test_average_precision_equals_scikit_learn_where_precision_only_falls():
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    hits = np.array([0, 1, 2, -1, 3, -1, -1, -1, 4])
    scores = np.linspace(1, 0.1, hits.size)
    found = average_precision([Matches(scores, hits, 5)])
    assert found == pytest.approx(sklearn.average_precision_score(hits >= 0, scores))
    # scikit-learn does not make precision monotone first; where it rises, VOC's figure is the larger one
    hits = np.array([-1, 0, 1])
    found = average_precision([Matches(scores[:3], hits, 2)])
    assert found == pytest.approx(2 / 3)
    assert sklearn.average_precision_score(hits >= 0, scores[:3]) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_froc_curve_equals_monai():
    from monai.metrics import compute_froc_curve_data

    rng = np.random.default_rng(3)
    scans = []
    for _ in range(6):
        hits = np.concatenate([rng.permutation(4)[:3], -np.ones(7, np.int64)])
        scans.append(Matches(rng.random(10), hits, 4))
    true, false = (np.concatenate([m.scores[(m.hits >= 0) == kind] for m in scans]) for kind in (True, False))
    rates, sensitivity = compute_froc_curve_data(false, true, num_targets=24, num_images=6)
    curve = froc(scans)
    # MONAI lists points from the lowest score up, leaves out the lowest one and adds the origin
    assert curve.false_positives[:-1] == pytest.approx(rates[:-1][::-1])
    assert curve.sensitivity[:-1] == pytest.approx(sensitivity[:-1][::-1])
    assert curve.at(0) == sensitivity[rates == 0].max()


def test_scans_without_objects_count():
    one = Matches(np.array([0.9, 0.8]), np.array([-1, 0]), 1)
    empty = Matches(np.array([]), np.array([], np.int64), 0)
    assert froc([one]).at(0.5) == 0
    assert froc([one, empty]).at(0.5) == 1


def test_refuses_nonsense():
    box = [[0, 0, 0, 1, 1, 1]]
    with pytest.raises(ConfigError, match="exactly one"):
        match_boxes(box, [1.0], box)
    with pytest.raises(ConfigError, match="exactly one"):
        match_boxes(box, [1.0], box, min_iou=0.1, radius_mm=3)
    with pytest.raises(ConfigError, match="min_iou 0"):
        match_boxes(box, [1.0], box, min_iou=0)
    with pytest.raises(ConfigError, match="positive"):
        match_boxes(box, [1.0], box, radius_mm=[1.0, 2.0])
    with pytest.raises(ConfigError, match="boxes 1, scores 2"):
        match_boxes(box, [1.0, 0.5], box, min_iou=0.1)
    with pytest.raises(GeometryError, match="ends before it starts"):
        box_iou([[0, 0, 5, 1, 1, 1]], box)
    with pytest.raises(GeometryError, match="cannot be compared"):
        box_iou([[0, 0, 1, 1]], box)
    with pytest.raises(ValueRangeError, match="NaN"):
        box_iou([[0, 0, 0, 1, 1, np.nan]], box)
    with pytest.raises(ConfigError, match="no scan"):
        average_precision([])
    with pytest.raises(ConfigError, match="rates"):
        cpm([Matches(np.array([]), np.array([], np.int64), 1)], rates=())
