"""What a prepared case depends on: content of its files, part of the plan, version of the code."""

from __future__ import annotations

import hashlib
import inspect
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isocenter.errors import IsocenterError

if TYPE_CHECKING:
    from isocenter.data.content import ContentHash
    from isocenter.pipeline.pipeline import Pipeline
    from isocenter.records import Case
    from isocenter.tasks import Task

__all__ = ["PREPARED", "prepared_facts"]

PREPARED = 1
"""Version of what `Pipeline.prepare` and the built-in tasks' ``encode`` and ``sites`` give; raised when they change."""

_OWN = ("segmentation", "detection", "classification")


def prepared_facts(pipeline: Pipeline, case: Case, content: ContentHash, *, targets: bool) -> dict[str, Any]:
    """Everything that decides what ``pipeline.prepare(case)`` gives, as JSON can say it.

    Args:
        pipeline: Of the plan: its inputs, its preprocessing, and what of its task has a part in targets.
        case: Its images and annotations, by content.
        content: Hashes them.
        targets: With the truth.

    Raises:
        IsocenterError: A file is missing or damaged; the message names the case.
    """
    plan, task = pipeline.plan, pipeline.task
    names: list[str] | None = [i.name for i in plan.images]
    sets: set[str] | None = {plan.task.annotation, plan.task.target or plan.task.annotation} if targets else set()
    facts: dict[str, Any] = {
        "prepared": PREPARED,
        "preprocess": plan.preprocess.model_dump(mode="json"),
        "inputs": [(i.name, i.channels, i.required) for i in plan.inputs],
        "task": _task_facts(task) if targets else None,
    }
    if plan.measured is not None:
        facts["measured"] = plan.measured.model_dump(mode="json")
        facts["attributes"] = dict(case.attributes)
        sets = {*(sets or ()), plan.measured.annotation}
        quantities = [q for f in plan.measured.features for q in (f.of, f.less, f.over) if q is not None]
        names = sorted({*(names or ()), *(q.image for q in quantities if q.image in case.images and q.image)})
    if targets and not _is_own(task):  # nobody knows what it looks at
        names = sets = None
        facts["attributes"] = dict(case.attributes)
    try:
        return facts | {"case": content.case(case, images=names, sets=sets)}
    except IsocenterError as error:
        text, where = str(error), f"case {case.id}: "
        raise type(error)(text if text.startswith(where) else where + text) from error


def _is_own(task: Task) -> bool:
    return task.spec.name in _OWN and type(task).__module__.startswith("isocenter.tasks.")


def _task_facts(task: Task) -> dict[str, Any]:
    """What of a task has a part in its targets; of one from outside everything, and its source."""
    spec = task.spec
    if not _is_own(task):
        return {"spec": spec.model_dump(mode="json"), "code": _source_digest(type(task))}
    structures = [(s.name, s.values) for s in spec.structures]
    stated = (spec.name, spec.annotation, spec.exclusive, spec.ignore, spec.target, spec.classes)
    return {"spec": stated, "structures": structures}


def _source_digest(kind: type) -> str | None:
    with suppress(OSError, TypeError):  # written at a prompt
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    return None
