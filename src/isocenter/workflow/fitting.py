"""The verb `fit`: from a dataset to a model folder."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from isocenter.data import CaseDataset, CaseProblem, Dataset, Splits
from isocenter.errors import ConfigError
from isocenter.io.files import check_folder_target
from isocenter.plan import Plan, set_values
from isocenter.workflow.cards import model_card
from isocenter.workflow.learning import Learned, Learner, Way
from isocenter.workflow.model import TrainedModel, load
from isocenter.workflow.planning import PlanOptions, budget_of, open_dataset, split_dataset, study
from isocenter.workflow.progress import Progress
from isocenter.workflow.workplace import Workplace

__all__ = ["FitOptions", "fit"]

CUT = 1.02
"""Share of the budget after which the remaining steps are left out."""


class FitOptions(PlanOptions, total=False):
    """What a fit is asked for, beside what a plan is asked for.

    Attributes:
        folds: Cross-validation: so many fits, each without the patients of one fold, whose ensemble is the model; 0
            for one fit. A budget is then that of each fold.
        start: Model, or its folder, whose plan and weights the fit begins with.
        overwrite: Replace an existing model folder.
    """

    folds: int
    start: TrainedModel | str | Path | None
    overwrite: bool


def fit(
    dataset: Dataset | str | Path,
    *,
    out: str | Path,
    plan: Plan | None = None,
    splits: str | Path | Splits | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    **options: Unpack[FitOptions],
) -> TrainedModel:
    """Plan (unless a plan is given), prepare, train, and write the model folder.

    While it runs, checkpoints, prepared cases and TensorBoard files lie in ``<out>.fit``; the model folder appears
    whole at the end.

    Args:
        dataset: A dataset, or the path of one. Its ``train`` part teaches, its ``val`` part is watched, ``test`` is
            not touched. Without splits a fifth of the patients is held out for validation.
        out: Folder of the model to be.
        plan: Made by `plan`, perhaps changed by hand.
        splits: See `Dataset.read`.
        resume: Go on from what an interrupted fit left in ``<out>.fit``, with its plan.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: Told how far it is, after every training step too.
        options: See `FitOptions` and `PlanOptions`. Of the latter only ``settings`` and ``cache`` change a given
            plan's fit; the others must not contradict it.

    Returns:
        The model, as `load` would give it.

    Raises:
        StoppedError: Ctrl-C or SIGTERM; ``resume`` goes on.
        IsocenterError: Anything that a user can mend, named.
    """
    began = time.perf_counter()
    folder, folds = Path(out), options.get("folds", 0)
    check_folder_target(folder, overwrite=options.get("overwrite", False))
    budget = budget_of(options, device)
    place = Workplace.of(folder)
    kept = place.kept() if resume else None
    whole = _parts(open_dataset(dataset, splits=splits, progress=progress), folds)
    begun = _begin(whole, plan or (kept[0] if kept else None), folder.name, options, progress)
    with place.cleared_unless_of_use():
        learner = Learner(begun.plan, device=device, progress=progress)
        if not resume:
            place.begin_anew()
        learner.prepare(begun.dataset, Path(options.get("cache") or place.cache))
        if kept is None:
            if budget is not None and (plan is None or plan.budget is None):
                spent = partial(_since, began)
                learner.keep_to(budget, begun.dataset, spent, fixed=begun.start is not None or plan is not None)
            kept = learner.plan, _allowance(learner.plan, began)
            place.keep(*kept)
        start = begun.start.network.state_dict() if begun.start is not None else None
        way = Way(place, resume, kept[1], start)
        learned = learner.folds(begun.dataset, folds, way) if folds else learner.once(begun.dataset, way)
    seconds = _since(began)
    return _finish(learned, learner, begun, place, folder, seconds, overwrite=options.get("overwrite", False))


def _since(began: float) -> float:
    return time.perf_counter() - began


@dataclass(frozen=True)
class _Begun:
    dataset: CaseDataset
    plan: Plan
    start: TrainedModel | None
    problems: tuple[CaseProblem, ...]


def _parts(whole: CaseDataset, folds: int) -> CaseDataset:
    """Folds hold patients out by themselves."""
    if folds and folds < 2:
        raise ConfigError(f"folds {folds}: cross-validation needs at least 2")
    if not folds:
        return split_dataset(whole)
    parts = dict(whole.splits or {"train": whole.ids})
    inner = [*parts.pop("train", ()), *parts.pop("val", ())]
    return whole.with_splits(Splits({"train": inner, **parts}))


def _begin(
    whole: CaseDataset, plan: Plan | None, name: str, options: FitOptions, progress: Progress | None
) -> _Begun:  # fmt: skip
    """The plan: given, kept by an interrupted fit, that of the model to start from, or made now."""
    said = options.get("start")
    start = said if isinstance(said, TrainedModel) or said is None else load(said)
    if start is not None and plan is None:
        plan = start.plan.model_copy(update={"name": name, "budget": None})
    if plan is None:
        studied = study(whole, name=name, progress=progress, **_plan_options(options))
        return _Begun(studied.dataset, studied.plan, start, studied.problems)
    _refuse_contradiction(plan, options)
    return _Begun(whole, set_values(plan, options.get("settings", ())), start, whole.problems)


def _plan_options(options: FitOptions) -> PlanOptions:
    found: Any = {k: v for k, v in options.items() if k in PlanOptions.__annotations__}
    return found  # type: ignore[no-any-return]


def _allowance(plan: Plan, began: float) -> float | None:
    """Seconds that the steps may take before the rest of them is cut."""
    return None if plan.budget is None else max(1.0, CUT * plan.budget.seconds - _since(began))


def _refuse_contradiction(plan: Plan, options: PlanOptions) -> None:
    stated: dict[str, tuple[object, object]] = {
        "task": (options.get("task"), plan.task.name),
        "target": (options.get("target"), plan.task.target),
        "annotation": (options.get("annotation"), plan.task.annotation),
        "images": (tuple(options.get("images", ())), tuple(i.name for i in plan.images)),
        "network": (options.get("network"), plan.network.name),
        "dimensions": (options.get("dimensions"), plan.network.dimensions),
        "structures": (tuple(options.get("structures", ())), tuple(s.name for s in plan.task.structures)),
    }
    for name, (asked, planned) in stated.items():
        if asked and asked != planned:
            raise ConfigError(
                f"{name} {asked!r} is asked for, the plan says {planned!r}; make a new plan, or leave it out"
            )


def _finish(
    learned: Learned, learner: Learner, begun: _Begun, place: Workplace, folder: Path, seconds: float, *,
    overwrite: bool,
) -> TrainedModel:  # fmt: skip
    problems = (*begun.problems, *learner.problems)
    cases = {**learned.cases, "left_out": len({p.case for p in problems if not p.kept})}
    facts = {
        **learned.facts, "seconds_prepare": round(learner.seconds_prepare, 1), "seconds": round(seconds, 1),
        "cases": cases, "left_out": [str(p) for p in problems],
    }  # fmt: skip
    model = learned.model
    model.manifest = {**model.manifest, "trained_on": cases, "dataset": begun.dataset.name}
    splits = {name: list(ids) for name, ids in (begun.dataset.splits or {}).items()}
    extra = {
        "splits.json": json.dumps(splits, indent=2) + "\n",
        "training.json": json.dumps(facts, indent=2) + "\n",
        "card.md": model_card(model.plan, facts),
        **learned.extra,
    }
    model.save(folder, extra=extra, overwrite=overwrite)
    model.folder = folder
    if place.tensorboard.is_dir():
        shutil.move(str(place.tensorboard), str(folder / "tensorboard"))
    place.clear()
    return model
