"""Intervals by resampling patients, not cases: cases of one patient are alike and must be drawn together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isocenter.errors import ConfigError
from isocenter.metrics._check import as_finite, same_length

__all__ = ["Difference", "Interval", "bootstrap_difference", "bootstrap_mean", "bootstrap_statistic", "patient_draws"]

_KEY = 0x150CE  # keeps these draws apart from others of the same seed


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile interval: ``low`` and ``high`` bound the resampled estimates at the level."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference with its percentile interval.

    Attributes:
        value: Mean of first minus second.
        low: Lower bound.
        high: Upper bound.
        p_value: Two-sided: twice the smaller share of resamples on one side of zero, counting one more resample on
            each side, so it is never 0.
    """

    value: float
    low: float
    high: float
    p_value: float


def patient_draws(patients: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each patient is drawn in each resample.

    Args:
        patients: Number of patients, at least 2: one patient says nothing about the spread between patients.
        resamples: Number of resamples.
        seed: Equal seeds and numbers give equal draws, on every machine.

    Returns:
        ``(resample, patient)``; each row sums to the number of patients.

    Raises:
        ConfigError: Fewer than 2 patients or 1 resample.

    Example:
        >>> patient_draws(3, 100, seed=0).sum(axis=1).tolist() == [3] * 100
        True
    """
    if patients < 2:
        raise ConfigError(f"an interval over patients needs at least 2 of them, found {patients}")
    if resamples < 1:
        raise ConfigError(f"{resamples} resamples; give at least 1")
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([_KEY, seed])))
    chosen = generator.integers(0, patients, size=(resamples, patients))
    rows = np.arange(resamples)[:, None] * patients
    return np.bincount((chosen + rows).ravel(), minlength=resamples * patients).reshape(resamples, patients)


def bootstrap_mean(
    values: ArrayLike, patients: Sequence[str], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean over cases with an interval over patients (cluster bootstrap, percentile).

    Args:
        values: ``(case,)``.
        patients: Patient of each case; a patient is drawn with all of his or her cases.
        level: Coverage of the interval, between 0 and 1.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        Mean of all cases, and its interval. It does not depend on the order of the cases.

    Raises:
        ConfigError: Lengths differ, fewer than 2 patients, or a level outside 0..1.
        ValueRangeError: NaN or infinite values.

    Example:
        >>> found = bootstrap_mean([0.9, 0.8, 0.7, 0.6], ["a", "a", "b", "c"])
        >>> found.low < found.value < found.high
        True

    Reference:
        Efron, Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13; Field, Welsh, *Bootstrapping
        clustered data*, J R Stat Soc B 69 (2007).
    """
    found, means = _resampled_means(values, patients, resamples, seed)
    low, high = percentile_interval(means, level)
    return Interval(float(found.mean()), low, high)


def bootstrap_difference(
    first: ArrayLike,
    second: ArrayLike,
    patients: Sequence[str],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Difference of two methods on the same cases, with an interval over patients (paired cluster bootstrap).

    Args:
        first: ``(case,)`` values of one method.
        second: ``(case,)`` values of the other one, case by case.
        patients: Patient of each case.
        level: Coverage of the interval, between 0 and 1.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        Mean of first minus second, its interval, and a two-sided p-value.

    Raises:
        ConfigError: Lengths differ, fewer than 2 patients, or a level outside 0..1.
        ValueRangeError: NaN or infinite values.

    Example:
        >>> found = bootstrap_difference([0.9, 0.8, 0.85], [0.8, 0.75, 0.7], ["a", "b", "c"])
        >>> round(found.value, 6), found.low > 0
        (0.1, True)
    """
    one, other = as_finite(first, "first").reshape(-1), as_finite(second, "second").reshape(-1)
    same_length(first=one, second=other)
    found, means = _resampled_means(one - other, patients, resamples, seed)
    low, high = percentile_interval(means, level)
    side = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Difference(float(found.mean()), low, high, min(1.0, 2 * (side + 1) / (resamples + 1)))


def bootstrap_statistic(
    statistic: Callable[[NDArray[np.int64]], float | None],
    patients: Sequence[str],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """Interval over patients of any figure of a set of cases, such as an AUC.

    Args:
        statistic: Takes indices of cases, repeated as drawn, and returns the figure, or ``None`` where these cases
            have none (an AUC of one class); such a resample is left out.
        patients: Patient of each case.
        level: Coverage of the interval, between 0 and 1.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        The figure of all cases and its interval; ``None`` where all cases together have none.

    Raises:
        ConfigError: Fewer than 2 patients, or a level outside 0..1.

    Example:
        >>> import numpy as np
        >>> values = np.array([1.0, 2.0, 3.0, 10.0])
        >>> found = bootstrap_statistic(lambda cases: float(np.median(values[cases])), ["a", "b", "c", "d"])
        >>> found.value, found.low <= 2.5 <= found.high
        (2.5, True)
    """
    names, where = np.unique(np.asarray(patients), return_inverse=True)
    draws = patient_draws(len(names), resamples, seed)
    value = statistic(np.arange(len(where)))
    if value is None:
        return None
    found = [statistic(np.repeat(np.arange(len(where)), row[where])) for row in draws]
    low, high = percentile_interval(np.array([f for f in found if f is not None] or [value]), level)
    return Interval(value, low, high)


def percentile_interval(resampled: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Central percentile interval of resampled estimates."""
    if not 0 < level < 1:
        raise ConfigError(f"level {level} is not between 0 and 1")
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_means(
    values: ArrayLike, patients: Sequence[str], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = as_finite(values, "values").reshape(-1)
    same_length(values=found, patients=patients)
    names, where = np.unique(np.asarray(patients), return_inverse=True)
    draws = patient_draws(len(names), resamples, seed)
    order = np.lexsort((found, where))  # sums in one order, whatever the order of the cases
    sums = np.bincount(where[order], weights=found[order], minlength=len(names))
    counts = np.bincount(where, minlength=len(names))
    # einsum, not a matrix product: its sum has one order, whatever the number of threads
    return np.sort(found), np.einsum("rp,p->r", draws.astype(float), sums) / (draws @ counts)
