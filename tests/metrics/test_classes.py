"""Confusion, ranking and calibration against scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocenter.errors import ConfigError, ValueRangeError
from isocenter.metrics import (
    accuracy,
    auc,
    balanced_accuracy,
    brier,
    confusion_matrix,
    ece,
    sensitivities,
    specificities,
)

sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")


def sample(seed: int, classes: int, cases: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, cases)])
    logits = rng.normal(size=(len(truth), classes)) + 1.2 * np.eye(classes)[truth]
    probabilities = np.exp(logits.round(1))  # rounded: with ties
    return probabilities / probabilities.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 4])
def test_decisions_equal_scikit_learn(seed, classes):
    probabilities, truth = sample(seed, classes)
    chosen = probabilities.argmax(axis=1)
    assert (confusion_matrix(chosen, truth) == sklearn.confusion_matrix(truth, chosen)).all()
    assert accuracy(chosen, truth) == pytest.approx(sklearn.accuracy_score(truth, chosen))
    assert balanced_accuracy(chosen, truth) == pytest.approx(sklearn.balanced_accuracy_score(truth, chosen))
    assert sensitivities(chosen, truth) == pytest.approx(sklearn.recall_score(truth, chosen, average=None))
    inverted = [sklearn.recall_score(truth != k, chosen != k) for k in range(classes)]
    assert specificities(chosen, truth) == pytest.approx(inverted)


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_scikit_learn(seed):
    two, truth = sample(seed, 2)
    assert auc(two[:, 1], truth) == pytest.approx(sklearn.roc_auc_score(truth, two[:, 1]))
    assert auc(two, truth) == pytest.approx(auc(two[:, 1], truth))
    assert brier(two[:, 1], truth) == pytest.approx(sklearn.brier_score_loss(truth, two[:, 1]))
    assert brier(two, truth) == pytest.approx(brier(two[:, 1], truth))
    four, truth = sample(seed, 4)
    expected = sklearn.roc_auc_score(truth, four, multi_class="ovr", average="macro")
    assert auc(four, truth) == pytest.approx(expected)
    assert brier(four, truth) == pytest.approx(sklearn.brier_score_loss(truth, four))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=2, max_size=40))
def test_auc_with_ties_counts_pairs(rows):
    scores, truth = np.array(rows, float).T
    with_it, without = scores[truth == 1], scores[truth == 0]
    if not (with_it.size and without.size):
        assert auc(scores, truth.astype(int)) is None
        return
    pairs = (with_it[:, None] > without) + 0.5 * (with_it[:, None] == without)
    assert auc(scores, truth.astype(int)) == pytest.approx(pairs.mean())
    assert auc(-scores, truth.astype(int)) == pytest.approx(1 - pairs.mean())


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("bins", [10, 15])
def test_ece_equals_torchmetrics(classes, bins):
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities, truth = sample(7, classes, 400)
    expected = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(truth), num_classes=classes, n_bins=bins
    )
    assert ece(probabilities, truth, bins=bins) == pytest.approx(expected.item(), abs=1e-5)


def test_ece_of_extremes():
    assert ece(np.array([0.0, 1.0, 1.0]), [0, 1, 1]) == 0
    assert ece(np.array([0.0, 1.0, 1.0]), [1, 0, 0]) == 1
    assert ece(np.array([1.0, 1.0, 1.0, 1.0]), [1, 1, 1, 0]) == pytest.approx(0.25)


def test_classes_that_no_case_has():
    probabilities, truth = sample(0, 3)
    truth = truth % 2
    chosen = probabilities.argmax(axis=1)
    assert sensitivities(chosen, truth, 3)[2] is None
    assert specificities([1, 1], [1, 1]) == [1.0, None]
    defined = [sklearn.roc_auc_score(truth == k, probabilities[:, k]) for k in (0, 1)]
    assert auc(probabilities, truth) == pytest.approx(np.mean(defined))
    assert auc(probabilities, np.zeros_like(truth)) is None


def test_refuses_nonsense():
    with pytest.raises(ConfigError, match="prediction 2, truth 3"):
        accuracy([0, 1], [0, 1, 1])
    with pytest.raises(ConfigError, match="at least one case"):
        accuracy([], [])
    with pytest.raises(ConfigError, match="class 3 occurs"):
        confusion_matrix([0, 3], [0, 1], classes=2)
    with pytest.raises(ConfigError, match=r"0\.\.1"):
        auc([0.5, 0.2], [0, 2])
    with pytest.raises(ValueRangeError, match="integers"):
        accuracy([0.2, 0.9], [0, 1])
    with pytest.raises(ValueRangeError, match="start at 0"):
        accuracy([0, -1], [0, 1])
    with pytest.raises(ValueRangeError, match="NaN"):
        auc([0.5, float("nan")], [0, 1])
    with pytest.raises(ValueRangeError, match="sum to 1"):
        brier([[0.9, 0.9], [0.1, 0.9]], [0, 1])
    with pytest.raises(ValueRangeError, match=r"0\.\.1"):
        ece([1.5, 0.2], [0, 1])
    with pytest.raises(ConfigError, match="bins"):
        ece([0.5, 0.2], [0, 1], bins=0)
