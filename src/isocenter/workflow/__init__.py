"""The verbs behind the command line and the public face, each imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isocenter.workflow.converting import Conversion, convert
    from isocenter.workflow.deidentifying import deidentify
    from isocenter.workflow.demonstrating import demo
    from isocenter.workflow.evaluating import evaluate
    from isocenter.workflow.fitting import fit
    from isocenter.workflow.inspecting import Inspection, inspect
    from isocenter.workflow.model import TrainedModel, load
    from isocenter.workflow.planning import plan
    from isocenter.workflow.predicting import FORMATS, Result, predict
    from isocenter.workflow.searching import search
    from isocenter.workflow.simulating import simulate
    from isocenter.workflow.studies import find_study

_HOMES = {
    "Conversion": "converting",
    "FORMATS": "predicting",
    "Inspection": "inspecting",
    "Result": "predicting",
    "TrainedModel": "model",
    "convert": "converting",
    "deidentify": "deidentifying",
    "demo": "demonstrating",
    "evaluate": "evaluating",
    "find_study": "studies",
    "fit": "fitting",
    "inspect": "inspecting",
    "load": "model",
    "plan": "planning",
    "predict": "predicting",
    "search": "searching",
    "simulate": "simulating",
}

__all__ = [
    "FORMATS",
    "Conversion",
    "Inspection",
    "Result",
    "TrainedModel",
    "convert",
    "deidentify",
    "demo",
    "evaluate",
    "find_study",
    "fit",
    "inspect",
    "load",
    "plan",
    "predict",
    "search",
    "simulate",
]


def __getattr__(name: str) -> Any:
    # looking at a folder or simulating one should not wait for torch
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
