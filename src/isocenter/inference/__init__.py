"""Whole cases through a network: windows, views, precision, the engine."""

from isocenter.inference.averaging import check_views
from isocenter.inference.engine import Engine, predict_case
from isocenter.inference.precision import Precision, autocast, resolve_precision
from isocenter.inference.windows import plan_windows

__all__ = ["Engine", "Precision", "autocast", "check_views", "plan_windows", "predict_case", "resolve_precision"]
