"""What comes of a search: the plan, why, what it cost, and a table of everything that was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isocenter.errors import PlanError
from isocenter.regimes.trials import Gain, Trial, gain, spread

if TYPE_CHECKING:
    from isocenter.plan import Plan
    from isocenter.regimes.trials import Bench, Limits

__all__ = ["Cost", "SearchRun", "made"]

KEYS = {"width": "network.options.channels", "depth": "network.options.strides"}
"""What of a plan the keys of a space that are none of a plan change."""


@dataclass(frozen=True)
class Cost:
    """Of a whole search.

    Attributes:
        seconds: Wall time, looking at the data and preparing it included.
        measured: Plans whose latency and memory were measured.
        trained: Plans that were trained for some steps at least.
        steps: Of all trials.
    """

    seconds: float
    measured: int
    trained: int
    steps: int

    def __str__(self) -> str:
        return (
            f"the search took {self.seconds:.0f} s: {self.measured} plans measured, {self.trained} trained,"
            f" {self.steps} steps of training"
        )


@dataclass(frozen=True)
class SearchRun:
    """What a search gives.

    Attributes:
        plan: Chosen; its reasons say how, and what the search cost.
        chosen: Number of its trial; 0 is the plan by rules.
        reason: Why.
        trials: All, each with its verdict.
        cost: Of everything.
        rows: ``trials`` as plain data, with mean scores, intervals, and gains over the plan by rules.
    """

    plan: Plan
    chosen: int
    reason: str
    trials: tuple[Trial, ...]
    cost: Cost
    rows: tuple[Mapping[str, Any], ...]

    def facts(self) -> dict[str, Any]:
        """Plain data, as JSON has it."""
        return {
            "chosen": self.chosen,
            "reason": self.reason,
            "cost": {k: getattr(self.cost, k) for k in ("seconds", "measured", "trained", "steps")},
            "trials": list(self.rows),
        }


def made(trials: Sequence[Trial], bench: Bench, limits: Limits, steps: int) -> SearchRun:
    """Choose among what was tried.

    A plan takes the place of the plan by rules where it went all the way, its mean score is the highest of those that
    did, and the interval of what it gains on validation patients, see `gain`, lies above zero. Where the plan by rules
    breaks a limit, the highest mean score decides.

    Raises:
        PlanError: Every plan breaks a limit.
    """
    rules = trials[0]
    finished = [t for t in trials if t.state == "finished"]
    trained = sum(bool(t.rungs) for t in trials)
    # all that were compared count, also those that stopped early
    among = max(1, trained - 1)
    gains = {t.number: gain(t, rules, bench.patients, among=among) for t in finished if t.number}
    if rules.state == "rejected":
        chosen, why = _without_rules(trials, rules, limits)
    else:
        better = [t for t in finished if (found := gains.get(t.number)) is not None and found.low > 0]
        chosen = max(better, key=_score, default=rules)
        why = _over_rules(chosen, gains.get(chosen.number), trials, bench.patients)
    cost = Cost(
        seconds=round(bench.spent(), 1), measured=sum(t.footing is not None for t in trials),
        trained=trained, steps=sum(t.steps for t in trials),
    )  # fmt: skip
    told = tuple(t.model_copy(update={"verdict": _verdict(t, chosen, gains.get(t.number))}) for t in trials)
    where = f"validation ({len(bench.patients)} cases, which flatter since they chose)"
    reason = f"{why}; it scores {_shown(chosen, bench)} on {where} after {chosen.steps} of {steps} steps; {cost}"
    plan = bench.derive(chosen.choice)
    changed = [KEYS.get(k, k) for k, v in chosen.choice.items() if v != rules.choice.get(k)]
    because = f"trial {chosen.number} of a search over {len(trials)} plans"
    reasons = plan.reasons | dict.fromkeys(changed, because) | {"network": reason}
    rows = tuple(_row(t, bench, gains.get(t.number)) for t in told)
    return SearchRun(plan.model_copy(update={"reasons": reasons}), chosen.number, reason, told, cost, rows)


def _without_rules(trials: Sequence[Trial], rules: Trial, limits: Limits) -> tuple[Trial, str]:
    trained = [t for t in trials if t.rungs]
    if not trained:
        told = [t for t in trials if t.footing is not None and limits.broken_by(t.footing)]
        nearest = min(told, key=lambda t: (t.footing.latency_s, t.footing.memory_gb) if t.footing else (0.0, 0.0))
        raise PlanError(
            f"limits: none of {len(trials)} plans keeps to them; the fastest, trial {nearest.number},"
            f" {nearest.verdict}; allow more, or widen the space with --over"
        )
    chosen = max(trained, key=lambda t: (t.steps, _score(t)))
    return chosen, f"searched: the plan by rules {rules.verdict}; trial {chosen.number} is the best within the limits"


def _over_rules(chosen: Trial, found: Gain | None, trials: Sequence[Trial], patients: Mapping[str, str]) -> str:
    if found is not None:
        return f"searched: trial {chosen.number} beats the plan by rules by {found}"
    if chosen.state == "cut":
        return "searched in vain: the time ran out before the plan by rules was trained; it is kept"
    why = "" if len(set(patients.values())) > 1 else " (with one validation patient none can be)"
    return f"searched: none of {len(trials) - 1} other plans is shown to beat the plan by rules{why}, which is kept"


def _verdict(trial: Trial, chosen: Trial, found: Gain | None) -> str:
    if trial.number == chosen.number:
        return f"chosen; {trial.verdict}"
    if trial.state != "finished" or found is None:
        return trial.verdict
    if found.low > 0:
        return f"beats the plan by rules by {found}, trial {chosen.number} by more"
    return f"is not shown to beat the plan by rules: {found}"


def _row(trial: Trial, bench: Bench, found: Gain | None) -> dict[str, Any]:
    interval = spread(trial, bench.patients)
    return trial.model_dump(mode="json") | {
        "steps": trial.steps,
        "score": trial.score,
        "interval": [interval.low, interval.high] if interval else None,
        "gain": {"value": found.value, "interval": [found.low, found.high]} if found else None,
    }


def _score(trial: Trial) -> float:
    return trial.score or 0.0


def _shown(trial: Trial, bench: Bench) -> str:
    interval = spread(trial, bench.patients)
    return f"{_score(trial):.3f}" + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else "")
