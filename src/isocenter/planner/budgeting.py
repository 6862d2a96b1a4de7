"""From a budget to a plan with a number of steps: candidates are timed, one is chosen, the others kept with reasons.

The steps are frozen in the plan and the schedule runs on them, so that the same plan gives the same weights again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from isocenter.errors import PlanError
from isocenter.pipeline import Sample
from isocenter.plan import BudgetSpec, CandidateSpec, Plan
from isocenter.planner.candidates import Candidate, candidates
from isocenter.planner.measuring import Timing, predicting_seconds, time_steps
from isocenter.training import SampleSource

__all__ = ["Work", "fit_to_budget"]

log = logging.getLogger(__name__)
FILLED = 0.96
"""Share of the budget that is planned for; the rest is for what could not be foreseen."""
TIMING_SHARE = 0.02
"""Of the budget, for timing one candidate."""
PILOT_SHARE = 0.03
"""Of the budget, for timing the chosen one again, so long that the number of steps can be relied on."""
WATCHING_SHARE = 0.1
"""Of the budget, at most, for validations while it runs."""
MOST_VALIDATIONS = 4


@dataclass(frozen=True)
class Work:
    """What a budget is spent on beside steps.

    Attributes:
        samples: Prepared training samples.
        held: Some of the validation samples, or none.
        predictions: Validation cases in all.
        spent: Seconds of the budget that are gone, timing included; asked again when the timing is done.
    """

    samples: SampleSource
    held: Sequence[Sample]
    predictions: int
    spent: Callable[[], float]


def fit_to_budget(
    plan: Plan,
    budget: BudgetSpec,
    work: Work,
    *,
    fixed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """The plan that does most within the budget.

    Of the candidates within the memory, the first in their order that gets through the steps it needs is chosen;
    where none does, the one that comes nearest.

    Args:
        plan: By rules.
        budget: Time and memory.
        work: What else takes time.
        fixed: Choose the number of steps only (a warm start keeps its network).
        progress: Called with candidates timed and candidates in all.

    Raises:
        PlanError: Nothing fits: the message says what the cheapest candidate takes.
    """
    tried = candidates(plan)
    if fixed:
        tried = tuple(c for c in tried if not c.settings)
    # compiling kernels for the first time, reading code: none of it belongs to a candidate
    time_steps(tried[-1].plan, work.samples, device=budget.device, steps=1)
    timings: dict[str, Timing] = {}
    for done, one in enumerate(reversed(tried), start=1):  # the cheap ones first: memory once claimed stays claimed
        limit = max(2.0, TIMING_SHARE * budget.seconds)
        timings[one.name] = time_steps(one.plan, work.samples, device=budget.device, seconds=limit)
        log.info(
            "%s: %.3f s a step, %.2f GB", one.name, timings[one.name].seconds_per_step, timings[one.name].memory_gb
        )
        if progress is not None:
            progress(done, len(tried))
    a_prediction = predicting_seconds(plan, work.held, device=_device(budget)) if work.held else 0.0
    watching = a_prediction * work.predictions
    times = min(MOST_VALIDATIONS, max(1, int(WATCHING_SHARE * budget.seconds / watching))) if watching else 0
    # validation cases are predicted once more in the end, for what is kept of the post-processing
    left = FILLED * budget.seconds - work.spent() - (times + 1) * watching * bool(watching)
    specs = [_spec(c, timings[c.name], left, budget) for c in tried]
    chosen = _choose(tried, specs, budget)
    began = time.perf_counter()
    pilot = time_steps(
        tried[chosen].plan, work.samples, device=budget.device, steps=100_000, seconds=PILOT_SHARE * budget.seconds
    )
    specs[chosen] = _spec(tried[chosen], pilot, left - (time.perf_counter() - began), budget)
    return _with_steps(tried[chosen].plan, budget, _with_verdicts(specs, chosen), chosen, times)


def _spec(one: Candidate, timing: Timing, left: float, budget: BudgetSpec) -> CandidateSpec:
    too_much = budget.memory_gb is not None and timing.memory_gb > budget.memory_gb
    steps = max(0, int(left / timing.seconds_per_step))
    return CandidateSpec(
        name=one.name, settings=dict(one.settings), seconds_per_step=round(timing.seconds_per_step, 4),
        memory_gb=round(timing.memory_gb, 2), steps=steps, needed=one.needed,
        verdict=f"needs more than {budget.memory_gb:g} GB" if too_much else "",
    )  # fmt: skip


def _choose(tried: Sequence[Candidate], specs: Sequence[CandidateSpec], budget: BudgetSpec) -> int:
    within = [k for k, s in enumerate(specs) if not s.verdict]
    if not within:
        least = min(specs, key=lambda s: s.memory_gb)
        raise PlanError(
            f"memory: no candidate keeps to {budget.memory_gb:g} GB; {least.name!r} takes {least.memory_gb:g} GB;"
            " allow more, or make training.patch or training.batch smaller with --set"
        )
    if max(specs[k].steps for k in within) < 1:
        raise PlanError(
            f"budget: {budget.seconds:g} s are over before the first step; looking at the cases, preparing them and"
            " timing takes longer; allow more"
        )
    enough = [k for k in within if specs[k].steps >= specs[k].needed]
    return enough[0] if enough else max(within, key=lambda k: specs[k].steps / specs[k].needed)


def _with_verdicts(specs: Sequence[CandidateSpec], chosen: int) -> tuple[CandidateSpec, ...]:
    out = []
    for k, spec in enumerate(specs):
        verdict = spec.verdict
        if k == chosen:
            verdict = "chosen"
        elif not verdict and spec.steps < spec.needed:
            verdict = f"{spec.steps} steps are fewer than the {spec.needed} it needs"
        elif not verdict:
            verdict = f"{specs[chosen].name!r} reaches more in the same time"
        out.append(spec.model_copy(update={"verdict": verdict}))
    return tuple(out)


def _with_steps(plan: Plan, budget: BudgetSpec, specs: tuple[CandidateSpec, ...], chosen: int, times: int) -> Plan:
    spec = specs[chosen]
    why = (
        f"what a budget of {budget.seconds:g} s leaves for steps of {spec.seconds_per_step:.3g} s"
        f" ({spec.name!r} of {len(specs)} candidates)"
    )
    watched = "they take at most a tenth of the budget" if times else "no case is held out"
    reasons = plan.reasons | {"training.steps": why, "training.validations": watched}
    reasons |= dict.fromkeys(spec.settings, f"candidate {spec.name!r} of the budget")
    training = plan.training.model_copy(update={"steps": spec.steps, "validations": times})
    return plan.model_copy(
        update={"training": training, "reasons": reasons, "budget": budget.model_copy(update={"candidates": specs})}
    )


def _device(budget: BudgetSpec) -> str:
    import torch

    if budget.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return budget.device
