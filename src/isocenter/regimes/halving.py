"""Successive halving: how many steps a trial gets before it is compared, and how many trials an amount of time is for.

A trial stops at a few rungs. At each it goes on only if it is among the best third of the trials that came so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isocenter.errors import PlanError

__all__ = ["FEWEST_TRIALS", "Costs", "afford", "expected_steps", "rungs_of"]

RUNGS = 3
LEAST_STEPS = 50
"""Of the last rung: with fewer, nothing is told about a plan."""
LADDER = (48, 36, 27, 18, 12, 9, 6)
ENOUGH_TRIALS = 12
"""Before more steps are worth more than more trials."""
FEWEST_TRIALS = 2


@dataclass(frozen=True)
class Costs:
    """What a trial of the plan by rules takes.

    Attributes:
        step: Seconds of one step.
        rung: Seconds of scoring all validation cases once.
        trial: Seconds of measuring, before anything is learned.
    """

    step: float
    rung: float
    trial: float


def rungs_of(steps: int, factor: int = 3) -> tuple[int, ...]:
    """Steps after which trials are compared; the last are all of them.

    Example:
        >>> rungs_of(900), rungs_of(4)
        ((100, 300, 900), (1, 2, 4))
    """
    return tuple(sorted({-(-steps // factor**k) for k in range(RUNGS)}))


def expected_steps(trials: int, rungs: Sequence[int], factor: int = 3) -> tuple[float, float]:
    """Steps and rungs of so many trials, if their order by score is random and the first goes all the way.

    Example:
        >>> expected_steps(1, (100, 300, 900))
        (900.0, 3.0)
        >>> steps, reached = expected_steps(12, (100, 300, 900))
        >>> 2500 < steps < 12 * 900, 12 < reached < 36
        (True, True)

    Reference:
        Jamieson, Talwalkar, *Non-stochastic best arm identification and hyperparameter optimization*, AISTATS 2016;
        Li et al., *A system for massively parallel hyperparameter tuning*, MLSys 2020.
    """
    steps, reached, there, before = 0.0, 0.0, float(trials), 0
    for rung in rungs:
        steps += there * (rung - before)
        reached += there
        # of those that came so far, this one included, the best 1/factor go on, and always the very best
        there = max(1.0, sum(max(1, k // factor) / k for k in range(1, round(there) + 1)))
        before = rung
    return steps, reached


def afford(
    seconds: float, costs: Costs, *, most_steps: int, trials: int | None = None, factor: int = 3
) -> tuple[int, int]:
    """Trials, and steps of the last rung, that an amount of time is for.

    As many steps as a fit would have, where a dozen trials fit with them; else fewer, until a dozen fit.

    Args:
        seconds: That are left for trials.
        costs: Of the plan by rules; others are taken to cost the same.
        most_steps: Of the plan.
        trials: Where a person has said how many.
        factor: Of successive halving.

    Raises:
        PlanError: Not even two trials of a few steps.

    Example:
        >>> costs = Costs(step=1.0, rung=5.0, trial=10.0)
        >>> afford(36_000, costs, most_steps=1000), afford(1800, costs, most_steps=1000)
        ((48, 1000), (18, 250))
    """
    least = min(LEAST_STEPS, most_steps)
    wanted = [trials] if trials else [n for n in LADDER if n >= ENOUGH_TRIALS]
    steps = most_steps
    while True:
        for count in wanted if steps > least or trials else (*LADDER, 4, 3, FEWEST_TRIALS):
            if _seconds(count, steps, costs, factor) <= seconds:
                return count, steps
        if steps == least:
            break
        steps = max(least, steps // 2)
    need = _seconds(trials or FEWEST_TRIALS, least, costs, factor)
    raise PlanError(
        f"budget: {max(0.0, seconds):.0f} s are left for trials, {trials or FEWEST_TRIALS} of {least} steps take about"
        f" {need:.0f} s; allow more, or make training.patch or training.batch smaller with --set"
    )


def _seconds(trials: int, steps: int, costs: Costs, factor: int) -> float:
    done, reached = expected_steps(trials, rungs_of(steps, factor), factor)
    return done * costs.step + reached * costs.rung + trials * costs.trial
