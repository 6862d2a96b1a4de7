"""What a fit may take, and what was tried to find a plan that keeps to it."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import Field

from isocenter.errors import ConfigError
from isocenter.plan.part import Part

__all__ = ["BudgetSpec", "CandidateSpec", "read_gigabytes", "read_seconds"]

_SECONDS = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_GIGABYTES = {"mb": 1e-3, "gb": 1.0, "tb": 1e3, "mib": 2**20 / 1e9, "gib": 2**30 / 1e9}


class CandidateSpec(Part):
    """A plan that was timed on the machine at hand.

    Attributes:
        name: Of the variant.
        settings: What it changes in the plan by rules, by dotted key.
        seconds_per_step: Median of the timed steps.
        memory_gb: Highest resident memory of the process meanwhile; on an accelerator, memory allocated there.
        steps: That fit the budget.
        needed: Steps from which on this variant was seen to pay.
        verdict: ``"chosen"``, or why not.
    """

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    seconds_per_step: float
    memory_gb: float
    steps: int
    needed: int
    verdict: str


class BudgetSpec(Part):
    """Wall time and memory of a whole fit: looking, preparing, timing, training, validating, writing.

    Attributes:
        seconds: Wall time.
        memory_gb: Highest resident memory of the process; ``None`` for no limit.
        device: That the candidates were timed on.
        candidates: In the order of preference.

    Example:
        >>> BudgetSpec.of("10min", memory="4GB").seconds
        600.0
    """

    seconds: float = Field(gt=0)
    memory_gb: float | None = Field(default=None, gt=0)
    device: str = "auto"
    candidates: tuple[CandidateSpec, ...] = ()

    @classmethod
    def of(cls, time: str | float, *, memory: str | float | None = None, device: str = "auto") -> Self:
        """From words: ``"90s"``, ``"10min"``, ``"1.5h"``; ``"4GB"``. Bare numbers are seconds and gigabytes.

        Raises:
            ConfigError: Neither a number nor a number with one of these units, or not above zero.
        """
        return cls(
            seconds=read_seconds(time),
            memory_gb=None if memory is None else read_gigabytes(memory),
            device=device,
        )


def read_seconds(said: str | float, what: str = "budget", example: str = "10min") -> float:
    """Seconds from words, see `BudgetSpec.of`.

    Raises:
        ConfigError: See `BudgetSpec.of`.

    Example:
        >>> read_seconds("250ms", "latency")
        0.25
    """
    return _amount(said, _SECONDS, what, example)


def read_gigabytes(said: str | float) -> float:
    """Gigabytes from words, see `BudgetSpec.of`.

    Raises:
        ConfigError: See `BudgetSpec.of`.

    Example:
        >>> read_gigabytes("500MB")
        0.5
    """
    return _amount(said, _GIGABYTES, "memory", "4GB")


def _amount(said: str | float, units: dict[str, float], what: str, example: str) -> float:
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]*)\s*", str(said).lower())
    factor = units.get(found[2]) if found and found[2] else 1.0 if found else None
    if not found or factor is None or float(found[1]) <= 0:
        raise ConfigError(f"{what} {said!r}: give a number above zero with one of {', '.join(units)}, as {example}")
    return float(found[1]) * factor
