"""The verb `evaluate`: how good a model is on cases with truth."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.data import CaseDataset, CaseProblem, Dataset, Splits
from isocenter.errors import ConfigError, DatasetError, IsocenterError, SplitError
from isocenter.io.files import write_json
from isocenter.metrics import Measure, summarise
from isocenter.pipeline import Pipeline, Sample
from isocenter.workflow.model import TrainedModel, load
from isocenter.workflow.planning import open_dataset
from isocenter.workflow.progress import Progress

if TYPE_CHECKING:
    from torch import nn

__all__ = ["evaluate", "score"]

log = logging.getLogger(__name__)
MAIN_FIGURES = ("dice", "accuracy", "f1", "sensitivity")


def evaluate(
    model: TrainedModel | str | Path,
    dataset: Dataset | str | Path,
    *,
    split: str | None = None,
    splits: str | Path | Splits | None = None,
    by: Sequence[str] = (),
    out: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Predict cases and compare with their truth.

    Args:
        model: Or its folder.
        dataset: Or its path.
        split: Part to use, as the dataset's splits or, where it has none, the model's own say; all cases by default.
        splits: See `Dataset.read`.
        by: Attributes to group by.
        out: File for the figures.
        device: Where the network runs.
        progress: Called with what is done, how far, and of how much.

    Returns:
        ``summary``, ``structures``, ``cases``, ``groups``, and ``problems``: cases that could not be used, named.
        See `isocenter.metrics.summarise` for the figures.

    Raises:
        DatasetError: No case could be evaluated.
        SplitError: No such part.
    """
    from isocenter.inference import Engine

    if out is not None and Path(out).is_dir():
        raise ConfigError(f"{out}: is a folder, the figures are to be written there; give a file name")
    chosen = model if isinstance(model, TrainedModel) else load(model)
    whole = open_dataset(dataset, splits=splits, progress=progress)
    part = _part(whole, chosen, split)
    for attribute in by:
        if not any(attribute in case.attributes for case in part):
            have = sorted({a for case in part for a in case.attributes})
            raise ConfigError(f"--by {attribute}: no case has it; attributes are {', '.join(have) or 'none'}")
    engine = Engine(chosen.pipeline, chosen.network.to(device), chosen.calibration, chosen.provenance, device)
    measures: list[Measure] = []
    problems: list[CaseProblem] = [p for p in whole.problems if split is None]
    for done, case in enumerate(part, start=1):
        try:
            prediction = engine.predict(chosen.pipeline.prepare(case))
            measures += chosen.pipeline.task.measure(prediction, case)
        except IsocenterError as error:
            log.warning("left out: %s", error)
            problems.append(CaseProblem.of(case.id, error))
        if progress is not None:
            progress("predicting and measuring", done, len(part))
    if not measures:
        raise DatasetError(f"dataset {whole.name}: no case could be evaluated; the first: {problems[0]}")
    groups = {name: {c.id: c.attributes[name] for c in part if name in c.attributes} for name in by}
    figures = summarise(measures, groups=groups or None)
    figures["problems"] = [str(p) for p in problems]
    figures["split"] = split or "all"
    provenance = chosen.provenance
    figures["model"] = {"name": provenance.model, "isocenter": provenance.version, "digest": provenance.digest}
    if out is not None:
        write_json(out, figures)
    return figures


def score(pipeline: Pipeline, network: nn.Module, samples: Sequence[Sample]) -> float:
    """Mean of the task's main figure over prepared cases; what a fit shows while it runs."""
    from isocenter.inference import Engine

    training = network.training
    weights = [*network.parameters(), *network.buffers()]
    engine = Engine(pipeline, network, device=weights[0].device if weights else "cpu", views=())
    values = []
    for sample in samples:
        for measure in pipeline.task.measure(engine.predict(sample), sample.case):
            figure = next((measure.values[n] for n in MAIN_FIGURES if n in measure.values), None)
            if figure is not None and measure.outcome != "absent":
                values.append(figure)
    network.train(training)
    return float(np.mean(values)) if values else 0.0


def _part(dataset: CaseDataset, model: TrainedModel, split: str | None) -> CaseDataset:
    if split is None:
        return dataset
    if dataset.splits is None:
        text = model.text(model.folder, "splits.json") if model.folder else None
        if text is None:
            raise SplitError(f"--split {split}: neither the dataset nor the model states splits")
        import json

        own = {n: [i for i in ids if i in dataset] for n, ids in json.loads(text).items()}
        dataset = dataset.with_splits(Splits({n: ids for n, ids in own.items() if ids}))
    return dataset.split(split)
