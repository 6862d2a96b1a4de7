"""The verb `plan`: look at a dataset and decide everything, with reasons."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from isocenter.data import CaseDataset, CaseProblem, Dataset, Splits, make_splits
from isocenter.errors import ConfigError, DatasetError, SplitError
from isocenter.plan import InputSpec, Plan, TaskSpec, set_values
from isocenter.planner import Fingerprint, fingerprint, plan_by_rules
from isocenter.records import Case
from isocenter.workflow.learned import annotation_kinds, only_structures, task_spec
from isocenter.workflow.progress import Progress

__all__ = ["PlanOptions", "Studied", "open_dataset", "plan", "split_dataset", "study"]

log = logging.getLogger(__name__)


class PlanOptions(TypedDict, total=False):
    """What a plan is asked for.

    Attributes:
        task: ``"segmentation"`` (default), ``"detection"``, ``"classification"``, or a registered one.
        target: Question of a classification, where the dataset answers several.
        structures: Kinds of objects of a detection; all that the dataset declares, where empty.
        images: Images that the network reads, the reference first; all that every case has, where empty.
        annotation: Set of annotations that is the truth, ``"main"`` by default.
        settings: Changes by dotted key: ``["training.steps=500"]`` or ``{"training.steps": 500}``.
    """

    task: str
    target: str | None
    structures: Sequence[str]
    images: Sequence[str]
    annotation: str
    settings: Iterable[str] | Mapping[str, Any]


@dataclass(frozen=True)
class Studied:
    """A dataset that was looked at.

    Attributes:
        dataset: Usable cases, with splits.
        plan: By rules, with the changes asked for.
        problems: Cases that cannot be used, named.
    """

    dataset: CaseDataset
    plan: Plan
    problems: tuple[CaseProblem, ...]


def plan(
    dataset: Dataset | str | Path,
    *,
    splits: str | Path | Splits | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    **options: Unpack[PlanOptions],
) -> Plan:
    """Decide how a dataset is learned, from its training part alone.

    Args:
        dataset: A dataset, or the path of one.
        splits: See `Dataset.read`.
        name: Of the model to be; the dataset's by default.
        progress: Told how far it is.
        options: See `PlanOptions`.

    Raises:
        DatasetError: The dataset, or every case of it, cannot be used.
        PlanError: A setting that does not exist or fit.
    """
    whole = split_dataset(open_dataset(dataset, splits=splits, progress=progress))
    return study(whole, name=name, progress=progress, **options).plan


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
    inputs = _inputs(usable, options.get("images", ()))
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
    rules = plan_by_rules(found, task=spec, inputs=inputs, reference=reference, name=name or dataset.name)
    kept = dataset.subset([i for i in dataset.ids if i not in {p.case for p in (*lost, *found.problems)}])
    return Studied(_with_splits(kept, dataset), set_values(rules, options.get("settings", ())), problems)


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


def _inputs(dataset: CaseDataset, wanted: Sequence[str]) -> tuple[InputSpec, ...]:
    for name in wanted:
        if name not in dataset.images:
            raise ConfigError(f"image {name!r}: the dataset has {', '.join(dataset.images)}")
    names = list(wanted) or [n for n in dataset.images if all(n in c.images for c in dataset)]
    if not names:
        raise DatasetError(f"dataset {dataset.name}: no image is there in every case; name the ones to use")
    return tuple(
        InputSpec(
            name=n,
            modality=dataset.modalities.get(n, "OT"),
            required=n == names[0] or all(n in c.images for c in dataset),
        )
        for n in names
    )


def _seen_for(found: Fingerprint, spec: TaskSpec) -> Fingerprint:
    """Thickness of what is learned alone."""
    names = {s.name for s in spec.structures}
    cases = {
        i: replace(c, thickness_mm={n: t for n, t in c.thickness_mm.items() if n in names})
        for i, c in found.cases.items()
    }
    return replace(found, cases=cases)
