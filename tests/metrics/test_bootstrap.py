from __future__ import annotations

import numpy as np
import pytest

from isocenter.errors import ConfigError, ValueRangeError
from isocenter.metrics import auc, bootstrap_difference, bootstrap_mean, bootstrap_statistic
from isocenter.metrics.bootstrap import patient_draws


def test_interval_of_the_mean_equals_theory():
    values = np.random.default_rng(0).normal(0.8, 0.1, 400)
    found = bootstrap_mean(values, [str(k) for k in range(400)], resamples=4000)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_equals_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).exponential(size=40)
    expected = bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=2).confidence_interval
    found = bootstrap_mean(values, [str(k) for k in range(40)], resamples=9999, seed=3)
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.03 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)


def test_repeated_cases_of_a_patient_do_not_narrow_the_interval():
    values = np.random.default_rng(2).normal(size=30)
    patients = [str(k) for k in range(30)]
    once = bootstrap_mean(values, patients)
    often = bootstrap_mean(np.tile(values, 9), patients * 9)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_draws_are_keyed_and_the_order_of_cases_does_not_matter():
    rng = np.random.default_rng(4)
    values, patients = rng.random(50), [f"p{k}" for k in rng.integers(0, 12, 50)]
    order = rng.permutation(50)
    found = bootstrap_mean(values, patients, seed=5)
    assert found == bootstrap_mean(values, patients, seed=5)
    assert found == bootstrap_mean(values[order], [patients[k] for k in order], seed=5)
    assert found.low != bootstrap_mean(values, patients, seed=6).low
    # frozen: published intervals must come out again on other machines
    assert patient_draws(4, 2, seed=0).tolist() == [[1, 0, 3, 0], [1, 1, 2, 0]]


def test_paired_difference():
    rng = np.random.default_rng(7)
    hard = rng.random(25)  # cases differ far more than methods do
    better, patients = hard + 0.01 + rng.normal(0, 0.005, 25), [str(k) for k in range(25)]
    found = bootstrap_difference(better, hard, patients)
    assert found.value == pytest.approx((better - hard).mean())
    assert 0 < found.low < found.value < found.high
    assert 0 < found.p_value < 0.01
    back = bootstrap_difference(hard, better, patients)
    assert (back.low, back.high, back.p_value) == pytest.approx((-found.high, -found.low, found.p_value))
    assert bootstrap_difference(hard, hard, patients).p_value == 1


def test_p_values_are_even_where_nothing_differs():
    rng = np.random.default_rng(8)
    patients = [str(k) for k in range(30)]
    p = [bootstrap_difference(rng.normal(size=30), np.zeros(30), patients, resamples=400).p_value for _ in range(300)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.11
    assert 0.4 < np.mean(p) < 0.6


def test_any_statistic():
    rng = np.random.default_rng(9)
    truth = rng.integers(0, 2, 60)
    scores = truth + rng.normal(size=60)
    patients = [str(k // 2) for k in range(60)]
    found = bootstrap_statistic(lambda k: auc(scores[k], truth[k]), patients, resamples=300)
    assert found.low < found.value == auc(scores, truth) < found.high
    mean = bootstrap_statistic(lambda k: float(scores[k].mean()), patients, resamples=300)
    exact = bootstrap_mean(scores, patients, resamples=300)
    assert (mean.low, mean.high) == pytest.approx((exact.low, exact.high))
    # resamples of one class have no area and are left out
    assert bootstrap_statistic(lambda k: auc(scores[k], truth[k]), ["a", *["b"] * 59], resamples=50) is not None
    assert bootstrap_statistic(lambda k: None, patients, resamples=10) is None


def test_refuses_nonsense():
    with pytest.raises(ConfigError, match="at least 2"):
        bootstrap_mean([0.5, 0.6], ["a", "a"])
    with pytest.raises(ConfigError, match="values 2, patients 1"):
        bootstrap_mean([0.5, 0.6], ["a"])
    with pytest.raises(ConfigError, match="first 1, second 2"):
        bootstrap_difference([0.5], [0.5, 0.6], ["a", "b"])
    with pytest.raises(ConfigError, match="level"):
        bootstrap_mean([0.5, 0.6], ["a", "b"], level=95)
    with pytest.raises(ConfigError, match="resamples"):
        bootstrap_mean([0.5, 0.6], ["a", "b"], resamples=0)
    with pytest.raises(ValueRangeError, match="NaN"):
        bootstrap_mean([0.5, np.nan], ["a", "b"])
