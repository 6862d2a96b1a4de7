"""What is learned: from the words of a person and the annotations of a dataset to a `TaskSpec`."""

from __future__ import annotations

from collections.abc import Sequence

from isocenter.data import CaseDataset
from isocenter.errors import ConfigError, DatasetError, PlanError
from isocenter.plan import TaskSpec
from isocenter.records import Boxes, ClassLabel, LabelMap, LabelSchema, Masks
from isocenter.tasks import tasks

__all__ = ["annotation_kinds", "only_structures", "task_spec"]


def task_spec(dataset: CaseDataset, task: str, target: str | None, annotation: str) -> TaskSpec:
    """What a task learns from the annotations of set ``annotation``, or from the answers to ``target``.

    Raises:
        PlanError: No such task or question.
        DatasetError: Nothing to learn from.
        ConfigError: Several questions, and none was chosen.
    """
    _ = tasks[task]  # an unknown one is refused before anything is read
    if task == "classification" or (not annotation_kinds(task) and target in _questions(dataset)):
        return _class_spec(dataset, target).model_copy(update={"name": task})
    schema = _schema(dataset, task, annotation)
    if schema is None and annotation_kinds(task):
        raise DatasetError(f"dataset {dataset.name}: has no structures in set {annotation!r}; {task} learns from them")
    if schema is None:
        return TaskSpec(name=task, annotation=annotation, target=target)
    return TaskSpec(
        name=task, annotation=annotation, target=target, structures=TaskSpec.structures_of(schema),
        exclusive=schema.exclusive, ignore=schema.ignore,
    )  # fmt: skip


def only_structures(spec: TaskSpec, names: Sequence[str]) -> TaskSpec:
    """The chosen kinds of objects; a segmentation has to tell every declared structure from the others."""
    if not names:
        return spec
    if spec.name == "segmentation":
        raise ConfigError(f"structure {names[0]!r}: a segmentation learns every structure that the dataset declares")
    known = [s.name for s in spec.structures]
    for name in names:
        if name not in known:
            raise ConfigError(f"structure {name!r}: the dataset has {', '.join(known) or 'none'}")
    kept = tuple(s for s in spec.structures if s.name in names)
    alone = tuple(s if s.mirror in names else s.model_copy(update={"mirror": None}) for s in kept)
    return spec.model_copy(update={"structures": alone})


def annotation_kinds(task: str) -> tuple[type, ...]:
    """Annotations that a task learns from; empty for tasks from outside, which say so themselves."""
    known: dict[str, tuple[type, ...]] = {
        "segmentation": (LabelMap, Masks),
        "detection": (Boxes, LabelMap, Masks),
        "classification": (ClassLabel,),
    }
    return known.get(task, ())


def _schema(dataset: CaseDataset, task: str, annotation: str) -> LabelSchema | None:
    kinds: tuple[type, ...] = (Boxes, LabelMap, Masks) if task == "detection" else (LabelMap, Masks)
    for kind in kinds:
        for case in dataset:
            found = case.find(kind, name=annotation)
            if found is not None:
                own: LabelSchema = found.schema
                masks = isinstance(found, Masks)
                both = dataset.schema if annotation == "main" and kind is not Boxes and dataset.schema else own
                return LabelSchema(both.structures, exclusive=False) if masks and not both.exclusive else both
    return None


def _questions(dataset: CaseDataset) -> dict[str, ClassLabel]:
    return {a.name: a for c in dataset for a in c.annotations if isinstance(a, ClassLabel)}


def _class_spec(dataset: CaseDataset, target: str | None) -> TaskSpec:
    questions = _questions(dataset)
    if not questions:
        raise DatasetError(f"dataset {dataset.name}: no case has a class; add a column class.<question>")
    if target is None and len(questions) > 1:
        raise ConfigError(f"the dataset answers several questions ({', '.join(questions)}); choose one with --target")
    name = target or next(iter(questions))
    if name not in questions:
        raise PlanError(f"no class {name!r} in the dataset; it has {', '.join(questions)}")
    label = questions[name]
    if label.exclusive and len(label.classes) < 2:
        raise DatasetError(
            f"dataset {dataset.name}: every case answers {name!r} with {label.classes[0]!r}; there is nothing to learn"
        )
    return TaskSpec(
        name="classification", target=name, annotation=name, classes=label.classes, exclusive=label.exclusive
    )
