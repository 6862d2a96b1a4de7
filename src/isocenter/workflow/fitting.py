"""The verb `fit`: from a dataset to a model folder."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from isocenter.data import CaseDataset, CaseProblem, Dataset, Splits, map_threads
from isocenter.errors import ConfigError, DatasetError, IsocenterError
from isocenter.io.files import check_folder_target
from isocenter.pipeline import Pipeline, Sample
from isocenter.plan import Plan, set_values
from isocenter.records import Case
from isocenter.workflow.cards import model_card
from isocenter.workflow.evaluating import score
from isocenter.workflow.model import TrainedModel
from isocenter.workflow.planning import PlanOptions, open_dataset, split_dataset, study
from isocenter.workflow.progress import Progress

if TYPE_CHECKING:
    from isocenter.training import TrainingRun

__all__ = ["fit"]

log = logging.getLogger(__name__)


def fit(
    dataset: Dataset | str | Path,
    *,
    out: str | Path,
    plan: Plan | None = None,
    splits: str | Path | Splits | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    **options: Unpack[PlanOptions],
) -> TrainedModel:
    """Plan (unless a plan is given), prepare, train, and write the model folder.

    While it runs, checkpoints and TensorBoard files lie in ``<out>.fit``; the model folder appears whole at the end.

    Args:
        dataset: A dataset, or the path of one. Its ``train`` part teaches, its ``val`` part is watched, ``test`` is
            not touched. Without splits a fifth of the patients is held out for validation.
        out: Folder of the model to be.
        plan: Made by `plan`, perhaps changed by hand.
        splits: See `Dataset.read`.
        resume: Go on from a checkpoint in ``<out>.fit``.
        overwrite: Replace an existing model folder.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: Told how far it is, after every training step too.
        options: See `PlanOptions`. Of these only ``settings`` change a given plan; the others must not contradict it.

    Returns:
        The model, as `load` would give it.

    Raises:
        IsocenterError: Anything that a user can mend, named.
    """
    folder = Path(out)
    check_folder_target(folder, overwrite=overwrite)
    began = time.perf_counter()
    whole = split_dataset(open_dataset(dataset, splits=splits, progress=progress))
    problems: tuple[CaseProblem, ...] = whole.problems
    if plan is None:
        studied = study(whole, name=folder.name, progress=progress, **options)
        whole, plan, problems = studied.dataset, studied.plan, studied.problems
    else:
        _refuse_contradiction(plan, options)
        plan = set_values(plan, options.get("settings", ()))
    pipeline = Pipeline(plan)
    _refuse_unfit_parts(pipeline)
    samples, lost = _prepare(whole.split("train"), pipeline, progress, "preparing training cases")
    held, lost_held = (
        _prepare(whole.split("val"), pipeline, progress, "preparing validation cases")
        if _has(whole, "val")
        else ([], ())
    )
    problems = (*problems, *lost, *lost_held)
    if not samples:
        raise DatasetError(f"dataset {whole.name}: no training case can be used; the first: {problems[0]}")
    prepared = time.perf_counter()
    run = _train(pipeline, samples, held, folder, resume=resume, device=device, progress=progress)
    facts = {
        "seconds_prepare": round(prepared - began, 1),
        "seconds_train": round(run.seconds, 1),
        "cases": {"train": len(samples), "val": len(held), "left_out": len({p.case for p in problems if not p.kept})},
        "left_out": [str(p) for p in problems],
        "history": run.history,
    }
    model = TrainedModel(plan, run.network, manifest={"trained_on": facts["cases"], "dataset": whole.name})
    _save(model, folder, whole, facts, overwrite)
    shutil.move(str(_work(folder) / "tensorboard"), str(folder / "tensorboard"))
    shutil.rmtree(_work(folder), ignore_errors=True)
    return model


def _work(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.fit")


def _train(
    pipeline: Pipeline, samples: list[Sample], held: list[Sample], folder: Path, *, resume: bool, device: str,
    progress: Progress | None,
) -> TrainingRun:  # fmt: skip
    from isocenter.training import CHECKPOINT, train

    work = _work(folder)
    work.mkdir(parents=True, exist_ok=True)
    try:
        return train(
            pipeline.plan, pipeline.task, {"train": samples}, folder=work, resume=resume, device=device,
            progress=_live(progress), validate=(lambda network: score(pipeline, network, held)) if held else None,
        )  # fmt: skip
    except BaseException:
        if not (work / CHECKPOINT).exists():  # nothing to go on from
            shutil.rmtree(work, ignore_errors=True)
        raise


def _refuse_contradiction(plan: Plan, options: PlanOptions) -> None:
    stated: dict[str, tuple[object, object]] = {
        "task": (options.get("task"), plan.task.name),
        "target": (options.get("target"), plan.task.target),
        "annotation": (options.get("annotation"), plan.task.annotation),
        "images": (tuple(options.get("images", ())), tuple(i.name for i in plan.inputs)),
        "structures": (tuple(options.get("structures", ())), tuple(s.name for s in plan.task.structures)),
    }
    for name, (asked, planned) in stated.items():
        if asked and asked != planned:
            raise ConfigError(
                f"{name} {asked!r} is asked for, the plan says {planned!r}; make a new plan, or leave it out"
            )


def _refuse_unfit_parts(pipeline: Pipeline) -> None:
    """Build what the plan names once, so that a wrong name or option is refused before cases are prepared."""
    import torch

    from isocenter.networks import build_network
    from isocenter.training import build_strategy

    build_strategy(pipeline.plan, pipeline.task)
    with torch.random.fork_rng(devices=[]):
        build_network(pipeline.plan.network, pipeline.plan.inputs, pipeline.task.heads())


def _save(model: TrainedModel, folder: Path, dataset: CaseDataset, facts: Mapping[str, Any], overwrite: bool) -> None:
    splits = {name: list(ids) for name, ids in (dataset.splits or {}).items()}
    extra = {
        "splits.json": json.dumps(splits, indent=2) + "\n",
        "training.json": json.dumps(facts, indent=2) + "\n",
        "card.md": model_card(model.plan, facts),
    }
    model.save(folder, extra=extra, overwrite=overwrite)
    model.folder = folder


def _live(progress: Progress | None) -> Callable[[Any], None] | None:
    if progress is None:
        return None
    return lambda state: progress("training", state.step, state.steps, state.figures)


def _has(dataset: CaseDataset, part: str) -> bool:
    return dataset.splits is not None and part in dataset.splits


def _prepare(
    dataset: CaseDataset, pipeline: Pipeline, progress: Progress | None, what: str
) -> tuple[list[Sample], tuple[CaseProblem, ...]]:
    def one(case: Case) -> Sample | CaseProblem:
        try:
            return pipeline.prepare(case, targets=True)
        except IsocenterError as error:
            log.warning("left out: %s", error)
            return CaseProblem.of(case.id, error)

    report = (lambda done, total: progress(what, done, total)) if progress else None
    found = map_threads(one, list(dataset), progress=report)
    return [f for f in found if isinstance(f, Sample)], tuple(f for f in found if isinstance(f, CaseProblem))
