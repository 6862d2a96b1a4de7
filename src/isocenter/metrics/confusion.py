"""Measures of decided classes: confusion matrix, accuracy, sensitivity, specificity."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isocenter.errors import ConfigError
from isocenter.metrics._check import as_classes, same_length

__all__ = ["accuracy", "balanced_accuracy", "confusion_matrix", "sensitivities", "specificities"]


def confusion_matrix(prediction: ArrayLike, truth: ArrayLike, classes: int | None = None) -> NDArray[np.int64]:
    """Counts of every pair of true and predicted class.

    Args:
        prediction: Class indices ``(case,)``.
        truth: Class indices ``(case,)``.
        classes: Number of classes; by default as many as occur.

    Returns:
        ``(class, class)``: rows are the truth, columns the prediction (as in scikit-learn).

    Raises:
        ConfigError: Lengths differ, or a class is not below ``classes``.
        ValueRangeError: Not class indices.

    Example:
        >>> confusion_matrix([0, 1, 1, 2], [0, 0, 1, 2]).tolist()
        [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    """
    first, second = as_classes(prediction, "prediction"), as_classes(truth, "truth")
    same_length(prediction=first, truth=second)
    highest = int(max(first.max(), second.max()))
    count = highest + 1 if classes is None else classes
    if highest >= count:
        raise ConfigError(f"class {highest} occurs, but {count} classes (0..{count - 1}) are declared")
    return np.bincount(second * count + first, minlength=count * count).reshape(count, count).astype(np.int64)


def accuracy(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Share of cases whose class is right.

    Args:
        prediction: Class indices ``(case,)``.
        truth: Class indices ``(case,)``.

    Returns:
        0..1.

    Raises:
        ConfigError: Lengths differ.
        ValueRangeError: Not class indices.

    Example:
        >>> accuracy([0, 1, 1, 2], [0, 0, 1, 2])
        0.75
    """
    counts = confusion_matrix(prediction, truth)
    return float(np.trace(counts)) / float(counts.sum())


def balanced_accuracy(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Mean sensitivity of the classes that occur in the truth, so that frequent ones do not dominate.

    Args:
        prediction: Class indices ``(case,)``.
        truth: Class indices ``(case,)``.

    Returns:
        0..1.

    Raises:
        ConfigError: Lengths differ.
        ValueRangeError: Not class indices.

    Example:
        >>> balanced_accuracy([0, 0, 0, 0], [0, 0, 0, 1])
        0.5

    Reference:
        Brodersen et al., *The balanced accuracy and its posterior distribution*, ICPR (2010).
    """
    found = [s for s in sensitivities(prediction, truth) if s is not None]
    return float(np.mean(found))


def sensitivities(prediction: ArrayLike, truth: ArrayLike, classes: int | None = None) -> list[float | None]:
    """Sensitivity (recall) of each class against all others.

    Args:
        prediction: Class indices ``(case,)``.
        truth: Class indices ``(case,)``.
        classes: Number of classes; by default as many as occur.

    Returns:
        0..1 a class; ``None`` for a class that no case has.

    Raises:
        ConfigError: Lengths differ, or a class is not below ``classes``.
        ValueRangeError: Not class indices.

    Example:
        >>> sensitivities([0, 1, 1, 1], [0, 0, 1, 1], classes=3)
        [0.5, 1.0, None]
    """
    counts = confusion_matrix(prediction, truth, classes)
    return _ratios(np.diag(counts), counts.sum(axis=1))


def specificities(prediction: ArrayLike, truth: ArrayLike, classes: int | None = None) -> list[float | None]:
    """Specificity of each class against all others: share of the other cases that are not given this class.

    Args:
        prediction: Class indices ``(case,)``.
        truth: Class indices ``(case,)``.
        classes: Number of classes; by default as many as occur.

    Returns:
        0..1 a class; ``None`` for a class that every case has.

    Raises:
        ConfigError: Lengths differ, or a class is not below ``classes``.
        ValueRangeError: Not class indices.

    Example:
        >>> specificities([0, 1, 1, 1], [0, 0, 1, 1])
        [1.0, 0.5]
    """
    counts = confusion_matrix(prediction, truth, classes)
    others = counts.sum() - counts.sum(axis=1)
    false = counts.sum(axis=0) - np.diag(counts)
    return _ratios(others - false, others)


def _ratios(part: NDArray[np.int64], whole: NDArray[np.int64]) -> list[float | None]:
    return [int(p) / int(w) if w else None for p, w in zip(part, whole, strict=True)]
