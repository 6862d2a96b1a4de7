"""Loops around fits, one a file: cross-validation with an ensemble of its folds."""

from isocenter.regimes.cleanings import CleaningMeasures, measure_cleanings
from isocenter.regimes.components import ComponentChoice, Gain, choose_components, cleaning_by_hand
from isocenter.regimes.contract import Fit, FoldFit, Progress, Regime, RegimeRun, build_regime, regime, regimes
from isocenter.regimes.cross_validation import CrossValidation

__all__ = [
    "CleaningMeasures",
    "ComponentChoice",
    "CrossValidation",
    "Fit",
    "FoldFit",
    "Gain",
    "Progress",
    "Regime",
    "RegimeRun",
    "build_regime",
    "choose_components",
    "cleaning_by_hand",
    "measure_cleanings",
    "regime",
    "regimes",
]
