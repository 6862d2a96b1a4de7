"""The model card: what a person should know before using a model, from facts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isocenter.plan import InputSpec, Plan

__all__ = ["model_card"]


def model_card(plan: Plan, facts: Mapping[str, Any]) -> str:
    """Markdown text, after Mitchell et al. 2019 (Model Cards for Model Reporting)."""
    names = [s.name for s in plan.task.structures] or list(plan.task.classes)
    cases = facts["cases"]
    history = facts.get("history") or []
    watched = history[-1].get("validation") if history else None
    lines = [
        f"# {plan.name}",
        "",
        f"- Task: {plan.task.name} of {', '.join(names)}",
        f"- Reads: {', '.join(_input(i) for i in plan.inputs)}",
        f"- Learned from {cases['train']} cases, watched on {cases['val']} others, {plan.training.steps} steps,"
        f" {facts['seconds_train']:.0f} s",
        f"- Left out: {len(facts['left_out'])} cases" + "".join(f"\n  - {text}" for text in facts["left_out"]),
    ]
    if watched is not None:
        lines.append(f"- Mean main figure on the watched cases at the end: {watched:.3f}. They chose nothing.")
    lines += [
        "",
        "## Intended use and limits",
        "",
        "Research. Not a medical device. Results are unverified until a qualified person has checked them. Images"
        " unlike the training cases (other scanners, protocols, body parts, ages, diseases) can give wrong results.",
        "",
        "## Decisions",
        "",
        *[f"- `{key}`: {reason}" for key, reason in sorted(plan.reasons.items())],
        "",
    ]
    return "\n".join(lines)


def _input(spec: InputSpec) -> str:
    return f"{spec.name} ({spec.modality})" if spec.kind == "image" else f"{spec.channels} numbers of the case"
