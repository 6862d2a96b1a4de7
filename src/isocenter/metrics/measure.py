"""The record of what was measured on one structure of one case, and how each task fills it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from isocenter.errors import ConfigError, ValueRangeError
from isocenter.metrics._check import Spacing, as_mask, as_masks
from isocenter.metrics.boxes import Matches
from isocenter.metrics.distances import surface_distances
from isocenter.metrics.overlap import dice, jaccard, volume_bias_ml

__all__ = [
    "Measure",
    "Outcome",
    "measure_class",
    "measure_detections",
    "measure_structure",
]

Outcome = Literal["found", "missed", "false", "absent"]
"""In truth and prediction; in the truth alone; in the prediction alone; in neither."""


@dataclass(frozen=True)
class Measure:
    """What was measured on one structure (or class, or kind of object) of one case.

    Attributes:
        case: Case id.
        patient: Patient of the case; intervals resample patients.
        name: Name of the structure, class label or kind of object.
        values: Figures by name, units in the names (``dice``, ``hd95_mm``). All finite: a figure that has no value is
            left out, one for a missed or false structure is the stated penalty.
        outcome: ``missed`` and ``false`` are counted and enter means with their penalties; ``absent`` is counted and
            enters no mean.
        evidence: Raw numbers that figures of a whole set need (probabilities of an AUC, scores of a FROC).

    Raises:
        ValueRangeError: A value that is NaN or infinite.
        ConfigError: An outcome that is none of the four.

    Example:
        >>> Measure("case1", "anna", "liver", {"dice": 0.93}).outcome
        'found'
    """

    case: str
    patient: str
    name: str
    values: Mapping[str, float]
    outcome: Outcome = "found"
    evidence: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.outcome not in get_args(Outcome):
            raise ConfigError(
                f"outcome {self.outcome!r} of {self.name!r} in case {self.case}: not one of {get_args(Outcome)}"
            )
        numbers = dict(self.values) | {k: x for k, row in self.evidence.items() for x in row if not math.isfinite(x)}
        for key, value in numbers.items():
            if not math.isfinite(value):
                raise ValueRangeError(
                    f"{key} of {self.name!r} in case {self.case} is {value}; leave it out or give a penalty"
                )


def measure_structure(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    case: str,
    patient: str,
    name: str,
    spacing_mm: Spacing,
    tolerance_mm: float = 2.0,
    valid: ArrayLike | None = None,
) -> Measure:
    """All segmentation figures of one structure in one case.

    Args:
        prediction: Binary mask on the case's own, uncropped grid: the penalty for a missed structure is its diagonal.
        truth: Binary mask of the same shape.
        case: Case id.
        patient: Patient of the case.
        name: Structure.
        spacing_mm: One number an axis in array order, or a square matrix of index steps (sheared grids).
        tolerance_mm: Of the normalised surface distance.
        valid: Voxels that were annotated; all others are taken out of both masks.

    Returns:
        ``dice``, ``jaccard``, ``hd95_mm``, ``assd_mm``, ``nsd``, ``volume_error_ml`` (absolute) and
        ``volume_bias_ml`` (signed); the outcome tells whether a penalty is among them.

    Raises:
        GeometryError: Shapes or spacing do not fit.
        ValueRangeError: Not a binary mask.

    Example:
        >>> found = measure_structure(
        ...     [[0, 0, 0]] * 4, [[0, 1, 1]] * 4, case="c", patient="p", name="liver", spacing_mm=(1.0, 1.0)
        ... )
        >>> found.outcome, found.values["dice"], found.values["hd95_mm"]
        ('missed', 0.0, 5.0)
    """
    first, second = as_masks(prediction, truth)
    if valid is not None:
        known, _ = as_masks(as_mask(valid, "valid"), second)
        first, second = first & known, second & known
    distances = surface_distances(first, second, spacing_mm)
    bias = volume_bias_ml(first, second, spacing_mm)
    values = {
        "dice": dice(first, second),
        "jaccard": jaccard(first, second),
        "hd95_mm": distances.percentile_mm(95.0),
        "assd_mm": distances.mean_mm(),
        "nsd": distances.within(tolerance_mm),
        "volume_error_ml": abs(bias),
        "volume_bias_ml": bias,
    }
    return Measure(case, patient, name, values, _outcome(bool(second.any()), bool(first.any())))


def measure_class(probabilities: ArrayLike, truth: int, *, case: str, patient: str, name: str) -> Measure:
    """Figures of one classified case; `class_pool` makes AUC and calibration of many.

    Args:
        probabilities: ``(class,)``, sum to one.
        truth: True class index.
        case: Case id.
        patient: Patient of the case.
        name: What is classified, e.g. ``"diagnosis"``.

    Returns:
        ``accuracy`` (1 where the most probable class is right, else 0) and ``probability`` of the true class.

    Raises:
        ConfigError: No such class.
        ValueRangeError: NaN or infinite probabilities.

    Example:
        >>> dict(measure_class([0.3, 0.7], 1, case="c", patient="p", name="malignant").values)
        {'accuracy': 1.0, 'probability': 0.7}
    """
    row = np.asarray(probabilities, dtype=np.float64)
    if row.ndim != 1 or not 0 <= truth < row.size:
        raise ConfigError(
            f"class {truth} of {name!r} in case {case} has no probability among those of shape {row.shape}"
        )
    values = {"accuracy": float(row.argmax() == truth), "probability": float(row[truth])}
    evidence = {"probabilities": tuple(row.tolist()), "truth": (float(truth),)}
    return Measure(case, patient, name, values, "found", evidence)


def measure_detections(matches: Matches, *, case: str, patient: str, name: str, threshold: float = 0.5) -> Measure:
    """Figures of one scan's detections of one kind; `detection_pool` makes AP and CPM of many scans.

    Args:
        matches: All detections of this kind in this scan, low scores included.
        case: Case id.
        patient: Patient of the case.
        name: Kind of object.
        threshold: Score from which a detection counts for the figures of the case and for its outcome.

    Returns:
        ``false_positives``, and ``sensitivity`` where the scan has objects, at the threshold. Outcome ``missed``: no
        object is hit; ``false``: detections but no object.

    Example:
        >>> found = Matches(np.array([0.9, 0.8]), np.array([0, -1]), truths=2)
        >>> dict(measure_detections(found, case="c", patient="p", name="nodule").values)
        {'false_positives': 1.0, 'sensitivity': 0.5}
    """
    counted = matches.scores >= threshold
    hits = int((counted & (matches.hits >= 0)).sum())
    detections = int(counted.sum())
    values = {"false_positives": float(detections - hits)}
    if matches.truths:
        values["sensitivity"] = hits / matches.truths
    outcome = _outcome(matches.truths > 0, hits > 0 if matches.truths else detections > 0)
    evidence = {
        "scores": tuple(matches.scores.tolist()),
        "hits": tuple(matches.hits.astype(float).tolist()),
        "truths": (float(matches.truths),),
        "counted": (float(detections - hits), float(hits)),
    }
    return Measure(case, patient, name, values, outcome, evidence)


def _outcome(in_truth: bool, in_prediction: bool) -> Outcome:
    if in_truth:
        return "found" if in_prediction else "missed"
    return "false" if in_prediction else "absent"
