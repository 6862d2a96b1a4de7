"""Which structures are one connected thing, decided by cases that taught nothing.

As in nnU-Net (Isensee et al. 2021): first all structures as one, kept where that raises the mean over structures and
lowers none; then, on what that gave, each structure by itself, kept where its own mean rises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isocenter.metrics import bootstrap_statistic
from isocenter.plan import Plan
from isocenter.regimes.cleanings import BOTH, EACH, RAW, TOGETHER, Cleaning, CleaningMeasures

__all__ = ["ComponentChoice", "Gain", "choose_components", "cleaning_by_hand"]

_LEAST = 1e-9  # a smaller gain is the last bit of a sum


@dataclass(frozen=True)
class Gain:
    """Mean of a figure with a cleaning, less that without it.

    Attributes:
        value: Over the cases that have the structure, in truth or prediction.
        interval: 95 %, patients resampled, paired; ``None`` with fewer than two patients.
        cases: How many there are.
    """

    value: float
    interval: tuple[float, float] | None
    cases: int

    def __str__(self) -> str:
        spread = f" [{self.interval[0]:+.4f}, {self.interval[1]:+.4f}]" if self.interval else ""
        return f"{self.value:+.4f}{spread}"


@dataclass(frozen=True)
class ComponentChoice:
    """What is cleaned, and what each cleaning was found to gain.

    Attributes:
        together: All structures as one keep their largest part only.
        structures: Those that do so by themselves, after that.
        gains: Of each structure by itself, whether it was chosen or not.
        together_gain: Of all as one, mean over structures; ``None`` where there is one structure.
        figure: What was to rise.
    """

    together: bool = False
    structures: tuple[str, ...] = ()
    gains: Mapping[str, Gain] = field(default_factory=dict)
    together_gain: Gain | None = None
    figure: str = "dice"

    def apply(self, plan: Plan, source: str = "validation") -> Plan:
        """The plan with this cleaning, and with what it gains among its reasons.

        Args:
            plan: Left as it is where nothing could be measured.
            source: Which cases decided, for the reason.
        """
        if not self.gains:
            return plan
        update = {"largest_together": self.together, "largest_component": self.structures}
        each = ", ".join(f"{name} {gain}" for name, gain in self.gains.items())
        head = f"kept where the mean {self.figure} of {source} rises"
        reasons = {**plan.reasons, "inference.largest_component": f"{head}: {each}"}
        if self.together_gain is not None:
            reasons["inference.largest_together"] = f"{head} and no structure loses: {self.together_gain}"
        return plan.model_copy(update={"inference": plan.inference.model_copy(update=update), "reasons": reasons})

    def facts(self) -> dict[str, Any]:
        """Plain data, as JSON has it."""

        def plain(gain: Gain | None) -> dict[str, Any] | None:
            if gain is None:
                return None
            return {
                self.figure: gain.value, "interval": list(gain.interval) if gain.interval else None, "cases": gain.cases
            }  # fmt: skip

        return {
            "together": self.together,
            "structures": list(self.structures),
            "together_gain": plain(self.together_gain),
            "gains": {name: plain(gain) for name, gain in self.gains.items()},
        }


def choose_components(cases: Sequence[CleaningMeasures], *, figure: str = "dice", seed: int = 0) -> ComponentChoice:
    """What to clean, so that the mean of a figure over cases rises.

    A case counts for a structure where truth or prediction has it. Where cleaning takes away what is not there, the
    structure is right: its figure is then that of two empty masks, 1 for Dice.

    Args:
        cases: Out of fold, or held out for validation: cases that taught the network nothing.
        figure: Main figure of the task, better where higher. Without it among the measures nothing is chosen.
        seed: Of the intervals.

    Example:
        >>> from isocenter.metrics import Measure
        >>> def case(name, raw, cleaned):
        ...     measure = lambda dice: [Measure(name, name, "liver", {"dice": dice})]
        ...     return CleaningMeasures({
        ...         (t, each): measure(cleaned if each else raw) for t in (False, True) for each in (False, True)
        ...     })
        >>> choice = choose_components([case("a", 0.90, 0.95), case("b", 0.93, 0.92), case("c", 0.85, 0.91)])
        >>> choice.structures, str(choice.gains["liver"])
        (('liver',), '+0.0333 [-0.0100, +0.0600]')

    Reference:
        Isensee et al., *nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation*,
        Nature Methods 18 (2021), on empirical postprocessing.
    """
    tables = {cleaning: _table(cases, cleaning, figure) for cleaning in (RAW, EACH, TOGETHER, BOTH)}
    names = list(dict.fromkeys(m.name for c in cases for m in c.measures[RAW] if figure in m.values))
    if not names:
        return ComponentChoice(figure=figure)
    patients = [c.patient for c in cases]
    together, gain = False, None
    if len(names) > 1:
        difference = tables[TOGETHER] - tables[RAW]
        gain = _gain(difference, patients, seed)
        together = gain.value > _LEAST and bool((_means(difference) >= -_LEAST).all())
    difference = tables[together, True] - tables[together, False]
    gains = {name: _gain(difference[:, [k]], patients, seed) for k, name in enumerate(names)}
    chosen = tuple(name for name in names if gains[name].value > _LEAST)
    return ComponentChoice(together, chosen, gains, gain, figure)


def cleaning_by_hand(plan: Plan) -> ComponentChoice | None:
    """What a person decided, which no case overrules; a cleaning without a reason was written into the plan by one.

    Example:
        >>> plan = Plan.model_validate({"inputs": [{"name": "ct"}], "preprocess": {"reference": "ct"}})
        >>> cleaning_by_hand(plan) is None
        True
    """
    spec = plan.inference
    reasons = [plan.reasons.get(f"inference.{key}", "") for key in ("largest_component", "largest_together")]
    unexplained = bool(spec.largest_component or spec.largest_together) and not any(reasons)
    if unexplained or "set by hand" in reasons:
        return ComponentChoice(spec.largest_together, spec.largest_component)
    return None


def _table(cases: Sequence[CleaningMeasures], cleaning: Cleaning, figure: str) -> NDArray[np.float64]:
    """The figure, ``(case, structure)``; NaN where neither truth nor prediction has the structure."""
    names = list(dict.fromkeys(m.name for c in cases for m in c.measures[RAW] if figure in m.values))
    table = np.full((len(cases), len(names)), np.nan)
    for row, case in zip(table, cases, strict=True):
        for raw, measure in zip(case.measures[RAW], case.measures[cleaning], strict=True):
            if raw.outcome != "absent" and figure in measure.values:
                row[names.index(raw.name)] = measure.values[figure]
    return table


def _means(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each column that has a number."""
    there = ~np.isnan(table)
    counts = there.sum(axis=0)
    return np.asarray(np.where(there, table, 0).sum(axis=0)[counts > 0] / counts[counts > 0])


def _gain(difference: NDArray[np.float64], patients: Sequence[str], seed: int) -> Gain:
    """Mean over structures of their mean differences, with its interval."""
    rows = np.flatnonzero((~np.isnan(difference)).any(axis=1))
    known, whose = difference[rows], [patients[k] for k in rows.tolist()]

    def mean(drawn: NDArray[np.int64]) -> float | None:
        means = _means(known[drawn])
        return float(means.mean()) if len(means) else None

    if len(set(whose)) < 2:
        return Gain(mean(np.arange(len(rows))) or 0.0, None, len(rows))
    found = bootstrap_statistic(mean, whose, seed=seed)
    return Gain(found.value, (found.low, found.high), len(rows)) if found else Gain(0.0, None, 0)
