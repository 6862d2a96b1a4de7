"""What a search tries: a trial with what was measured, and what the caller of a search lends to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import Field
from scipy.special import stdtrit

from isocenter.metrics import Interval, bootstrap_mean
from isocenter.plan.part import Part
from isocenter.regimes.space import Choice

if TYPE_CHECKING:
    from isocenter.plan import Plan

__all__ = ["Bench", "Footing", "Gain", "Limits", "Rung", "State", "Trial", "gain", "spread"]

State = Literal["running", "finished", "pruned", "rejected", "cut", "failed"]


class Footing(Part):
    """What a plan takes on the machine at hand, measured before it is trained.

    Attributes:
        latency_s: Mean seconds to predict a prepared case, further looks and all.
        memory_gb: Highest in steps of training; see `isocenter.plan.CandidateSpec`.
        seconds_per_step: Of training, median.
    """

    latency_s: float
    memory_gb: float
    seconds_per_step: float


class Limits(Part):
    """What a plan may take.

    Attributes:
        latency_s: Highest; ``None`` for no limit.
        memory_gb: Likewise.

    Example:
        >>> Limits(latency_s=0.5).broken_by(Footing(latency_s=0.8, memory_gb=1, seconds_per_step=1))
        'takes 0.8 s a case, more than 0.5 s'
    """

    latency_s: float | None = Field(default=None, gt=0)
    memory_gb: float | None = Field(default=None, gt=0)

    def broken_by(self, found: Footing) -> str:
        """Which one, and by what; empty where both are kept to."""
        if self.latency_s is not None and found.latency_s > self.latency_s:
            return f"takes {found.latency_s:.3g} s a case, more than {self.latency_s:g} s"
        if self.memory_gb is not None and found.memory_gb > self.memory_gb:
            return f"takes {found.memory_gb:.3g} GB, more than {self.memory_gb:g} GB"
        return ""


class Rung(Part):
    """A stop on the way, where trials are compared.

    Attributes:
        steps: Done so far.
        scores: Main figure of the task, 0 to 1, by validation case.
        seconds: Since the stop before, validation included.
    """

    steps: int
    scores: dict[str, float]
    seconds: float

    @property
    def mean(self) -> float:
        """Over cases; 0 where none could be scored."""
        return float(np.mean(list(self.scores.values()))) if self.scores else 0.0


class Trial(Part):
    """One plan that was tried.

    Attributes:
        number: From 0, the plan by rules.
        choice: Of the space.
        footing: Measured before training; ``None`` where there is no such plan.
        rungs: Reached so far.
        state: ``"finished"``: trained for all steps; ``"pruned"``: others were better at the same step;
            ``"rejected"``: breaks a limit, or is no plan, never trained; ``"cut"``: the time ran out; ``"failed"``:
            the loss was not finite.
        verdict: In words, figures included.
        seconds: All that it cost, measuring included.
    """

    number: int
    choice: dict[str, Any]
    footing: Footing | None = None
    rungs: tuple[Rung, ...] = ()
    state: State = "running"
    verdict: str = ""
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Done."""
        return self.rungs[-1].steps if self.rungs else 0

    @property
    def score(self) -> float | None:
        """Mean over validation cases after the last rung."""
        return self.rungs[-1].mean if self.rungs else None


class Bench(Protocol):
    """What the caller of a search lends to it: rules, a machine to measure on, and fits that go on in rungs."""

    @property
    def patients(self) -> Mapping[str, str]:
        """Patient of each validation case."""

    def derive(self, choice: Choice) -> Plan:
        """The plan of a choice.

        Raises:
            PlanError: There is none.
        """

    def measure(self, plan: Plan) -> Footing:
        """What a plan takes.

        Raises:
            PlanError: Its parts do not fit each other.
        """

    def train(self, plan: Plan, number: int, steps: int) -> Rung:
        """Go on with the fit of a trial up to ``steps``, from where it stands, and score validation cases.

        Returns:
            With fewer steps where the time ran out.

        Raises:
            ValueRangeError: The loss is not finite.
        """

    def spent(self) -> float:
        """Seconds of the search that are gone, those before an interruption included."""

    def over(self) -> bool:
        """Whether its time is."""


@dataclass(frozen=True)
class Gain:
    """Mean score of one trial less that of another, and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def gain(one: Trial, other: Trial, patients: Mapping[str, str], *, among: int = 1) -> Gain | None:
    """What a trial gains over another on the same patients.

    The interval is Student's, of the patients' mean differences: with a handful of patients a bootstrap's is too
    narrow.

    Args:
        one: Trial.
        other: That it is compared with.
        patients: Of each case.
        among: Comparisons that there are: intervals of all of them together hold in 95 % (Bonferroni), so that none of
            many trials wins by luck alone.

    Returns:
        ``None`` with fewer than two patients, or without scores.

    Example:
        >>> trials = [Trial(number=n, choice={}, rungs=(Rung(steps=9, seconds=1, scores=s),))
        ...           for n, s in enumerate([{"a": 0.8, "b": 0.6}, {"a": 0.7, "b": 0.6}])]
        >>> print(gain(*trials, {"a": "anna", "b": "bert"}))
        +0.050 [-0.585, +0.685]
    """
    if not one.rungs or not other.rungs:
        return None
    first, second = one.rungs[-1].scores, other.rungs[-1].scores
    common = sorted(first.keys() & second.keys())
    names, whose = np.unique([patients[c] for c in common], return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(whose, weights=[first[c] - second[c] for c in common])
    means = sums / np.bincount(whose)
    half = stdtrit(len(names) - 1, 1 - 0.025 / among) * means.std(ddof=1) / np.sqrt(len(names))
    value = float(means.mean())
    return Gain(value, value - float(half), value + float(half))


def spread(trial: Trial, patients: Mapping[str, str]) -> Interval | None:
    """Mean score with its 95 % interval over patients; ``None`` with fewer than two."""
    scores = trial.rungs[-1].scores if trial.rungs else {}
    whose = [patients[c] for c in scores]
    return bootstrap_mean(list(scores.values()), whose) if len(set(whose)) >= 2 else None
