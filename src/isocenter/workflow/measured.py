"""Measured features in a plan: chosen from what a dataset's masks hold, with constants of its training cases."""

from __future__ import annotations

import logging

import numpy as np

from isocenter.data import CaseDataset, map_threads
from isocenter.errors import DatasetError
from isocenter.pipeline.measuring import MEASURED, measure_case
from isocenter.plan import InputSpec, MeasuredSpec, Plan
from isocenter.planner import choose_features, with_constants
from isocenter.records import Case, LabelMap, Masks
from isocenter.workflow.progress import Progress

__all__ = ["with_measures"]

log = logging.getLogger(__name__)


def with_measures(plan: Plan, train: CaseDataset, annotation: str, progress: Progress | None = None) -> Plan:
    """The plan with measured features of the masks ``annotation`` as a further input.

    Args:
        plan: By rules.
        train: Usable training cases.
        annotation: Set of annotations whose masks are measured.
        progress: Told how many cases are measured.

    Raises:
        DatasetError: There are no such masks, or nothing that can be measured tells the cases apart.
        LabelError: A case has no masks, or lacks a structure.
    """
    reference = plan.preprocess.reference
    images, structures = _there(train, annotation, reference)
    features = choose_features(structures, images)
    spec = MeasuredSpec(annotation=annotation, features=features)
    values = map_threads(
        lambda case: measure_case(case, spec, reference), list(train),
        progress=(lambda done, total: progress("measuring", done, total)) if progress else None,
    )  # fmt: skip
    kept, idle = with_constants(features, np.stack(values))
    if not kept:
        raise DatasetError(f"dataset {train.name}: no measurement of masks {annotation!r} differs between cases")
    why = f"volumes of {', '.join(structures)} on {', '.join(images)}; their ratios and changes"
    if idle:
        why += f"; left out, since they are the same in every case: {', '.join(idle)}"
    vector = InputSpec(name=MEASURED, kind="vector", channels=len(kept))
    data = plan.model_dump(mode="json") | {
        "inputs": [i.model_dump(mode="json") for i in (*plan.inputs, vector)],
        "measured": MeasuredSpec(annotation=annotation, features=kept).model_dump(mode="json"),
        "reasons": plan.reasons | {"measured": why},
    }
    return Plan.model_validate(data)


def _there(train: CaseDataset, annotation: str, reference: str) -> tuple[list[str], tuple[str, ...]]:
    """Images on which every case has masks, the reference first, and the structures."""

    def masks(case: Case) -> dict[str, LabelMap | Masks]:
        return {
            a.image or reference: a
            for a in case.annotations
            if isinstance(a, LabelMap | Masks) and a.name == annotation
        }

    found = [masks(case) for case in train]
    common = [i for i in found[0] if all(i in each for each in found)] if found else []
    if not common:
        raise DatasetError(
            f"dataset {train.name}: no image has masks {annotation!r} in every case; features are measured on them"
        )
    images = sorted(common, key=lambda i: i != reference)
    return images, found[0][images[0]].schema.names
