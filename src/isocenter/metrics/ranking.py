"""Measures of scores and probabilities: AUC, Brier score, expected calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isocenter.errors import ConfigError, ValueRangeError
from isocenter.metrics._check import as_classes, as_finite, same_length

__all__ = ["auc", "brier", "ece"]


def auc(scores: ArrayLike, truth: ArrayLike) -> float | None:
    """Area under the ROC curve: the chance that a case with the class scores above one without it; ties count half.

    Args:
        scores: ``(case,)`` scores of class 1, or ``(case, class)``: the column of class 1 where there are two,
            otherwise one class against the rest, and the mean over the classes that have an area (macro). Any finite
            values; only their order counts.
        truth: Class indices ``(case,)``.

    Returns:
        0..1; ``None`` where it has no value, since all cases are of one class.

    Raises:
        ConfigError: Lengths differ, or a class has no column.
        ValueRangeError: NaN or infinite scores.

    Example:
        >>> auc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
        0.875

    Reference:
        Hanley, McNeil, *The meaning and use of the area under a ROC curve*, Radiology 143 (1982).
    """
    columns, classes = _columns(scores, truth, "scores")
    if columns.shape[1] <= 2:
        return _binary_auc(columns[:, -1], classes == 1)
    areas = [_binary_auc(columns[:, k], classes == k) for k in range(columns.shape[1])]
    found = [a for a in areas if a is not None]
    return float(np.mean(found)) if found else None


def brier(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """Brier score: mean squared difference of probability and outcome.

    Args:
        probabilities: ``(case,)`` probabilities of class 1, or ``(case, class)`` that sum to one in each row.
        truth: Class indices ``(case,)``.

    Returns:
        Two classes: 0..1, whether given as one or two columns. More: squares are summed over classes, 0..2 (both
        as in scikit-learn). Lower is better.

    Raises:
        ConfigError: Lengths differ, or a class has no column.
        ValueRangeError: Not probabilities.

    Example:
        >>> brier([0.0, 0.5, 1.0, 1.0], [0, 1, 1, 1])
        0.0625

    Reference:
        Brier, *Verification of forecasts expressed in terms of probability*, Monthly Weather Review 78 (1950).
    """
    columns, classes = _distribution(probabilities, truth)
    squares = ((columns - (classes[:, None] == np.arange(columns.shape[1]))) ** 2).sum(axis=1)
    return float(squares.mean()) / (2 if columns.shape[1] == 2 else 1)


def ece(probabilities: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> float:
    """Expected calibration error of the top class: how far confidence and accuracy lie apart, weighted over bins.

    Args:
        probabilities: ``(case,)`` probabilities of class 1, or ``(case, class)`` that sum to one in each row.
        truth: Class indices ``(case,)``.
        bins: Number of equally wide bins of confidence; ``(low, high]``, as in the reference.

    Returns:
        0..1; lower is better. It depends on the number of bins, and few cases bias it upwards.

    Raises:
        ConfigError: Lengths differ, a class has no column, or there is no bin.
        ValueRangeError: Not probabilities.

    Example:
        >>> round(ece([[0.8, 0.2]] * 5, [0, 0, 0, 0, 1]), 6)
        0.0

    Reference:
        Guo et al., *On calibration of modern neural networks*, ICML (2017).
    """
    if bins < 1:
        raise ConfigError(f"{bins} bins; give at least one")
    columns, classes = _distribution(probabilities, truth)
    confidence = columns.max(axis=1)
    right = (columns.argmax(axis=1) == classes).astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    where = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    gaps = np.bincount(where, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum()) / len(classes)


def _columns(scores: ArrayLike, truth: ArrayLike, what: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    found, classes = as_finite(scores, what), as_classes(truth, "truth")
    if found.ndim not in (1, 2):
        raise ConfigError(f"{what} have shape {found.shape}; give (case,) for class 1, or (case, class)")
    columns = found.reshape(len(found), -1)
    same_length(**{what: columns, "truth": classes})
    known = max(columns.shape[1], 2)
    if classes.max() >= known:
        raise ConfigError(f"class {int(classes.max())} occurs in the truth, but {what} are given for 0..{known - 1}")
    return columns, classes


def _distribution(probabilities: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    columns, classes = _columns(probabilities, truth, "probabilities")
    if columns.min() < 0 or columns.max() > 1:
        raise ValueRangeError(f"probabilities span {columns.min():.4g}..{columns.max():.4g}; they must lie in 0..1")
    if columns.shape[1] == 1:
        columns = np.concatenate([1 - columns, columns], axis=1)
    off = float(np.abs(columns.sum(axis=1) - 1).max())
    if off > 1e-2:  # loose enough for bfloat16
        raise ValueRangeError(
            f"probabilities of a case sum to 1 +- {off:.4g}; classes that exclude each other sum to 1"
        )
    return columns, classes


def _binary_auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    positives = int(positive.sum())
    negatives = positive.size - positives
    if not positives or not negatives:
        return None
    _, where, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # mean rank of each run of ties, from 1
    above = float(ranks[where][positive].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)
