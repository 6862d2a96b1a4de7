"""Detection over a set of scans: average precision, FROC, CPM.

One scan gives one `Matches` (of one kind of object); the measures here take those of every scan, scans without objects
included, for they carry false positives too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import ConfigError
from isocenter.metrics.boxes import Matches

__all__ = ["CPM_RATES", "Froc", "average_precision", "cpm", "froc"]

CPM_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a scan at which the competition performance metric reads the sensitivity."""


@dataclass(frozen=True)
class Froc:
    """Free-response ROC curve, one point a distinct score, from the highest score down.

    Attributes:
        false_positives: ``(point,)``, false positives a scan.
        sensitivity: ``(point,)``, share of true objects that are hit.
        thresholds: ``(point,)``, lowest score that counts as a detection.
    """

    false_positives: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def at(self, rate: float) -> float:
        """Highest sensitivity that is reached with at most ``rate`` false positives a scan (0 where none is)."""
        reached = self.sensitivity[self.false_positives <= rate]
        return float(reached.max()) if reached.size else 0.0


def average_precision(matches: Sequence[Matches]) -> float | None:
    """Area under the precision-recall curve, all points, precision made monotone first (PASCAL VOC from 2010).

    Detections of equal score enter together, so their order does not matter.

    Args:
        matches: One a scan, all of one class and one hit criterion.

    Returns:
        0..1; ``None`` where no scan has a true object.

    Example:
        >>> import numpy as np
        >>> average_precision([Matches(np.array([0.9, 0.8, 0.7]), np.array([0, -1, 1]), truths=2)])
        0.8333333333333333

    Reference:
        Everingham et al., *The PASCAL Visual Object Classes challenge: a retrospective*, IJCV 111 (2015).
    """
    hits, false, _, truths = _cumulative(matches)
    if not truths:
        return None
    if not hits.size:
        return 0.0
    precision = hits / (hits + false)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits, prepend=0.0) * envelope).sum()) / truths


def froc(matches: Sequence[Matches]) -> Froc | None:
    """Free-response ROC curve: sensitivity against false positives a scan.

    Args:
        matches: One a scan, scans without objects included.

    Returns:
        The curve; ``None`` where no scan has a true object.

    Example:
        >>> import numpy as np
        >>> curve = froc([Matches(np.array([0.9, 0.8, 0.7]), np.array([0, -1, 1]), truths=2)])
        >>> curve.sensitivity.tolist(), curve.false_positives.tolist()
        ([0.5, 0.5, 1.0], [0.0, 1.0, 1.0])
        >>> curve.at(0.5), curve.at(1)
        (0.5, 1.0)

    Reference:
        Bunch et al., *A free response approach to the measurement and characterization of radiographic observer
        performance*, Proc. SPIE 0127 (1977).
    """
    hits, false, thresholds, truths = _cumulative(matches)
    return Froc(false / len(matches), hits / truths, thresholds) if truths else None


def cpm(matches: Sequence[Matches], rates: Sequence[float] = CPM_RATES) -> float | None:
    """Competition performance metric: mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a scan.

    At each rate the best sensitivity that a threshold reaches without exceeding it; nothing is interpolated.

    Args:
        matches: One a scan, scans without objects included.
        rates: False positives a scan.

    Returns:
        0..1; ``None`` where no scan has a true object.

    Raises:
        ConfigError: No rate, or a negative one.

    Example:
        >>> import numpy as np
        >>> cpm([Matches(np.array([0.9, 0.8, 0.7]), np.array([0, -1, 1]), truths=2)], rates=(0.5, 1))
        0.75

    Reference:
        Setio et al., *Validation, comparison, and combination of algorithms for automatic detection of pulmonary
        nodules in computed tomography images: the LUNA16 challenge*, Medical Image Analysis 42 (2017).
    """
    if not rates or min(rates) < 0:
        raise ConfigError(f"rates {tuple(rates)}; give at least one, none negative")
    curve = froc(matches)
    return None if curve is None else float(np.mean([curve.at(rate) for rate in rates]))


def _cumulative(
    matches: Sequence[Matches],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Hits and false positives at or above each distinct score, from the highest down; and the number of objects."""
    if not matches:
        raise ConfigError("no scan was matched; give one Matches a scan")
    scores = np.concatenate([m.scores for m in matches])
    hit = np.concatenate([m.hits for m in matches]) >= 0
    order = np.argsort(-scores, kind="stable")
    scores, hit = scores[order], hit[order]
    last = np.flatnonzero(np.diff(scores, append=-np.inf))
    hits, false = np.cumsum(hit)[last].astype(np.float64), np.cumsum(~hit)[last].astype(np.float64)
    return hits, false, scores[last], sum(m.truths for m in matches)
