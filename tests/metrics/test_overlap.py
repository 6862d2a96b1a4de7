from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from isocenter.errors import GeometryError, ValueRangeError
from isocenter.metrics import dice, jaccard, relative_volume_error, volume_bias_ml, volume_error_ml

masks = arrays(bool, (3, 5, 4))


@given(masks, masks)
def test_overlap_is_symmetric_bounded_and_consistent(a, b):
    assert dice(a, b) == dice(b, a)
    assert 0 <= jaccard(a, b) <= dice(a, b) <= 1
    assert dice(a, b) == pytest.approx(2 * jaccard(a, b) / (1 + jaccard(a, b)))


@given(masks, masks, st.permutations([0, 1, 2]))
def test_overlap_does_not_depend_on_the_order_of_axes(a, b, axes):
    assert dice(a.transpose(axes), b.transpose(axes)) == dice(a, b)


def test_agrees_with_simpleitk():
    import SimpleITK

    rng = np.random.default_rng(0)
    a, b = rng.random((6, 20, 17)) > 0.6, rng.random((6, 20, 17)) > 0.4
    measured = SimpleITK.LabelOverlapMeasuresImageFilter()
    measured.Execute(SimpleITK.GetImageFromArray(a.astype(np.uint8)), SimpleITK.GetImageFromArray(b.astype(np.uint8)))
    assert dice(a, b) == pytest.approx(measured.GetDiceCoefficient())
    assert jaccard(a, b) == pytest.approx(measured.GetJaccardCoefficient())
    assert relative_volume_error(a, b) == pytest.approx(abs(a.sum() - b.sum()) / b.sum())


def test_empty_masks_give_the_stated_values():
    full, empty = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert dice(empty, empty) == jaccard(empty, empty) == 1
    assert dice(full, empty) == dice(empty, full) == jaccard(empty, full) == 0
    assert relative_volume_error(empty, empty) == 0
    assert relative_volume_error(empty, full) == relative_volume_error(full, empty) == 1


def test_volumes_in_millilitres():
    truth = np.zeros((4, 10, 10), bool)
    truth[1:3, 2:7, 2:6] = True  # 40 voxels
    prediction = truth.copy()
    prediction[1] = False
    assert volume_bias_ml(prediction, truth, (5.0, 1.0, 2.0)) == pytest.approx(-0.2)
    assert volume_error_ml(prediction, truth, (5.0, 1.0, 2.0)) == pytest.approx(0.2)
    sheared = np.array([[5.0, 0, 0], [1.5, 1, 0], [0, 0, 2]])  # a tilted gantry changes no volume
    assert volume_error_ml(prediction, truth, sheared) == pytest.approx(0.2)


def test_refuses_what_is_no_pair_of_masks():
    with pytest.raises(GeometryError, match=r"\(2, 2\).*\(2, 3\)"):
        dice(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
    with pytest.raises(ValueRangeError, match=r"0\.\.2.*one structure"):
        dice(np.array([0, 1, 2]), np.array([0, 1, 1]))
    with pytest.raises(ValueRangeError, match="float64"):
        dice(np.array([0.2, 0.9]), np.array([0, 1]))
    with pytest.raises(GeometryError, match="no voxel"):
        dice(np.zeros((0, 3), bool), np.zeros((0, 3), bool))
    with pytest.raises(GeometryError, match="not finite and positive"):
        volume_error_ml([[1]], [[0]], (1.0, -1.0))
    with pytest.raises(GeometryError, match="2 axes"):
        volume_error_ml([[1]], [[0]], (1.0, 1.0, 1.0))
