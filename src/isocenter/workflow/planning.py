"""The verb `plan`: look at a dataset and decide everything, with reasons."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np

from isocenter.data import CaseDataset, CaseProblem, Dataset, Splits, make_splits
from isocenter.errors import ConfigError, DatasetError, SplitError
from isocenter.plan import BudgetSpec, InputSpec, Plan, TaskSpec, set_values
from isocenter.planner import Fingerprint, fingerprint, plan_by_rules
from isocenter.records import Case, ClassLabel
from isocenter.tasks import build_task
from isocenter.workflow.learned import annotation_kinds, only_structures, task_spec
from isocenter.workflow.measured import with_measures
from isocenter.workflow.progress import Progress

__all__ = ["PlanOptions", "Studied", "budget_of", "open_dataset", "plan", "split_dataset", "study"]

log = logging.getLogger(__name__)


class PlanOptions(TypedDict, total=False):
    """What a plan is asked for.

    Attributes:
        task: ``"segmentation"`` (default), ``"detection"``, ``"classification"``, or a registered one.
        target: Question of a classification, where the dataset answers several.
        structures: Kinds of objects of a detection; all that the dataset declares, where empty.
        images: Images that the network reads, the reference first; all that every case has, where empty.
        annotation: Set of annotations that is the truth, ``"main"`` by default.
        network: Family of networks, by registered name; the rules choose by default.
        dimensions: 2 or 3, of its convolutions; the rules choose by default.
        measure: Set of annotations whose masks are measured, volumes and ratios, for the network to read beside the
            images; network ``"measured"`` reads them alone, of set ``"main"`` by default.
        settings: Changes by dotted key: ``["training.steps=500"]`` or ``{"training.steps": 500}``.
        budget: Wall time of a whole fit, as ``"10min"``: variants of the plan are timed on this machine, one is chosen
            and given as many steps as fit.
        memory: Highest memory of a fit within a budget, as ``"4GB"``.
        cache: Folder that keeps prepared cases from one fit to the next; without one they are thrown away.
    """

    task: str
    target: str | None
    structures: Sequence[str]
    images: Sequence[str]
    annotation: str
    network: str | None
    dimensions: Literal[2, 3] | None
    measure: str | None
    settings: Iterable[str] | Mapping[str, Any]
    budget: str | float | None
    memory: str | float | None
    cache: str | Path | None


@dataclass(frozen=True)
class Studied:
    """A dataset that was looked at.

    Attributes:
        dataset: Usable cases, with splits.
        plan: By rules, with the changes asked for.
        problems: Cases that cannot be used, named.
        rules: Plan by rules of a family of networks and its dimensions, without measures and changes.
    """

    dataset: CaseDataset
    plan: Plan
    problems: tuple[CaseProblem, ...]
    rules: Callable[[str | None, Literal[2, 3] | None], Plan]


def plan(
    dataset: Dataset | str | Path,
    *,
    splits: str | Path | Splits | None = None,
    name: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    **options: Unpack[PlanOptions],
) -> Plan:
    """Decide how a dataset is learned, from its training part alone.

    Args:
        dataset: A dataset, or the path of one.
        splits: See `Dataset.read`.
        name: Of the model to be; the dataset's by default.
        device: Where a budget's variants are timed: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: Told how far it is.
        options: See `PlanOptions`.

    Raises:
        DatasetError: The dataset, or every case of it, cannot be used.
        PlanError: A setting that does not exist or fit.
    """
    began = time.perf_counter()
    budget = budget_of(options, device)
    whole = split_dataset(open_dataset(dataset, splits=splits, progress=progress))
    studied = study(whole, name=name, progress=progress, **options)
    if budget is None:
        return studied.plan
    from isocenter.workflow.learning import Learner

    learner = Learner(studied.plan, device=device, progress=progress)
    with tempfile.TemporaryDirectory() as folder:
        learner.prepare(studied.dataset, Path(options.get("cache") or folder))
        learner.keep_to(budget, studied.dataset, lambda: time.perf_counter() - began)
    return learner.plan


def budget_of(options: PlanOptions, device: str) -> BudgetSpec | None:
    """The budget that was asked for.

    Raises:
        ConfigError: Not a time or an amount of memory, or memory without time.
    """
    time_, memory = options.get("budget"), options.get("memory")
    if time_ is not None:
        return BudgetSpec.of(time_, memory=memory, device=device)
    if memory is not None:
        raise ConfigError(f"memory {memory!r}: is a part of a budget; give a budget of time too")
    return None


def study(
    dataset: CaseDataset,
    *,
    name: str | None = None,
    progress: Progress | None = None,
    **options: Unpack[PlanOptions],
) -> Studied:
    """Look at the training part of a dataset with splits, decide, and name what cannot be used."""
    train = dataset.split("train")
    annotation = options.get("annotation", "main")
    whole = task_spec(train, options.get("task", "segmentation"), options.get("target"), annotation)
    spec = only_structures(whole, options.get("structures", ()))
    usable, lost = _annotated(train, spec)
    inputs, why = _inputs(usable, options.get("images", ()), spec)
    reference = inputs[0].name
    schema = whole.schema_ if whole.structures else None
    found = fingerprint(
        usable, reference=reference, annotation=annotation, schema=schema,
        progress=(lambda done, total: progress("looking at cases", done, total)) if progress else None,
    )  # fmt: skip
    found = _seen_for(found, spec)
    problems = (*dataset.problems, *lost, *found.problems)
    for problem in (*lost, *found.problems):
        log.warning("left out: %s", problem)

    def rules_of(network: str | None, dimensions: Literal[2, 3] | None) -> Plan:
        made = plan_by_rules(
            found, task=spec, inputs=inputs, reference=reference, name=name or dataset.name, network=network,
            dimensions=dimensions,
        )  # fmt: skip
        return made.model_copy(update={"reasons": {"preprocess.reference": why, **made.reasons}})

    rules = rules_of(options.get("network"), options.get("dimensions"))
    measure = options.get("measure") or ("main" if rules.network.name == "measured" else None)
    if measure:
        rules = with_measures(rules, usable, measure, progress)
    kept = dataset.subset([i for i in dataset.ids if i not in {p.case for p in (*lost, *found.problems)}])
    asked = set_values(rules, options.get("settings", ()))
    build_task(asked.task, asked.preprocess.reference)  # refuses options that the task does not have
    return Studied(_with_splits(kept, dataset), asked, problems, rules_of)


def open_dataset(
    dataset: Dataset | str | Path, *, splits: str | Path | Splits | None = None, layout: str | None = None,
    progress: Progress | None = None,
) -> CaseDataset:  # fmt: skip
    """A dataset as a `CaseDataset`, read where a path was given."""
    if isinstance(dataset, Dataset):
        found = dataset
        if splits is not None:
            chosen = splits if isinstance(splits, Splits) else Splits.read(splits)
            found = dataset.with_splits(chosen)
    else:
        report = (lambda done, total: progress("reading headers", done, total)) if progress else None
        found = Dataset.read(dataset, splits=splits, layout=layout, progress=report)
    return found if isinstance(found, CaseDataset) else found.with_splits(found.splits)


def split_dataset(dataset: CaseDataset, *, seed: int = 0) -> CaseDataset:
    """The dataset with splits: those it states, else a fifth of the patients for validation.

    Raises:
        SplitError: One patient only.
    """
    if dataset.splits is not None:
        return dataset
    if len(dataset) < 2:
        raise SplitError(
            f"dataset {dataset.name}: has one usable case only ({', '.join(dataset.ids)}); learning needs at least two"
            " patients, one of them for validation"
        )
    return dataset.with_splits(make_splits(dataset, val=0.2, seed=seed))


def _with_splits(kept: CaseDataset, dataset: CaseDataset) -> CaseDataset:
    if dataset.splits is None:
        return kept
    parts = {n: [i for i in ids if i in kept] for n, ids in dataset.splits.items()}
    return kept.with_splits(Splits({n: ids for n, ids in parts.items() if ids}))


def _annotated(dataset: CaseDataset, spec: TaskSpec) -> tuple[CaseDataset, tuple[CaseProblem, ...]]:
    """Cases that have what the task learns from; the others are named."""
    kinds = annotation_kinds(spec.name)
    name = spec.target if spec.name == "classification" else spec.annotation

    def has(case: Case) -> bool:
        return not kinds or any(isinstance(a, kinds) and a.name == name for a in case.annotations)

    lost = tuple(CaseProblem(c.id, f"has no annotation {name!r} to learn from") for c in dataset if not has(c))
    kept = dataset.subset([c.id for c in dataset if has(c)])
    if not len(kept):
        raise DatasetError(f"dataset {dataset.name}: no case has an annotation {name!r} that {spec.name} learns from")
    return kept, lost


def _inputs(dataset: CaseDataset, wanted: Sequence[str], spec: TaskSpec) -> tuple[tuple[InputSpec, ...], str]:
    """Images that the network reads, the reference first, and why it is the reference."""
    for name in wanted:
        if name not in dataset.images:
            raise ConfigError(f"image {name!r}: the dataset has {', '.join(dataset.images)}")
    names = list(wanted) or [n for n in dataset.images if all(n in c.images for c in dataset)]
    if not names:
        raise DatasetError(f"dataset {dataset.name}: no image is there in every case; name the ones to use")
    why = "the first of the images that were asked for"
    if not wanted:
        reference, why = _reference(dataset, names, spec)
        names = [reference, *(n for n in names if n != reference)]
    inputs = tuple(
        InputSpec(
            name=n,
            modality=dataset.modalities.get(n, "OT"),
            required=n == names[0] or all(n in c.images for c in dataset),
        )
        for n in names
    )
    return inputs, why


def _reference(dataset: CaseDataset, names: Sequence[str], spec: TaskSpec) -> tuple[str, str]:
    """Of several images: the finest on which the truth was drawn, so that no annotation is interpolated in vain."""
    if len(names) == 1:
        return names[0], "the only image that every case has"
    kinds = annotation_kinds(spec.name)

    def drawn_on(name: str) -> bool:
        if kinds == (ClassLabel,) or not kinds:
            return True
        return all(
            any(isinstance(a, kinds) and a.name == spec.annotation and a.image == name for a in case.annotations)
            for case in dataset
        )

    def voxel_mm3(name: str) -> float:
        return float(np.median([np.prod(c.images[name].grid().spacing_mm) for c in dataset]))

    able = [n for n in names if drawn_on(n)] or list(names)
    chosen = min(able, key=lambda n: round(voxel_mm3(n), 3))
    others = ", ".join(n for n in names if n != chosen)
    return chosen, (
        f"the truth is drawn on it and its voxels are the finest ({voxel_mm3(chosen):.3g} mm3);"
        f" {others} {'comes' if len(names) == 2 else 'come'} onto its grid"
    )


def _seen_for(found: Fingerprint, spec: TaskSpec) -> Fingerprint:
    """Thickness of what is learned alone."""
    names = {s.name for s in spec.structures}
    cases = {
        i: replace(c, thickness_mm={n: t for n, t in c.thickness_mm.items() if n in names})
        for i, c in found.cases.items()
    }
    return replace(found, cases=cases)
