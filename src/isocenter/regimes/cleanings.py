"""Figures of one prediction under every cleaning there is to choose from.

What a structure gains does not depend on how others are cleaned, so four cleanings tell everything: a prediction is
measured at most four times, and no label map is held.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from isocenter.metrics import Measure
from isocenter.pipeline.cleaning import clean
from isocenter.plan import InferenceSpec
from isocenter.records import Annotation, Case, LabelMap, Masks, Prediction

if TYPE_CHECKING:
    from isocenter.tasks import Task

__all__ = ["BOTH", "EACH", "RAW", "TOGETHER", "Cleaning", "CleaningMeasures", "measure_cleanings"]

Cleaning = tuple[bool, bool]
"""Whether all structures together, then whether each by itself, keep their largest part only."""
RAW: Cleaning = (False, False)
EACH: Cleaning = (False, True)
TOGETHER: Cleaning = (True, False)
BOTH: Cleaning = (True, True)


@dataclass(frozen=True)
class CleaningMeasures:
    """Figures of one case under each cleaning.

    Attributes:
        measures: One a structure, by cleaning, in one order.
    """

    measures: Mapping[Cleaning, Sequence[Measure]]

    @property
    def patient(self) -> str:
        """Whose case it is."""
        return self.measures[RAW][0].patient

    def under(self, *, together: bool = False, structures: Collection[str] = ()) -> list[Measure]:
        """Figures when all together, then some by themselves, keep their largest part; as predicted by default."""
        rows = [self.measures[together, each] for each in (False, True)]
        return [rows[m.name in structures][k] for k, m in enumerate(self.measures[RAW])]


def measure_cleanings(task: Task, prediction: Prediction, case: Case) -> CleaningMeasures:
    """Figures of a prediction as it is and under each cleaning.

    Predictions without label maps or masks, and label maps whose structures share values, have one and the same figures
    under all.

    Args:
        task: Measures.
        prediction: From a pipeline whose plan cleans nothing.
        case: With its truth.

    Raises:
        IsocenterError: As `Task.measure`.
    """
    raw = tuple(task.measure(prediction, case))
    found = {RAW: (prediction, raw)}
    # the cleaning that a cleaning starts from comes before it; equal predictions are measured once
    for cleaning, base in ((EACH, RAW), (TOGETHER, RAW), (BOTH, TOGETHER)):
        cleaned = _cleaned(found[base][0], together=cleaning[0] and not base[0], each=cleaning[1])
        twin = next((c for c, (other, _) in found.items() if _equal(cleaned, other)), None)
        found[cleaning] = (cleaned, tuple(task.measure(cleaned, case)) if twin is None else found[twin][1])
    return CleaningMeasures({cleaning: measures for cleaning, (_, measures) in found.items()})


def _cleaned(prediction: Prediction, *, together: bool, each: bool) -> Prediction:
    annotations: list[Annotation] = []
    for annotation in prediction.annotations:
        if isinstance(annotation, LabelMap | Masks) and not _shares(annotation):
            names = annotation.schema.names if each else ()
            spec = InferenceSpec(largest_together=together, largest_component=names)
            annotations.append(clean(annotation, spec))
        else:
            annotations.append(annotation)
    return replace(prediction, annotations=tuple(annotations))


def _shares(labels: LabelMap | Masks) -> bool:
    """In a label map of regions what one structure loses another may lose too."""
    values = [v for s in labels.schema.structures for v in s.values]
    return isinstance(labels, LabelMap) and len(set(values)) < len(values)


def _equal(one: Prediction, other: Prediction) -> bool:
    pairs = zip(one.annotations, other.annotations, strict=True)
    return all(
        a is b or (isinstance(a, LabelMap | Masks) and isinstance(b, LabelMap | Masks)
                   and np.array_equal(a.read().array, b.read().array))
        for a, b in pairs
    )  # fmt: skip
