"""Variants of a plan that are worth timing, in the order of what they reach when there is time enough.

How many steps a variant needs before it pays was read off cross-validation on training patients; the figures are
rules of thumb, and the reasons in the plan name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isocenter.plan import Plan, set_values

__all__ = ["Candidate", "candidates"]

STEPS_2D, STEPS_3D = 700, 400
"""Steps that the plan by rules needs before a wider or narrower one is worth a thought."""


@dataclass(frozen=True)
class Candidate:
    """A plan to be timed.

    Attributes:
        name: Of the variant.
        plan: With the variant's settings.
        needed: Steps below which a cheaper variant is preferred.
        settings: What differs from the plan by rules, by dotted key.
    """

    name: str
    plan: Plan
    needed: int
    settings: Mapping[str, Any] = field(default_factory=dict)


def candidates(plan: Plan) -> tuple[Candidate, ...]:
    """Variants of ``plan``, the most thorough first.

    Networks without stages of ``channels`` vary in their batch alone.

    Example:
        >>> plan = Plan.model_validate({
        ...     "inputs": [{"name": "ct"}], "preprocess": {"reference": "ct"},
        ...     "network": {"options": {"stem": [2, 2, 2], "strides": [[1, 1, 1], [2, 2, 2]], "channels": [32, 64]}},
        ... })
        >>> [c.name for c in candidates(plan)]
        ['wide', 'by rules', 'narrow', 'small batch']
    """
    need = STEPS_2D if plan.network.dimensions == 2 else STEPS_3D
    found = [("by rules", need, dict[str, Any]())]
    if plan.network.options.get("channels"):
        channels = plan.network.options["channels"]
        heads = int(plan.network.options.get("attention_heads", 4)) if plan.network.name == "hybrid" else 1
        found.insert(0, ("wide", 5 * need, {"network.options.channels": [_even(c * 3 // 2, heads) for c in channels]}))
        found.append(("narrow", need, {"network.options.channels": [_even(max(8, c // 2), heads) for c in channels]}))
    if plan.training.batch >= 2:
        halved = plan.training.batch // 2
        found.append(("small batch", need, {"training.batch": halved} | (_steady(plan) if halved < 8 else {})))
    return tuple(_candidate(plan, *one) for one in found)


def _even(channels: int, heads: int) -> int:
    """Attention needs a multiple of its heads; convolutions do not mind."""
    return -(-channels // heads) * heads


def _steady(plan: Plan) -> dict[str, Any]:
    """Statistics of a few patches are too noisy to normalise by."""
    return {"network.options.norm": "instance"} if plan.network.options.get("norm") == "batch" else {}


def _candidate(plan: Plan, name: str, needed: int, settings: dict[str, Any]) -> Candidate:
    changed = set_values(plan, settings) if settings else plan
    return Candidate(name, changed.model_copy(update={"reasons": plan.reasons}), needed, settings)
