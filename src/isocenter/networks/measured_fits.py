"""What `isocenter.networks.measured` asks of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

__all__ = ["choose_penalty", "fit_boosted", "fit_forest", "fit_logistic", "fit_temperature", "folds_of"]

Features = NDArray[np.float32]
Answers = NDArray[np.int64]
PENALTIES = tuple(10.0**k for k in (2, 1.5, 1, 0.5, 0, -0.5, -1, -1.5, -2))
"""That are tried, the strongest first: between equals the simplest model wins."""
TEMPERATURES = (0.25, 4.0)
"""Least and greatest: a few cases that happen to be told apart prove no certainty."""
SURE = 4.0
"""Logit of the only answer that any case has."""


def fit_logistic(penalty: float, x: Features, y: Answers) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Logistic regression with balanced classes: answers that occur, their weights and biases.

    Args:
        penalty: One over scikit-learn's ``C``.
        x: ``(case, feature)``.
        y: ``(case,)``.
    """
    found = sorted(set(y.tolist()))
    if len(found) == 1:
        sure = SURE if found[0] else -SURE
        return [int(found[0])], np.zeros((1, x.shape[1])), np.array([sure])
    model = _logistic(penalty)
    model.fit(x.astype(np.float64), y)
    rows, offsets = model.coef_, model.intercept_
    if len(found) == 2:  # one row tells both apart
        rows, offsets = np.concatenate([0 * rows, rows]), np.concatenate([0 * offsets, offsets])
    return [int(v) for v in found], rows, offsets


def fit_forest(trees: int, depth: int, x: Features, y: Answers, seed: int) -> RandomForestClassifier:
    """Random forest with balanced classes (Breiman 2001)."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(trees, max_depth=depth, class_weight="balanced", random_state=seed, n_jobs=1)
    return forest.fit(x, y)


def fit_boosted(rounds: int, depth: int, x: Features, y: Answers, seed: int) -> GradientBoostingClassifier:
    """Gradient-boosted trees with balanced classes (Friedman 2001)."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.utils.class_weight import compute_sample_weight

    boosted = GradientBoostingClassifier(n_estimators=rounds, max_depth=depth, random_state=seed)
    return boosted.fit(x, y, sample_weight=compute_sample_weight("balanced", y))


def folds_of(y: Answers, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Up to five folds as ``(train, test)``, answers spread evenly; none where an answer has a single case."""
    from sklearn.model_selection import KFold, StratifiedKFold

    if y.ndim > 1:
        return list(KFold(min(5, len(y)), shuffle=True, random_state=seed).split(y)) if len(y) > 3 else []
    fewest = int(min(n for n in np.bincount(y) if n))
    if fewest < 2 or len(set(y.tolist())) < 2:
        return []
    return list(StratifiedKFold(min(5, fewest), shuffle=True, random_state=seed).split(y, y))


def fit_temperature(logits: NDArray[np.float64], y: Answers, *, exclusive: bool) -> float:
    """The temperature at which the answers that hold are most probable, answers weighing equally (Guo et al. 2017).

    Args:
        logits: ``(case, answer)`` of cases that trained nothing.
        y: ``(case,)`` numbers, or ``(case, answer)`` of 0 and 1.
        exclusive: Exactly one answer holds.

    Example:
        >>> sure = np.array([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0]])
        >>> fit_temperature(sure, np.array([0, 1, 1, 0]), exclusive=True)  # three of four are right
        4.0
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    weight = 1 / np.maximum(1, np.bincount(y))[y] if exclusive else np.ones(y.shape)

    def surprise(exponent: float) -> float:
        scaled = logits / np.exp(exponent)
        if exclusive:
            told = log_softmax(scaled, axis=1)[np.arange(len(y)), y]
        else:
            told = -np.logaddexp(0, np.where(y > 0, -scaled, scaled))
        return float(-(weight * told).sum())

    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(surprise, bounds=(low, high), method="bounded", options={"xatol": 1e-3})
    ends = {float(end): surprise(end) for end in (low, high)}
    best = min(ends, key=lambda end: ends[end])
    return round(float(np.exp(best if ends[best] <= found.fun else found.x)), 4)


def choose_penalty(x: Features, y: Answers, seed: int) -> float:
    """The one that predicts held-out training cases best; 1 where an answer has a single case."""
    from sklearn.model_selection import cross_val_score

    folds = folds_of(y, seed)
    if not folds:
        return 1.0
    scores = [
        cross_val_score(_logistic(penalty), x.astype(np.float64), y, cv=folds, scoring="neg_log_loss").mean()
        for penalty in PENALTIES
    ]
    return PENALTIES[int(np.argmax(scores))]


def _logistic(penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=5000)
