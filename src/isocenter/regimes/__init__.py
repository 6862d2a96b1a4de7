"""Loops around fits: cross-validation with an ensemble of its folds, and the search for a plan."""

from isocenter.regimes.cleanings import CleaningMeasures, measure_cleanings
from isocenter.regimes.components import ComponentChoice, Gain, choose_components, cleaning_by_hand
from isocenter.regimes.contract import Fit, FoldFit, Progress, Regime, RegimeRun, build_regime, regime, regimes
from isocenter.regimes.cross_validation import CrossValidation
from isocenter.regimes.halving import Costs, afford
from isocenter.regimes.outcome import Cost, SearchRun
from isocenter.regimes.search import Search
from isocenter.regimes.space import Choice, SearchSpace
from isocenter.regimes.trials import Bench, Footing, Limits, Rung, Trial

__all__ = [
    "Bench",
    "Choice",
    "CleaningMeasures",
    "ComponentChoice",
    "Cost",
    "Costs",
    "CrossValidation",
    "Fit",
    "FoldFit",
    "Footing",
    "Gain",
    "Limits",
    "Progress",
    "Regime",
    "RegimeRun",
    "Rung",
    "Search",
    "SearchRun",
    "SearchSpace",
    "Trial",
    "afford",
    "build_regime",
    "choose_components",
    "cleaning_by_hand",
    "measure_cleanings",
    "regime",
    "regimes",
]
