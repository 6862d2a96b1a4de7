"""Options of a task."""

from __future__ import annotations

from typing import TypeVar

from isocenter.plan import Options, TaskSpec
from isocenter.plan import read_options as read_from

__all__ = ["TaskOptions", "read_options"]


class TaskOptions(Options):
    """Base of what ``task.options`` of a plan may hold: one field an option, with its default."""


Kind = TypeVar("Kind", bound=TaskOptions)


def read_options(kind: type[Kind], spec: TaskSpec) -> Kind:
    """The options of a plan's task.

    Raises:
        PlanError: An option that ``kind`` does not have, or a value that it does not take.

    Example:
        >>> class Mine(TaskOptions):
        ...     margin: float = 1.0
        >>> read_options(Mine, TaskSpec(name="mine", options={"margin": 2})).margin
        2.0
    """
    return read_from(kind, spec.options, where="task.options", owner=spec.name)
