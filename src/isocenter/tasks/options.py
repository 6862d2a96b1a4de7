"""Options of a task: typed, and refused with the known ones named."""

from __future__ import annotations

import difflib
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from isocenter.errors import PlanError
from isocenter.plan import TaskSpec

__all__ = ["TaskOptions", "read_options"]


class TaskOptions(BaseModel):
    """Base of what ``task.options`` of a plan may hold: one field an option, with its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Options = TypeVar("Options", bound=TaskOptions)


def read_options(kind: type[Options], spec: TaskSpec) -> Options:
    """The options of a plan's task.

    Raises:
        PlanError: An option that ``kind`` does not have, or a value that it does not take.

    Example:
        >>> class Mine(TaskOptions):
        ...     margin: float = 1.0
        >>> read_options(Mine, TaskSpec(name="mine", options={"margin": 2})).margin
        2.0
    """
    try:
        return kind(**spec.options)
    except ValidationError as error:
        first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    known = ", ".join(kind.model_fields) or "none"
    if first["type"] != "extra_forbidden":
        raise PlanError(f"task.options.{key}: {first['msg']}, found {first['input']!r}; {spec.name} knows {known}")
    near = difflib.get_close_matches(key, kind.model_fields, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise PlanError(f"task.options: no {key!r}{hint}; {spec.name} knows {known}")
