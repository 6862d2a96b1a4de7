"""Figures that only a whole set of cases has: AUC, calibration, average precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from isocenter.metrics.boxes import Matches
from isocenter.metrics.confusion import balanced_accuracy, sensitivities, specificities
from isocenter.metrics.detection import average_precision, cpm
from isocenter.metrics.measure import Measure
from isocenter.metrics.ranking import auc, brier, ece

__all__ = ["Pool", "class_pool", "detection_pool"]

Pool = Callable[[Sequence[Measure]], Mapping[str, float | None]]
"""Figures of a whole set of measures of one name, from their evidence; ``None`` where the set has no value."""


def class_pool(measures: Sequence[Measure]) -> dict[str, float | None]:
    """Figures of many classified cases, from `measure_class`; a `Pool`.

    Args:
        measures: Of one name; those without probabilities are passed over.

    Returns:
        ``balanced_accuracy``, ``auc``, ``brier``, ``ece``, and ``sensitivity_<k>``, ``specificity_<k>`` of each class
        index. Empty where no measure has probabilities.

    Example:
        >>> from isocenter.metrics import measure_class
        >>> rows = [(0.9, 0), (0.2, 1), (0.6, 0)]
        >>> cases = [
        ...     measure_class([p, 1 - p], k, case=str(i), patient=str(i), name="x") for i, (p, k) in enumerate(rows)
        ... ]
        >>> class_pool(cases)["auc"]
        1.0
    """
    rows = [m for m in measures if "probabilities" in m.evidence]
    if not rows:
        return {}
    probabilities = np.array([m.evidence["probabilities"] for m in rows])
    truth = np.array([m.evidence["truth"][0] for m in rows]).astype(np.int64)
    chosen, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    found: dict[str, float | None] = {
        "balanced_accuracy": balanced_accuracy(chosen, truth),
        "auc": auc(probabilities, truth),
        "brier": brier(probabilities, truth),
        "ece": ece(probabilities, truth),
    }
    found |= {f"sensitivity_{k}": value for k, value in enumerate(sensitivities(chosen, truth, classes))}
    found |= {f"specificity_{k}": value for k, value in enumerate(specificities(chosen, truth, classes))}
    return found


def detection_pool(measures: Sequence[Measure]) -> dict[str, float | None]:
    """Figures of many scans' detections of one kind, from `measure_detections`; a `Pool`.

    Args:
        measures: Of one name, absent ones included: their scans count. Those without scores are passed over.

    Returns:
        ``ap``, ``cpm``, and at the threshold of each case ``object_sensitivity`` (over all objects, not over scans) and
        ``false_positives_per_scan``. Empty where no measure has scores.

    Example:
        >>> from isocenter.metrics import measure_detections
        >>> found = Matches(np.array([0.9, 0.8]), np.array([0, -1]), truths=1)
        >>> detection_pool([measure_detections(found, case="c", patient="p", name="nodule")])["ap"]
        1.0
    """
    rows = [m.evidence for m in measures if "scores" in m.evidence]
    if not rows:
        return {}
    matches = [
        Matches(np.array(e["scores"], np.float64), np.array(e["hits"], np.int64), int(e["truths"][0])) for e in rows
    ]
    objects = sum(m.truths for m in matches)
    return {
        "ap": average_precision(matches),
        "cpm": cpm(matches),
        "object_sensitivity": sum(e["counted"][1] for e in rows) / objects if objects else None,
        "false_positives_per_scan": sum(e["counted"][0] for e in rows) / len(rows),
    }
