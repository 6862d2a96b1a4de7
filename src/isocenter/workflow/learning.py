"""Fits of one plan on parts of one dataset, whose cases are prepared once."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isocenter.data import CaseDataset, CaseProblem
from isocenter.errors import DatasetError
from isocenter.pipeline import Model, Pipeline, Sample
from isocenter.plan import BudgetSpec, Plan, set_values
from isocenter.workflow.evaluating import score
from isocenter.workflow.model import TrainedModel
from isocenter.workflow.preparing import Prepared, prepare
from isocenter.workflow.progress import Progress
from isocenter.workflow.workplace import Workplace

if TYPE_CHECKING:
    from torch import Tensor

    from isocenter.regimes import ComponentChoice, FoldFit
    from isocenter.training import TrainingRun

__all__ = ["Learned", "Learner", "Way"]

log = logging.getLogger(__name__)
TIMED_PREDICTIONS = 3


@dataclass(frozen=True)
class Learned:
    """What came of it.

    Attributes:
        model: Not yet saved.
        facts: For ``training.json``.
        cases: Number of cases by part.
        extra: Further text files of the model folder.
    """

    model: TrainedModel
    facts: Mapping[str, Any]
    cases: Mapping[str, int]
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Way:
    """How a fit is run.

    Attributes:
        place: For checkpoints.
        resume: From those of an interrupted fit.
        seconds: That its steps may take.
        start: Weights to begin with.
    """

    place: Workplace
    resume: bool = False
    seconds: float | None = None
    start: Mapping[str, Tensor] | None = None


class Learner:
    """See the module's text.

    Args:
        plan: Of all fits.
        device: Of the steps.
        progress: Told how far it is.

    Raises:
        PlanError: The plan names a part that does not exist or does not fit; no case was read yet.
    """

    def __init__(self, plan: Plan, *, device: str, progress: Progress | None) -> None:
        self.pipeline = Pipeline(plan)
        self.device = device
        self.progress = progress
        self.prepared = Prepared()
        self.seconds_prepare = 0.0
        _refuse_unfit_parts(self.pipeline)

    @property
    def plan(self) -> Plan:
        """With the steps of the budget once they are chosen."""
        return self.pipeline.plan

    @property
    def problems(self) -> tuple[CaseProblem, ...]:
        """Cases that could not be prepared."""
        return self.prepared.problems

    def prepare(self, dataset: CaseDataset, cache: Path) -> None:
        """Prepare the training and validation cases of a dataset, those of the cache excepted."""
        began = time.perf_counter()
        inner = [i for part in ("train", "val") for i in _ids(dataset, part)]
        self.prepared = prepare(self.pipeline, dataset.subset(inner), cache, self.progress)
        self.seconds_prepare = time.perf_counter() - began
        if not self.prepared.choose(_ids(dataset, "train")):
            raise DatasetError(
                f"dataset {dataset.name}: no training case can be used; the first: {self.problems[0]}"
            )  # fmt: skip

    def keep_to(
        self, budget: BudgetSpec, dataset: CaseDataset, spent: Callable[[], float], *, fixed: bool = False
    ) -> None:
        """Choose the plan's variant and its steps; see `isocenter.planner.fit_to_budget`."""
        from isocenter.planner import Work, fit_to_budget

        held = self.prepared.choose(_ids(dataset, "val"))
        work = Work(
            samples=self.prepared.choose(_ids(dataset, "train")),
            held=[held.whole(k) for k in range(min(TIMED_PREDICTIONS, len(held)))],
            predictions=len(held),
            spent=spent,
        )
        report = _named(self.progress, "timing candidates")
        self.pipeline = Pipeline(fit_to_budget(self.plan, budget, work, fixed=fixed, progress=report))

    def once(self, dataset: CaseDataset, way: Way) -> Learned:
        """One fit on ``train``, watched on ``val``, whose post-processing is kept where ``val`` gains from it."""
        run, held = self._run(dataset, way)
        _tell_cut(run.steps, self.plan)
        model = TrainedModel(self.plan, run.network)
        facts = {
            "seconds_train": round(run.seconds, 1), "steps": run.steps, "steps_planned": self.plan.training.steps,
            "history": run.history,
        }  # fmt: skip
        cases = {"train": len(self.prepared.choose(_ids(dataset, "train"))), "val": len(held)}
        from isocenter.regimes import cleaning_by_hand

        if not held or self.plan.task.name != "segmentation" or cleaning_by_hand(self.plan):
            return Learned(model, facts, cases)
        chosen = self._choose(model, held)
        return Learned(
            TrainedModel(chosen.apply(self.plan, f"the {len(held)} validation cases"), run.network),
            {**facts, "cleaning": chosen.facts()}, cases,
        )  # fmt: skip

    def _choose(self, model: TrainedModel, held: Sequence[Sample]) -> ComponentChoice:
        """What the held-out cases gain from cleaning."""
        from isocenter.inference import Engine
        from isocenter.regimes import choose_components, measure_cleanings

        bare = set_values(model.plan, {"inference.largest_component": [], "inference.largest_together": False})
        pipeline, device = Pipeline(bare), self._inference_device()
        engine = Engine(pipeline, model.network.to(device), device=device)
        report = _named(self.progress, "choosing post-processing")
        found = []
        for done, sample in enumerate(held, start=1):
            found.append(measure_cleanings(pipeline.task, engine.predict(sample), sample.case))
            if report is not None:
                report(done, len(held))
        model.network.cpu()
        return choose_components(found)

    def folds(self, dataset: CaseDataset, folds: int, way: Way) -> Learned:
        """Cross-validation; see `isocenter.regimes.CrossValidation`."""
        from isocenter.regimes import CrossValidation, FoldFit

        seconds: list[float] = []

        def fit_fold(dataset: CaseDataset, number: int) -> FoldFit:
            place, what = way.place.fold(number), f"training fold {number + 1} of {folds}"
            done = place.root / "model"
            if way.resume and done.is_dir():
                model: Model = TrainedModel.load(done)
                held = self._held(dataset)
            else:
                run, held = self._run(dataset, Way(place, way.resume, way.seconds, way.start), what)
                _tell_cut(run.steps, self.plan)
                model = TrainedModel(self.plan, run.network, manifest={"seconds": run.seconds, "steps": run.steps})
                model.save(done)
            seconds.append(float(model.manifest["seconds"]))
            return FoldFit(model, held)

        regime = CrossValidation(folds=folds, seed=self.plan.training.seed)
        made = regime.run(fit_fold, dataset, device=self._inference_device(), progress=self.progress)
        facts = {"seconds_train": round(sum(seconds), 1), "steps_planned": self.plan.training.steps, "folds": folds}
        cases = {"train": len(self.prepared.choose(_ids(dataset, "train"))), "val": 0}
        extra = {"cross_validation.json": json.dumps(made.figures, indent=2) + "\n"}
        return Learned(
            TrainedModel(made.model.plan, made.model.network, manifest=made.model.manifest), facts, cases, extra
        )

    def _run(self, dataset: CaseDataset, way: Way, what: str = "training") -> tuple[TrainingRun, Sequence[Sample]]:
        from isocenter.training import train

        held = self._held(dataset)
        way.place.root.mkdir(parents=True, exist_ok=True)
        run = train(
            self.plan, self.pipeline.task, {"train": self.prepared.choose(_ids(dataset, "train"))},
            folder=way.place.root, resume=way.resume, device=self.device, progress=_live(self.progress, what),
            validate=(lambda network: score(self.pipeline, network, held)) if held else None,
            seconds=way.seconds, start=way.start,
        )  # fmt: skip
        return run, held

    def _held(self, dataset: CaseDataset) -> Sequence[Sample]:
        found = self.prepared.choose(_ids(dataset, "val"))
        return [found.whole(k) for k in range(len(found))]

    def _inference_device(self) -> str:
        import torch

        return "cuda" if self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available()) else "cpu"


def _ids(dataset: CaseDataset, part: str) -> tuple[str, ...]:
    return tuple(dataset.splits[part]) if dataset.splits is not None and part in dataset.splits else ()


def _tell_cut(steps: int, plan: Plan) -> None:
    if steps < plan.training.steps:
        log.warning(
            "the budget was over after step %d of %d; the remaining steps were left out", steps, plan.training.steps
        )


def _named(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)


def _live(progress: Progress | None, what: str) -> Callable[[Any], None] | None:
    if progress is None:
        return None
    return lambda state: progress(what, state.step, state.steps, state.figures)


def _refuse_unfit_parts(pipeline: Pipeline) -> None:
    """Build what the plan names once, so that a wrong name or option is refused before cases are prepared."""
    import torch

    from isocenter.inference import check_views
    from isocenter.networks import build_network
    from isocenter.training import build_strategy

    check_views(pipeline.plan.inference.views, pipeline.task)
    build_strategy(pipeline.plan, pipeline.task)
    with torch.random.fork_rng(devices=[]):
        build_network(pipeline.plan.network, pipeline.plan.inputs, pipeline.task.heads())
