"""Whole cases through a network: windows, precision, the engine."""

from isocenter.inference.engine import Engine, predict_case
from isocenter.inference.precision import Precision, autocast, resolve_precision
from isocenter.inference.windows import plan_windows

__all__ = ["Engine", "Precision", "autocast", "plan_windows", "predict_case", "resolve_precision"]
