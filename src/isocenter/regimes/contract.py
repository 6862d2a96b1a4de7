"""What a regime is: a loop around fits, over the same plan, data, network and evaluation as a single one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from isocenter.errors import ConfigError
from isocenter.plan import Registry

if TYPE_CHECKING:
    from isocenter.data import CaseDataset, Dataset
    from isocenter.pipeline import Model, Sample

__all__ = ["Fit", "FoldFit", "Progress", "Regime", "RegimeRun", "build_regime", "regime", "regimes"]

Progress = Callable[[str, int, int], None]
"""Told what is done, how far, and of how much."""


@dataclass(frozen=True)
class FoldFit:
    """What one fit of a regime gives.

    Attributes:
        model: Learned from the ``train`` part of the fit's data.
        held: Whole prepared samples of the ``val`` part, from which nothing was learned; may be lazy.
    """

    model: Model
    held: Sequence[Sample]


class Fit(Protocol):
    """Fits once; the caller of a regime lends it, and with it cache, budget, checkpoints and progress of a fit."""

    def __call__(self, dataset: CaseDataset, number: int) -> FoldFit:
        """Fit on ``dataset.split("train")``.

        Args:
            dataset: With the splits of this fit.
            number: Of the fit, from 0. The same number comes with the same splits in every run of the regime, so that
                a fit which is already done may be read from disk.
        """


@dataclass(frozen=True)
class RegimeRun:
    """What a regime gives.

    Attributes:
        model: To predict with.
        figures: What was measured on the way: plain numbers, strings, lists and mappings, as JSON has them.
    """

    model: Model
    figures: Mapping[str, Any] = field(default_factory=dict)


class Regime(Protocol):
    """One kind of loop."""

    def run(self, fit: Fit, data: Dataset, *, device: str = "cpu", progress: Progress | None = None) -> RegimeRun:
        """Fit as often as needed and make one model.

        Args:
            fit: See `Fit`.
            data: All cases; ``test`` is touched by nothing.
            device: Where the regime itself predicts.
            progress: Told of what the regime does between fits.
        """


regimes: Registry[Callable[..., Regime]] = Registry("regime", home="isocenter.regimes")


def regime(name: str) -> Callable[[Any], Any]:
    """Decorator that registers a regime: a class (or function) whose keywords are its options.

    Raises:
        PlanError: The name is taken.
    """
    return regimes.register(name)


def build_regime(name: str, **options: Any) -> Regime:
    """The regime of a name.

    Raises:
        PlanError: No such regime.
        ConfigError: Options that it does not take.

    Example:
        >>> build_regime("cross-validation", folds=3).folds
        3
    """
    kind = regimes[name]
    try:
        inspect.signature(kind).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(kind).parameters)
        raise ConfigError(f"regime {name!r}: {error}; its options are {known}") from None
    return kind(**options)
