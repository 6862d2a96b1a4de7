"""Options of a plug-in, as a plan holds them: typed, and refused with the known ones named."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from isocenter.errors import PlanError

__all__ = ["Options", "read_options"]


class Options(BaseModel):
    """Base of what a plug-in's options may hold: one field an option, with its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=Options)


def read_options(kind: type[Kind], given: Mapping[str, Any], *, where: str, owner: str) -> Kind:
    """The options of a plug-in.

    Args:
        kind: What they may be.
        given: As the plan holds them.
        where: Key of the plan, for messages: ``"network.options"``.
        owner: Name of the plug-in, for messages.

    Raises:
        PlanError: An option that ``kind`` does not have, or a value that it does not take.

    Example:
        >>> class Mine(Options):
        ...     margin: float = 1.0
        >>> read_options(Mine, {"margin": 2}, where="task.options", owner="mine").margin
        2.0
    """
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    known = ", ".join(kind.model_fields) or "none"
    if first["type"] != "extra_forbidden":
        at = f"{where}.{key}" if key else where
        raise PlanError(f"{at}: {first['msg']}, found {first['input']!r}; {owner} knows {known}")
    near = difflib.get_close_matches(key, kind.model_fields, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise PlanError(f"{where}.{key}: no such option{hint}; {owner} knows {known}")
