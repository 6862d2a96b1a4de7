"""The plan that the members of an ensemble share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isocenter.errors import ConfigError
from isocenter.plan import Plan

__all__ = ["shared_plan"]

_OWN = ("name", "training.seed", "training.steps", "budget")


def shared_plan(plans: Sequence[Plan], *, members: int) -> Plan:
    """The first plan with the number of networks; all must see and mean the same.

    Args:
        plans: One a member. Name, reasons, seed, number of steps and budget are each one's own affair.
        members: Networks of the ensemble.

    Raises:
        ConfigError: Plans that differ in something else; the first such key is named, with both values.

    Example:
        >>> from isocenter.plan import InputSpec, PreprocessSpec
        >>> plan = Plan(inputs=(InputSpec(name="ct"),), preprocess=PreprocessSpec(reference="ct"))
        >>> shared_plan([plan, plan.model_copy(update={"name": "other"})], members=2).inference.members
        2
    """
    first, *others = plans
    flat = _flat(first.model_dump(mode="json", exclude={"reasons"}))
    for number, other in enumerate(others, start=1):
        found = _flat(other.model_dump(mode="json", exclude={"reasons"}))
        for key in {**flat, **found}:
            if not key.startswith(_OWN) and flat.get(key) != found.get(key):
                raise ConfigError(
                    f"member {number} of the ensemble: its plan has {key}={found.get(key)!r}, that of member 0 has"
                    f" {flat.get(key)!r}; fit all members with one plan"
                )
    inference = first.inference.model_copy(update={"members": members})
    reasons = {**first.reasons, "inference.members": f"mean of {members} networks that were fitted apart"}
    return first.model_copy(update={"inference": inference, "reasons": reasons})


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
