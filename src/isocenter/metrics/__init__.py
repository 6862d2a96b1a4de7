"""How good a result is: pure functions over arrays, and the tables made of them.

Overlap and volume, surface distances in mm, classification, ranking and calibration, detection, intervals over
patients, and the summary that becomes ``metrics.json``. What happens to empty masks is stated in each function; no
measure returns NaN, and no missed structure is dropped.
"""

from isocenter.metrics.bootstrap import (
    Difference,
    Interval,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_statistic,
)
from isocenter.metrics.boxes import Matches, box_iou, match_boxes
from isocenter.metrics.confusion import accuracy, balanced_accuracy, confusion_matrix, sensitivities, specificities
from isocenter.metrics.detection import CPM_RATES, Froc, average_precision, cpm, froc
from isocenter.metrics.distances import SurfaceDistances, border, diagonal_mm, surface_distances
from isocenter.metrics.measure import (
    Measure,
    Outcome,
    measure_class,
    measure_detections,
    measure_structure,
)
from isocenter.metrics.overlap import dice, jaccard, relative_volume_error, volume_bias_ml, volume_error_ml
from isocenter.metrics.pools import Pool, class_pool, detection_pool
from isocenter.metrics.ranking import auc, brier, ece
from isocenter.metrics.summary import summarise
from isocenter.metrics.surface import assd, hd95, nsd

__all__ = [
    "CPM_RATES",
    "Difference",
    "Froc",
    "Interval",
    "Matches",
    "Measure",
    "Outcome",
    "Pool",
    "SurfaceDistances",
    "accuracy",
    "assd",
    "auc",
    "average_precision",
    "balanced_accuracy",
    "bootstrap_difference",
    "bootstrap_mean",
    "bootstrap_statistic",
    "border",
    "box_iou",
    "brier",
    "class_pool",
    "confusion_matrix",
    "cpm",
    "detection_pool",
    "diagonal_mm",
    "dice",
    "ece",
    "froc",
    "hd95",
    "jaccard",
    "match_boxes",
    "measure_class",
    "measure_detections",
    "measure_structure",
    "nsd",
    "relative_volume_error",
    "sensitivities",
    "specificities",
    "summarise",
    "surface_distances",
    "volume_bias_ml",
    "volume_error_ml",
]
